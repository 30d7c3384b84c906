/*
 * What keyboard, mouse and video share: a VMBus channel on which the guest asks once for a version
 * of the protocol, and the host sends short messages, which wait here while the ring has no room.
 *
 * Threads: the loop's. Guests are hostile: each packet is copied once, checked by the device, and
 * counted when it makes no sense; a guest that does not read has its messages refused in the end.
 */
#ifndef VSP_MESSENGER_H
#define VSP_MESSENGER_H

#include "vsp/ic.h"

enum {
    MESSENGER_MOST_MESSAGE = 24,   /* bytes of one that may wait */
    MESSENGER_MOST_WAITING = 4096, /* messages */
    MESSENGER_MOST_HEARD = 4352,   /* bytes of one of the guest's: 255 rectangles of video */
};

struct messenger;

/* `owner` is what messenger_create was given. */
struct messenger_kind {
    struct vmbus_offer offer;
    /* A message of the guest's; false: it makes no sense. May call what is below. */
    bool (*received)(void *owner, const uint8_t *bytes, size_t length);
    void (*closed)(void *owner); /* the guest has let go; may be NULL */
};

struct messenger_report {
    bool ready, was_open; /* was_open: a guest had it open, perhaps still has */
    uint64_t sent, oddities;
};

/* The kind is copied. */
int messenger_create(const struct ic_host *host, const struct messenger_kind *kind, void *owner,
                     struct messenger **ret);
/* NULL is accepted. */
void messenger_destroy(struct messenger *messenger);
/* Part of the guest's first words: at once, or the guest does without. */
void messenger_answer(struct messenger *messenger, const void *bytes, size_t length);
/* The guest may have messages from now on, until it closes. */
void messenger_start(struct messenger *messenger);
/*
 * Send `count` messages of `size` bytes each, in order: all or none. -ENOTCONN: no driver of the
 * guest's is there; -ENOBUFS: too many wait.
 */
int messenger_send(struct messenger *messenger, const void *messages, size_t size, size_t count);
void messenger_describe(const struct messenger *messenger, struct messenger_report *ret);

#endif
