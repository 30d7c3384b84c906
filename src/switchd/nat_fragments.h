/*
 * The fragments of a guest's datagrams (RFC 791 § 3.2), put together before libslirp sees them: its
 * own reassembly (4.7) has no bound, looks at all that it holds for each that it lets go, and dies
 * of a last fragment whose others are missing. Fragments must come in order, as guests send them
 * and switches carry them.
 */
#ifndef SWITCHD_NAT_FRAGMENTS_H
#define SWITCHD_NAT_FRAGMENTS_H

#include <stddef.h>
#include <stdint.h>

enum { NAT_DATAGRAMS = 8 /* of a guest, under way at once; the oldest gives way */ };

struct nat_datagram {
    uint8_t *frame; /* NULL: a free place */
    size_t length;
    uint64_t turn;
};

struct nat_fragments {
    struct nat_datagram datagrams[NAT_DATAGRAMS], whole /* the one that went on last */;
    uint64_t turns;
};

/*
 * A frame of IPv4 that may go on: the one that came when that is no fragment, a whole one when it
 * was the last fragment of one, which is there until the next call; NULL: none.
 */
const uint8_t *nat_fragments_take(struct nat_fragments *fragments, const uint8_t *bytes,
                                  size_t length, size_t *ret_length);
void nat_fragments_release(struct nat_fragments *fragments);

#endif
