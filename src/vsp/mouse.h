/*
 * Synthetic mouse: a HID device with an absolute pointer, five buttons and a wheel. Loop thread.
 * The peer is Linux drivers/hid/hid-hyperv.c.
 */
#ifndef VSP_MOUSE_H
#define VSP_MOUSE_H

#include "vsp/messenger.h"

struct mouse;

enum { MOUSE_MOST_POSITION = 32767 };

/* How the mouse is; a change of it is a report. */
struct mouse_report {
    uint16_t x, y;   /* of the whole screen: 0 left or above, MOUSE_MOST_POSITION right or below */
    uint8_t buttons; /* bit 0 left, 1 right, 2 middle, 3 and 4 those at the side */
    int8_t wheel;    /* steps since the last report, upwards; -127 to 127 */
};

int mouse_create(const struct ic_host *host, struct mouse **ret);
/* NULL is accepted. */
void mouse_destroy(struct mouse *mouse);
/* All or none; -ENOTCONN or -ENOBUFS as messenger_send(). At most 64 reports. */
int mouse_send(struct mouse *mouse, const struct mouse_report *reports, size_t count);
/* What was sent last; at the start at 0, 0. Without its wheel. */
struct mouse_report mouse_last(const struct mouse *mouse);
void mouse_describe(const struct mouse *mouse, struct messenger_report *ret);

#endif
