#include "switchd/nat_fragments.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "net/headers.h"

enum {
    IP4_LEAST = 20,
    AT_LENGTH = 2,
    AT_ID = 4,
    AT_PIECE = 6,
    AT_PROTOCOL = 9,
    AT_SUM = 10,
    AT_ADDRESSES = 12,
    ADDRESSES = 8,
    MORE = 0x2000,
    OFFSET = 0x1fff,
    EIGHTS = 8,
    MOST_DATAGRAM = 65535,
};

struct piece {
    const uint8_t *ip, *payload;
    size_t header, length, offset;
    bool more;
};

static bool is_fragment(const uint8_t *bytes, size_t length)
{
    return length >= NET_ETHERNET + IP4_LEAST &&
           (get_be16(bytes + NET_ETHERNET + AT_PIECE) & (MORE | OFFSET)) != 0;
}

static bool parse(const uint8_t *bytes, size_t length, struct piece *ret)
{
    const uint8_t *ip = bytes + NET_ETHERNET;
    size_t header = (size_t)(ip[0] & 15) * 4;
    size_t total = get_be16(ip + AT_LENGTH);
    uint16_t piece = get_be16(ip + AT_PIECE);

    if (ip[0] >> 4 != 4 || header < IP4_LEAST || total <= header || total > length - NET_ETHERNET)
        return false;
    const struct iovec iov = {(void *)(uintptr_t)ip /* NOLINT(performance-no-int-to-ptr) */,
                              header};
    if (net_checksum(&iov, 1, 0) != 0xffff)
        return false;
    *ret = (struct piece){.ip = ip,
                          .payload = ip + header,
                          .header = header,
                          .length = total - header,
                          .offset = (size_t)(piece & OFFSET) * EIGHTS,
                          .more = (piece & MORE) != 0};
    return !ret->more || ret->length % EIGHTS == 0;
}

static bool is_of(const struct nat_datagram *datagram, const uint8_t *ip)
{
    if (datagram->frame == NULL)
        return false;
    const uint8_t *own = datagram->frame + NET_ETHERNET;
    return get_be16(own + AT_ID) == get_be16(ip + AT_ID) && own[AT_PROTOCOL] == ip[AT_PROTOCOL] &&
           memcmp(own + AT_ADDRESSES, ip + AT_ADDRESSES, ADDRESSES) == 0;
}

static void forget(struct nat_datagram *datagram)
{
    free(datagram->frame);
    *datagram = (struct nat_datagram){0};
}

static struct nat_datagram *find(struct nat_fragments *fragments, const uint8_t *ip)
{
    for (unsigned i = 0; i < NAT_DATAGRAMS; i++) {
        if (is_of(&fragments->datagrams[i], ip))
            return &fragments->datagrams[i];
    }
    return NULL;
}

/* A free one is older than any. */
static struct nat_datagram *find_oldest(struct nat_fragments *fragments)
{
    struct nat_datagram *oldest = &fragments->datagrams[0];

    for (unsigned i = 1; i < NAT_DATAGRAMS; i++) {
        if (fragments->datagrams[i].turn < oldest->turn)
            oldest = &fragments->datagrams[i];
    }
    return oldest;
}

/* The first fragment: whatever was there of this datagram begins anew. */
static void begin(struct nat_fragments *fragments, const uint8_t *bytes, const struct piece *piece)
{
    struct nat_datagram *at = find(fragments, piece->ip);

    if (at == NULL)
        at = find_oldest(fragments);
    forget(at);
    at->length = NET_ETHERNET + piece->header + piece->length;
    at->turn = ++fragments->turns;
    at->frame = malloc(at->length);
    if (at->frame != NULL)
        memcpy(at->frame, bytes, at->length);
}

/* False: it is not what comes next. */
static bool add(struct nat_datagram *datagram, const struct piece *piece)
{
    size_t header = (size_t)(datagram->frame[NET_ETHERNET] & 15) * 4;

    if (piece->offset != datagram->length - NET_ETHERNET - header ||
        header + piece->offset + piece->length > MOST_DATAGRAM)
        return false;
    uint8_t *frame = realloc(datagram->frame, datagram->length + piece->length);
    if (frame == NULL)
        return false;
    memcpy(frame + datagram->length, piece->payload, piece->length);
    datagram->frame = frame;
    datagram->length += piece->length;
    return true;
}

static void finish(const struct nat_datagram *datagram)
{
    uint8_t *ip = datagram->frame + NET_ETHERNET;
    const struct iovec iov = {ip, (size_t)(ip[0] & 15) * 4};

    put_be16(ip + AT_LENGTH, (uint16_t)(datagram->length - NET_ETHERNET));
    put_be16(ip + AT_PIECE, 0);
    put_be16(ip + AT_SUM, 0);
    put_le16(ip + AT_SUM, (uint16_t)~net_checksum(&iov, 1, 0));
}

const uint8_t *nat_fragments_take(struct nat_fragments *fragments, const uint8_t *bytes,
                                  size_t length, size_t *ret_length)
{
    struct piece piece;

    *ret_length = length;
    if (!is_fragment(bytes, length))
        return bytes;
    if (!parse(bytes, length, &piece))
        return NULL;
    if (piece.offset == 0) {
        begin(fragments, bytes, &piece);
        return NULL;
    }
    struct nat_datagram *datagram = find(fragments, piece.ip);
    if (datagram == NULL || !add(datagram, &piece) || piece.more)
        return NULL;
    finish(datagram);
    *ret_length = datagram->length;
    forget(&fragments->whole);
    fragments->whole = *datagram;
    *datagram = (struct nat_datagram){0};
    return fragments->whole.frame;
}

void nat_fragments_release(struct nat_fragments *fragments)
{
    for (unsigned i = 0; i < NAT_DATAGRAMS; i++)
        forget(&fragments->datagrams[i]);
    forget(&fragments->whole);
}
