/*
 * What a port has read and its user not taken yet: a batch of frames in one buffer. Inside of
 * src/net.
 */
#ifndef NET_INBOX_H
#define NET_INBOX_H

#include "net/port.h"

enum { INBOX_BUFFER = 1 << 20 };

struct inbox {
    struct net_frame frames[NET_BATCH];
    struct iovec iov[NET_BATCH];
    unsigned count, done;
    size_t used;     /* bytes of the buffer */
    bool paused;     /* the user took fewer: nothing more is read */
    uint8_t *buffer; /* INBOX_BUFFER bytes */
};

int inbox_create(struct inbox *inbox); /* -ENOMEM */
void inbox_destroy(struct inbox *inbox);
static inline size_t inbox_room(const struct inbox *inbox)
{
    return inbox->count < NET_BATCH ? INBOX_BUFFER - inbox->used : 0;
}
/* Where the next bytes go. */
static inline uint8_t *inbox_end(const struct inbox *inbox)
{
    return inbox->buffer + inbox->used;
}
/* The bytes from there on are a header of `skip` bytes and a frame. */
void inbox_add(struct inbox *inbox, size_t skip, size_t length, const struct net_offload *offload);
/* The same for a frame that lies anywhere in the buffer, whose use the caller counts. */
void inbox_add_at(struct inbox *inbox, uint8_t *bytes, size_t length,
                  const struct net_offload *offload);
/* Give all to the user; false: it is paused. */
bool inbox_deliver(struct inbox *inbox, const struct net_port_user *user);

#endif
