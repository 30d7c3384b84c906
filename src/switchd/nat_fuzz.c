/*
 * Whatever frames guests send: no two of them have one place, a guest keeps its own until 240
 * others came, what is leased is that place, and an answer is a frame whose sums are right.
 *
 * The input is a sequence of frames: {guest, length of what differs, that}, from offset 12 on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "net/headers.h"
#include "switchd/nat_guests.h"
#include "switchd/nat_lease.h"
#include "tests/harness/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { FRAME = 14 + 20 + 8 + 300, FRAMES = 40, MACS = 256 };

static struct nat_guests guests;
static int places[MACS]; /* of a hardware address, by its last byte; 0: none yet */

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void put(uint8_t *to, const char *bytes, size_t length)
{
    memcpy(to, bytes, length);
}

/* A frame to all that asks for a lease, to be changed. */
static void make_frame(uint8_t *frame, uint8_t mac)
{
    static const uint8_t ip[] = {0x08, 0, 0x45, 0, 1,   72,  0,   0,   0, 0,  64, 17, 0, 0, 0,
                                 0,    0, 0,    0, 255, 255, 255, 255, 0, 68, 0,  67, 1, 52};

    memset(frame, 0, FRAME);
    memset(frame, 0xff, NET_MAC_SIZE);
    frame[6] = 2;
    frame[11] = mac;
    memcpy(frame + 12, ip, sizeof(ip));
    put(frame + 42, "\1\1\6", 3);
    memcpy(frame + 42 + 28, frame + 6, NET_MAC_SIZE);
    put(frame + 42 + 236, "\x63\x82\x53\x63\x35\1\1\x32\4\x0a\0\2\x10\xff", 14);
}

static int place(uint8_t mac, const uint8_t *address, uint8_t wish, uint64_t now)
{
    bool is_new = false;
    int at = nat_guests_place(&guests, address, wish, now, &is_new);

    require(at >= NAT_LEAST && at < NAT_PLACES);
    require(is_new ? places[mac] == 0 : places[mac] == at);
    for (unsigned i = 0; i < MACS; i++)
        require(i == mac || places[i] != at);
    places[mac] = at;
    return at;
}

static void check_answer(uint8_t *frame, const uint8_t *mac, uint8_t at)
{
    const struct net_headers headers = net_headers_parse(frame, NAT_LEASE_SIZE);
    const uint8_t *message = frame + headers.payload;
    struct iovec iov = {frame + headers.ip, 20};

    require(memcmp(frame, mac, NET_MAC_SIZE) == 0 && headers.protocol == NET_PROTOCOL_UDP);
    require(net_checksum(&iov, 1, 0) == 0xffff);
    require(message[0] == 2 && get_be16(frame + headers.transport + 2) == 68);
    require(message[19] == 0 || message[19] == at);
}

static unsigned count_none(void *owner)
{
    (void)owner;
    return 0;
}

static void take(const uint8_t *frame, size_t length, uint8_t mac, uint64_t now)
{
    const struct nat_frame seen = nat_frame_parse(frame, length);
    uint8_t answer[NAT_LEASE_SIZE];
    struct nat_ask ask;

    if (seen.kind == NAT_LEASE && nat_lease_parse(frame, length, &ask)) {
        int at = place(mac, ask.mac, nat_place_of(ask.wish), now);
        if (nat_lease_answer(&ask, (uint8_t)at, answer))
            check_answer(answer, frame + NET_MAC_SIZE, (uint8_t)at);
    } else if (seen.kind == NAT_ARP || seen.kind == NAT_IP) {
        int at = place(mac, frame + NET_MAC_SIZE, seen.place, now);
        require(!seen.opens || nat_guest_may_open(&guests.guest[at], 1, now, count_none, NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_input in = {bytes, size};
    static const uint64_t step = UINT64_C(1000000000);

    guests = (struct nat_guests){0};
    memset(places, 0, sizeof(places));
    for (uint64_t i = 1; i <= FRAMES && in.left > 0; i++) {
        uint8_t *frame = malloc(FRAME);
        require(frame != NULL);
        uint8_t mac = (uint8_t)fuzz_take(&in, 1);
        make_frame(frame, mac);
        for (uint64_t n = fuzz_take(&in, 1) % 32; n > 0; n--) {
            size_t at = 12 + (size_t)fuzz_take(&in, 2) % (FRAME - 12);
            frame[at] = (uint8_t)fuzz_take(&in, 1);
        }
        /* As long as it says, so that a byte read beyond it is seen. */
        size_t cut = (size_t)fuzz_take(&in, 2) % (FRAME + 1);
        uint8_t *exact = realloc(frame, FRAME - cut > 0 ? FRAME - cut : 1);
        require(exact != NULL);
        take(exact, FRAME - cut, mac, i * step);
        free(exact);
    }
    return 0;
}
