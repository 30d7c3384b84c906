/* Which frames the guest wants, and on which channel (netvsp_private.h). */
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

static bool is_listed(const struct netvsp_filter *filter, const uint8_t *address)
{
    for (unsigned i = 0; i < filter->multicast_count; i++) {
        if (memcmp(filter->multicast[i], address, NET_MAC_SIZE) == 0)
            return true;
    }
    return false;
}

bool netvsp_filter_wants(const struct netvsp_filter *filter, const uint8_t *address)
{
    static const uint8_t broadcast[NET_MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t packets = filter->packets;

    if ((packets & NDIS_FILTER_PROMISCUOUS) != 0)
        return true;
    if ((address[0] & 1) == 0)
        return (packets & NDIS_FILTER_DIRECTED) != 0 &&
               memcmp(address, filter->mac, NET_MAC_SIZE) == 0;
    if (memcmp(address, broadcast, NET_MAC_SIZE) == 0)
        return (packets & NDIS_FILTER_BROADCAST) != 0;
    return (packets & NDIS_FILTER_ALL_MULTICAST) != 0 ||
           ((packets & NDIS_FILTER_MULTICAST) != 0 && is_listed(filter, address));
}

/* ---- receive side scaling: NDIS's Toeplitz hash ---- */

/* The 32 bits of the key from bit `at` on. */
static uint32_t window(const uint8_t *key, unsigned at)
{
    uint64_t bytes = (uint64_t)get_be32(key + at / 8) << 8 | key[at / 8 + 4];
    return (uint32_t)(bytes >> (8 - at % 8));
}

void netvsp_rss_set_key(struct netvsp_rss *rss, const uint8_t key[NDIS_RSS_KEY])
{
    for (unsigned place = 0; place < sizeof(rss->hash) / sizeof(rss->hash[0]); place++) {
        for (unsigned value = 0; value < 256; value++) {
            uint32_t sum = 0;
            for (unsigned bit = 0; bit < 8; bit++)
                sum ^= (value & 0x80u >> bit) != 0 ? window(key, place * 8 + bit) : 0;
            rss->hash[place][value] = sum;
        }
    }
}

static uint32_t hash_of(const struct netvsp_rss *rss, const uint8_t *bytes,
                        const struct net_headers *headers)
{
    unsigned addresses = headers->ip_version == 4 ? 8 : 32;
    const uint8_t *from = bytes + headers->ip + (headers->ip_version == 4 ? 12 : 8);
    uint32_t hash = 0;
    unsigned place = 0;

    for (unsigned i = 0; i < addresses; i++)
        hash ^= rss->hash[place++][from[i]];
    from = bytes + headers->transport;
    for (unsigned i = 0; headers->protocol == NET_PROTOCOL_TCP && i < 4; i++)
        hash ^= rss->hash[place++][from[i]];
    return hash;
}

struct netvsp_channel *netvsp_rss_choose(struct netvsp *netvsp, const uint8_t *bytes,
                                         const struct net_headers *headers)
{
    const struct netvsp_rss *rss = &netvsp->rss;

    if (!rss->on || headers->ip_version == 0)
        return &netvsp->channel[0];
    unsigned index = rss->table[hash_of(rss, bytes, headers) & (rss->table_size - 1)];
    bool usable = index < netvsp->channel_count && netvsp->channel[index].open;
    return &netvsp->channel[usable ? index : 0];
}
