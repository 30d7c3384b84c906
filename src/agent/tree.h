/*
 * A file or a folder over a socket, as frames: both sides of GET and PUT. Descriptors wait.
 *
 * The receiver trusts no name: nothing below its root is reached by "..", from the top, or through
 * a link. A file appears under its name only when it is complete, and its length and checksum are
 * right.
 */
#ifndef AGENT_TREE_H
#define AGENT_TREE_H

#include "agent/frame.h"
#include "base/reason.h"

struct tree_peer {
    int fd;
    struct frame_reader *reader;
    /* Called now and then with the bytes of files so far; may be NULL. */
    void (*progress)(void *owner, uint64_t bytes);
    void *owner;
};

/* Send what is at `path`, then DONE. -EREMOTEIO: the other side failed, with its reason. */
int tree_send(struct tree_peer *peer, const char *path, struct reason *reason);

struct tree_target {
    const char *path;
    const char *name;   /* in it, when it is a folder; "": the root's contents go there */
    uint32_t mode_mask; /* permission bits that may be given */
    int stream;         /* 0: none; else it gets the bytes of the one file, and nothing is made */
};
/* Up to DONE. */
int tree_receive(struct tree_peer *peer, const struct tree_target *target, struct reason *reason);

/* What FAILED says, or that the frame is out of place. */
int tree_refusal(const struct frame *frame, struct reason *reason);

#endif
