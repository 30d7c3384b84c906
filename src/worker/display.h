/*
 * Viewers of the guest's screen: a Unix socket "display" in the partition's folder speaks the
 * remote framebuffer protocol (display/rfb.h). What they type and point at goes to keyboard and
 * mouse.
 *
 * The screen is copied, and the guest asked to tell what it draws, only while somebody looks. Loop
 * thread; no viewer holds another up.
 */
#ifndef WORKER_DISPLAY_H
#define WORKER_DISPLAY_H

#include "base/loop.h"
#include "machine/machine.h"

struct display;

enum { DISPLAY_MOST_VIEWERS = 16 };

/* The machine has a screen, a keyboard and a mouse. */
int display_create(const char *name, struct loop *loop, struct machine *machine,
                   struct display **ret, struct reason *reason);
/* Before the machine goes. NULL is accepted. */
void display_destroy(struct display *display);

#endif
