/*
 * Synthetic keyboard: keys that the host presses reach the guest as scan codes of set 1. Loop
 * thread. The peer is Linux drivers/input/serio/hyperv-keyboard.c.
 */
#ifndef VSP_KEYBOARD_H
#define VSP_KEYBOARD_H

#include "vsp/messenger.h"

struct keyboard;

/* One change of one key. */
struct keystroke {
    uint8_t code; /* of set 1, without prefix; below 0x80 */
    bool up, e0, e1;
};

int keyboard_create(const struct ic_host *host, struct keyboard **ret);
/* NULL is accepted. */
void keyboard_destroy(struct keyboard *keyboard);
/* All or none; -ENOTCONN or -ENOBUFS as messenger_send(). `count`: at most MESSENGER_MOST_WAITING.
 */
int keyboard_send(struct keyboard *keyboard, const struct keystroke *strokes, size_t count);
/* The lamps that the guest last asked for: bit 0 scroll, 1 num, 2 caps. */
unsigned keyboard_lamps(const struct keyboard *keyboard);
void keyboard_describe(const struct keyboard *keyboard, struct messenger_report *ret);

#endif
