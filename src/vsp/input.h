/*
 * What keyboard and mouse share: a VMBus channel on which the guest asks once for a version of the
 * protocol, and the host sends short messages, which wait here while the ring has no room.
 *
 * Threads: the loop's. Guests are hostile: each packet is copied once, checked by the device, and
 * counted when it makes no sense; a guest that does not read has its messages refused in the end.
 */
#ifndef VSP_INPUT_H
#define VSP_INPUT_H

#include "vsp/ic.h"

enum {
    INPUT_MOST_MESSAGE = 24,  /* bytes of one that may wait */
    INPUT_MOST_WAITING = 4096 /* messages */
};

struct input;

/* `owner` is what input_create was given. */
struct input_kind {
    struct vmbus_offer offer;
    /* A message of the guest's; false: it makes no sense. May call what is below. */
    bool (*received)(void *owner, const uint8_t *bytes, size_t length);
};

struct input_report {
    bool ready, was_open; /* was_open: a guest had it open, perhaps still has */
    uint64_t sent, oddities;
};

int input_create(const struct ic_host *host, const struct input_kind *kind, void *owner,
                 struct input **ret);
/* NULL is accepted. */
void input_destroy(struct input *input);
/* Part of the guest's first words: at once, or the guest does without. */
void input_answer(struct input *input, const void *bytes, size_t length);
/* The guest may have messages from now on, until it closes. */
void input_start(struct input *input);
/*
 * Send `count` messages of `size` bytes each, in order: all or none. -ENOTCONN: no driver of the
 * guest's is there; -ENOBUFS: too many wait.
 */
int input_send(struct input *input, const void *messages, size_t size, size_t count);
void input_describe(const struct input *input, struct input_report *ret);

#endif
