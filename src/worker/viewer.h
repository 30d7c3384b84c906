/*
 * One viewer: its connection, what it gets to see, and the keys that it holds down, which are let
 * go when it leaves. Loop thread.
 */
#ifndef WORKER_VIEWER_H
#define WORKER_VIEWER_H

#include "base/loop.h"
#include "display/rfb.h"

struct keyboard;
struct mouse;
struct viewer;

struct viewer_config {
    struct loop *loop;
    const struct screen *screen; /* outlives it */
    const char *name;
    struct keyboard *keyboard;
    struct mouse *mouse;
    void *owner;
    /* It has left, and is to be destroyed. */
    void (*left)(void *owner, struct viewer *viewer);
};

/* The descriptor, which is non-blocking, is the viewer's on success. */
int viewer_create(const struct viewer_config *config, int fd, struct viewer **ret);
void viewer_destroy(struct viewer *viewer);
/* It should have shaken hands long ago, or gone. */
bool viewer_is_overdue(const struct viewer *viewer, uint64_t now_ns);
/* As rfb_screen_changed(). May call `left`, not from within but soon. */
void viewer_screen_changed(struct viewer *viewer, const struct screen_tiles *tiles);

#endif
