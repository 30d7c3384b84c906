/*
 * Sockets between guest and host (hv_sock): streams of bytes, each a channel of its own.
 *
 * Threads: the loop's. A stream is made by hvsock_connect() or by the guest, and is its user's
 * until `closed` was called or hvsock_close() returns, whichever is first. Any function of a
 * stream, but hvsock_close(), may call `closed` within, and then returns -ENOTCONN. Guests are
 * hostile: a guest that breaks the protocol loses the connection. Streams are bounded, those of the
 * guest to fewer, so that the host can always reach it; one that the guest does not let go of
 * counts until the guest is reset.
 */
#ifndef VSP_HVSOCK_H
#define VSP_HVSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/vmbus.h"

struct hvsock;
struct hvsock_stream;

enum { HVSOCK_CHUNK = 16384, HVSOCK_MOST_STREAMS = 256, HVSOCK_MOST_OF_GUEST = 192 };

struct hvsock_user {
    void *owner;
    /*
     * The guest connects to a service, a GUID as on the wire. 0, and the owner of the stream, which
     * is not open yet; else it is refused.
     */
    int (*connect)(void *owner, const uint8_t service[16], struct hvsock_stream *stream,
                   void **ret_owner);
    /* From here on bytes may flow. */
    void (*opened)(void *stream_owner);
    /* There may be something to peek at. */
    void (*readable)(void *stream_owner);
    /* After a send got -EAGAIN: what waited is in the ring. */
    void (*writable)(void *stream_owner);
    /* The guest is gone, or was reset. */
    void (*closed)(void *stream_owner);
};

int hvsock_create(struct vmbus *vmbus, const struct hvsock_user *user, struct hvsock **ret);
/* All streams are withdrawn; `closed` is not called. Frees all once VMBus has let go of them. */
void hvsock_destroy(struct hvsock *hvsock);

/*
 * Offer a connection to a service of the guest. `opened` follows when it listens; if it does not,
 * nothing does, and the user closes the stream when it has waited enough. -ENETDOWN: no guest
 * listens to VMBus; -EMFILE: too many streams; -ENOMEM.
 */
int hvsock_connect(struct hvsock *hvsock, const uint8_t service[16], void *stream_owner,
                   struct hvsock_stream **ret);
/* Withdraw it; what was sent is still there for the guest to read. */
void hvsock_close(struct hvsock_stream *stream);

/*
 * Bytes of the guest, there until they are consumed. 0 with a length of 0: it sends no more;
 * -EAGAIN: `readable` follows; -ENOTCONN.
 */
int hvsock_peek(struct hvsock_stream *stream, const uint8_t **ret, size_t *ret_length);
void hvsock_consume(struct hvsock_stream *stream, size_t length);

/* Where to put the next HVSOCK_CHUNK bytes or fewer; NULL: not now, `writable` follows. */
uint8_t *hvsock_room(struct hvsock_stream *stream);
/* Send what was put there. 0, or -EAGAIN when it waits for room in the ring; -ENOTCONN. */
int hvsock_send(struct hvsock_stream *stream, size_t length);
/* No more is sent; behind what waits. */
int hvsock_finish(struct hvsock_stream *stream);

/* The service of a VSOCK port: its GUID, as on the wire. */
void hvsock_service_of_port(uint32_t port, uint8_t ret[16]);
bool hvsock_port_of_service(const uint8_t service[16], uint32_t *ret);

#endif
