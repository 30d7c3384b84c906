/*
 * Whatever frames guests send: no two of them have one place, a guest keeps its own until 240
 * others came, what is leased is that place, an answer is a frame whose sums are right, and no
 * fragment goes on.
 *
 * The input is a sequence of frames: {guest, length of what differs, that}, from offset 12 on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "net/headers.h"
#include "switchd/nat_fragments.h"
#include "switchd/nat_guests.h"
#include "switchd/nat_lease.h"
#include "tests/harness/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { FRAME = 14 + 20 + 8 + 300, FRAMES = 40, MACS = 256 };

static struct nat_guests guests;
static struct nat_fragments fragments; /* of all: they have but one address */
static int places[MACS];               /* of a hardware address, by its last byte; 0: none yet */

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

static void finish_header(uint8_t *frame)
{
    const struct iovec iov = {frame + NET_ETHERNET, (size_t)(frame[NET_ETHERNET] & 15) * 4};

    put_be16(frame + NET_ETHERNET + 10, 0);
    put_le16(frame + NET_ETHERNET + 10, (uint16_t)~net_checksum(&iov, 1, 0));
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

static void put_together(const uint8_t *frame, size_t length)
{
    size_t got = 0;
    const uint8_t *whole = nat_fragments_take(&fragments, frame, length, &got);
    uint8_t header[60];

    if (whole == NULL || got < NET_ETHERNET + 20)
        return;
    require((get_be16(whole + NET_ETHERNET + 6) & 0x3fff) == 0);
    if (whole == frame)
        return;
    const struct iovec iov = {header, (size_t)(whole[NET_ETHERNET] & 15) * 4};
    memcpy(header, whole + NET_ETHERNET, iov.iov_len);
    require(net_checksum(&iov, 1, 0) == 0xffff);
    require(get_be16(whole + NET_ETHERNET + 2) == got - NET_ETHERNET);
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
        if (seen.kind == NAT_IP)
            put_together(frame, length);
        require(!seen.opens || nat_guest_may_open(&guests.guest[at], 1, now, count_none, NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_input in = {bytes, size};
    static const uint64_t step = UINT64_C(1000000000);

    guests = (struct nat_guests){0};
    nat_fragments_release(&fragments);
    memset(places, 0, sizeof(places));
    for (uint64_t i = 1; i <= FRAMES && in.left > 0; i++) {
        uint8_t *frame = malloc(FRAME);
        require(frame != NULL);
        uint8_t mac = (uint8_t)fuzz_take(&in, 1);
        make_frame(frame, mac);
        const uint64_t changes = fuzz_take(&in, 1);
        for (uint64_t n = changes % 32; n > 0; n--) {
            size_t at = 12 + (size_t)fuzz_take(&in, 2) % (FRAME - 12);
            frame[at] = (uint8_t)fuzz_take(&in, 1);
        }
        if (changes >= 128) /* else no fragment would be one */
            finish_header(frame);
        /* As long as it says, so that a byte read beyond it is seen. */
        size_t cut = (size_t)fuzz_take(&in, 2) % (FRAME + 1);
        uint8_t *exact = realloc(frame, FRAME - cut > 0 ? FRAME - cut : 1);
        require(exact != NULL);
        take(exact, FRAME - cut, mac, i * step);
        free(exact);
    }
    return 0;
}
