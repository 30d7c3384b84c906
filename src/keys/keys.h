/*
 * Keys by their names, and the characters that a US keyboard makes, as scan codes of set 1 (IBM
 * PC/AT Technical Reference § 4; the names are those that QEMU's sendkey and virsh send-key know).
 *
 * Pure functions; any thread.
 */
#ifndef KEYS_KEYS_H
#define KEYS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

struct key {
    uint8_t code; /* below 0x80 */
    bool e0;      /* it has this prefix */
};

enum { KEYS_MOST_CHORD = 8 };

/* Keys that are held together, in the order in which they go down. */
struct chord {
    struct key keys[KEYS_MOST_CHORD];
    size_t count;
};

/* "ctrl-alt-delete" or "ctrl+alt+delete"; -EINVAL, and a reason that names the key. */
int keys_parse_chord(const char *text, struct chord *ret, struct reason *reason);

/*
 * The keys that a character of ASCII takes: one, or shift and one; newline is enter, and tab,
 * backspace and escape are keys. False: no key makes it.
 */
bool keys_of_character(char character, struct chord *ret);

/*
 * The same for what X11 calls a key (X11/keysymdef.h), which is how VNC names them: characters as
 * above, and keys that make none. False: a US keyboard has no such key.
 */
bool keys_of_keysym(uint32_t keysym, struct chord *ret);

#endif
