#include "switch/meter.h"

#include <string.h>

#include "base/bytes.h"

enum { PLACES = METER_PEERS * 2 };

static unsigned place_of(const struct frame_address *address)
{
    uint64_t key = get_le64(address->bytes) * 31 ^ get_le64(address->bytes + 8);

    return (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 40) % PLACES;
}

/* At most half of the places are taken: the search ends. */
static struct meter_peer *peer_of(struct meter *meter, const struct frame_address *address)
{
    unsigned place = place_of(address);

    for (; meter->index[place] != 0; place = (place + 1) % PLACES) {
        struct meter_peer *peer = &meter->peer[meter->index[place] - 1];
        if (memcmp(&peer->address, address, sizeof(*address)) == 0)
            return peer;
    }
    if (meter->count == METER_PEERS)
        return &meter->others;
    struct meter_peer *peer = &meter->peer[meter->count++];
    meter->index[place] = (uint16_t)meter->count;
    peer->address = *address;
    return peer;
}

void meter_count(struct meter *meter, const struct frame *frame, bool from_guest, size_t length)
{
    struct meter_peer *peer =
        frame->has_ip ? peer_of(meter, from_guest ? &frame->to : &frame->from) : &meter->others;

    peer->frames[from_guest]++;
    peer->bytes[from_guest] += length;
}
