/*
 * A connection between a Unix socket and a stream of the guest: moves bytes both ways, each as far
 * as the other side takes them, and closes when both are done or one is gone.
 */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include "base/loop.h"
#include "vsp/hvsock.h"

struct link;

struct link_user {
    void *owner;
    /* The host's program has asked for a service; in reply link_connect() or link_refuse(). */
    void (*asked)(void *owner, struct link *link, const uint8_t service[16]);
    /* The link is about to be freed. */
    void (*gone)(void *owner, struct link *link);
};

/*
 * The descriptor is the link's on success. A program's first line says what it wants; a link of the
 * guest has its stream from the start.
 */
int link_create(struct loop *loop, int fd, struct hvsock_stream *stream,
                const struct link_user *user, struct link **ret);
void link_destroy(struct link *link);
void link_connect(struct link *link, struct hvsock_stream *stream);
void link_refuse(struct link *link, const char *why);
/* No bytes flow yet, and it has waited since before `then`: the other side does not come. */
bool link_is_overdue(const struct link *link, uint64_t now_ns);
void link_give_up(struct link *link);

/* What hvsock tells of a stream; the owner is the link. */
void link_opened(void *owner);
void link_readable(void *owner);
void link_writable(void *owner);
void link_closed(void *owner);

/* "CONNECT 52" or with a GUID, without the newline. */
bool link_parse(const char *line, uint8_t ret_service[16]);
/* A GUID of the wire. */
enum { LINK_GUID_TEXT = 37 };
void link_guid_text(const uint8_t guid[16], char ret[LINK_GUID_TEXT]);
/* As in the name of a socket: "52" or a GUID. */
enum { LINK_SERVICE_TEXT = 40 };
void link_service_text(const uint8_t service[16], char ret[LINK_SERVICE_TEXT]);

#endif
