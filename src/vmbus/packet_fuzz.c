/*
 * Invariant: packets that a guest puts into its ring rightly are read as they were put, packets of
 * the host reach the guest as they were sent, around the ends of small rings; and when the guest
 * has written anything else into the rings, what is read lies in its memory all the same, and the
 * channel is closed at worst.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include <errno.h>

#include "tests/harness/fuzz_input.h"
#include "vmbus/fuzz_bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RING = (BUS_RING_PAGES - 1) * 4096, MOST_PACKETS = 512, MOST_ACTIONS = 200, ROOM = 512 };

/* What a side has put, and the other has to find. */
struct expected {
    uint64_t transaction;
    uint32_t length; /* of the payload, which counts up from the transaction's low byte */
    uint64_t bytes;  /* of the ranges */
    uint16_t type, flags;
};

struct queue {
    struct expected packets[MOST_PACKETS];
    unsigned first, count;
};

static struct fuzz_bus bus;
static struct vmbus_channel *channel;
static uint8_t *rings[2]; /* the guest's, the host's: a control page and the data, contiguous */
static struct queue inward, outward;
static bool honest; /* nothing else was written into the rings */
static bool open;
static uint64_t next_transaction;
static uint8_t payload[ROOM];
static struct vmbus_packet packet = {.payload = payload, .payload_room = ROOM};

static int opened(void *owner, struct vmbus_channel *of)
{
    (void)owner;
    (void)of;
    open = true;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *of)
{
    (void)owner;
    (void)of;
    open = false;
}

static void nothing(void *owner, struct vmbus_channel *of)
{
    (void)owner;
    (void)of;
}

static void set_up(void)
{
    static const struct vmbus_channel_ops ops = {
        .opened = opened, .closed = closed, .readable = nothing, .writable = nothing};
    const struct vmbus_offer offered = {.name = "fuzz", .class_id = {1}, .instance_id = {1}};

    fuzz_bus_create(&bus);
    must(vmbus_offer(bus.vmbus, &offered, &ops, NULL, &channel) == 0);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t page = BUS_RINGS + i * BUS_RING_PAGES;
        rings[i] = mem_pin(bus.mem, page * 4096, (uint64_t)BUS_RING_PAGES * 4096);
        must(rings[i] != NULL);
    }
}

static void start(void)
{
    for (unsigned i = 0; i < 2; i++)
        memset(rings[i], 0, (size_t)BUS_RING_PAGES * 4096);
    fuzz_bus_open(&bus, channel);
    fuzz_bus_take_messages(&bus);
    must(open);
    inward = outward = (struct queue){.count = 0};
    honest = true;
}

static void expect(struct queue *queue, const struct expected *expected)
{
    must(queue->count < MOST_PACKETS);
    queue->packets[(queue->first + queue->count++) % MOST_PACKETS] = *expected;
}

static struct expected next_expected(struct queue *queue)
{
    struct expected next = queue->packets[queue->first];

    must(queue->count > 0);
    queue->first = (queue->first + 1) % MOST_PACKETS;
    queue->count--;
    return next;
}

static void make_payload(uint8_t *to, const struct expected *of)
{
    for (uint32_t i = 0; i < of->length; i++)
        to[i] = (uint8_t)(of->transaction + i);
}

static void must_be_payload(const uint8_t *bytes, const struct expected *of)
{
    for (uint32_t i = 0; i < of->length; i++)
        must(bytes[i] == (uint8_t)(of->transaction + i));
}

/* ---- the guest ---- */

static uint32_t ring_word(unsigned ring, unsigned field)
{
    return get_le32(rings[ring] + field);
}

static void put_bytes(uint32_t at, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        rings[0][4096 + (at + i) % RING] = bytes[i];
}

static void take_bytes(uint32_t at, uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = rings[1][4096 + (at + i) % RING];
}

/* Ranges of pages that are there; their length. */
static size_t put_ranges(struct fuzz_input *in, uint8_t *bytes, struct expected *ret)
{
    unsigned count = (unsigned)fuzz_take(in, 1) % 4;
    size_t at = PACKET_RANGES;

    put_le32(bytes, 0);
    put_le32(bytes + PACKET_RANGE_COUNT, count);
    for (unsigned i = 0; i < count; i++) {
        uint32_t length = (uint32_t)fuzz_take(in, 2) % (6 * 4096);
        uint32_t offset = (uint32_t)fuzz_take(in, 1) * 16;
        put_le32(bytes + at + RANGE_BYTE_COUNT, length);
        put_le32(bytes + at + RANGE_BYTE_OFFSET, offset);
        at += RANGE_PFNS;
        for (uint32_t done = 0; length > 0 && done < offset + length; done += 4096, at += 8)
            put_le64(bytes + at, 0x40 + fuzz_take(in, 1) % 0x80);
        ret->bytes += length;
    }
    return at;
}

static void guest_put(struct fuzz_input *in)
{
    static const uint16_t types[] = {VMBUS_PACKET_DATA_INBAND, VMBUS_PACKET_DATA_GPA_DIRECT,
                                     VMBUS_PACKET_COMPLETION, 0x77};
    static uint8_t bytes[RING];
    uint8_t shape = (uint8_t)fuzz_take(in, 1);
    struct expected put = {.type = types[shape & 3],
                           .flags = shape >> 2 & 1,
                           .transaction = next_transaction++,
                           .length = (uint32_t)fuzz_take(in, 1) * (shape & 8 ? 4 : 1)};
    size_t offset = PACKET_DESCRIPTOR;

    memset(bytes, 0, sizeof(bytes));
    if (put.type == VMBUS_PACKET_DATA_GPA_DIRECT)
        offset += put_ranges(in, bytes + offset, &put);
    make_payload(bytes + offset, &put);
    size_t length = offset + (put.length + 7) / 8 * 8;
    put_le16(bytes + PACKET_TYPE, put.type);
    put_le16(bytes + PACKET_OFFSET, (uint16_t)(offset / 8));
    put_le16(bytes + PACKET_LENGTH, (uint16_t)(length / 8));
    put_le16(bytes + PACKET_FLAGS, put.flags);
    put_le64(bytes + PACKET_TRANSACTION, put.transaction);
    uint32_t at = ring_word(0, RING_WRITE_INDEX) % RING;
    uint32_t used = (at + RING - ring_word(0, RING_READ_INDEX) % RING) % RING;
    if (length + PACKET_TRAILER >= RING - used)
        return;
    put_bytes(at, bytes, length + PACKET_TRAILER);
    put_le32(rings[0] + RING_WRITE_INDEX, (at + (uint32_t)length + PACKET_TRAILER) % RING);
    if (honest)
        expect(&inward, &put);
}

static void guest_take(void)
{
    uint8_t bytes[RING] = {0};
    uint32_t at = ring_word(1, RING_READ_INDEX);

    if (!honest || at == ring_word(1, RING_WRITE_INDEX))
        return;
    take_bytes(at, bytes, PACKET_DESCRIPTOR);
    uint32_t offset = get_le16(bytes + PACKET_OFFSET) * 8u;
    uint32_t length = get_le16(bytes + PACKET_LENGTH) * 8u;
    must(offset >= PACKET_DESCRIPTOR && length >= offset && length + PACKET_TRAILER <= RING);
    take_bytes(at, bytes, length + PACKET_TRAILER);
    const struct expected sent = next_expected(&outward);
    must(get_le16(bytes + PACKET_TYPE) == sent.type);
    must(get_le16(bytes + PACKET_FLAGS) == sent.flags);
    must(get_le64(bytes + PACKET_TRANSACTION) == sent.transaction);
    must(length - offset == (sent.length + 7) / 8 * 8);
    must_be_payload(bytes + offset, &sent);
    must(get_le64(bytes + length) == (uint64_t)at << 32);
    put_le32(rings[1] + RING_READ_INDEX, (at + length + PACKET_TRAILER) % RING);
}

/* Anything, anywhere in the control pages or in the guest's data. */
static void guest_spoil(struct fuzz_input *in)
{
    uint8_t choice = (uint8_t)fuzz_take(in, 1);
    size_t at = choice & 1 ? 4096 + (ring_word(0, RING_READ_INDEX) + choice / 4 * 4) % RING
                           : choice / 32 * 4;
    unsigned length = 1 + (unsigned)fuzz_take(in, 1) % 8;

    for (unsigned i = 0; i < length; i++)
        rings[choice >> 1 & 1 && !(choice & 1)][at + i] = (uint8_t)fuzz_take(in, 1);
    honest = false;
}

/* ---- the host ---- */

static void host_read(void)
{
    channel->batch = 2;
    int error = vmbus_read(channel, &packet);
    uint64_t bytes = 0;

    must(error == 0 || error == -EAGAIN || error == -EMSGSIZE || error == -EPROTO);
    must(open == (error != -EPROTO));
    for (unsigned i = 0; error == 0 && i < packet.segment_count; i++) {
        must(mem_is_ram(bus.mem, packet.segment[i].gpa, packet.segment[i].length));
        bytes += packet.segment[i].length;
    }
    must(error != 0 || packet.payload_length <= ROOM);
    if (!honest)
        return;
    must((error == -EAGAIN) == (inward.count == 0));
    if (error == -EAGAIN)
        return;
    const struct expected put = next_expected(&inward);
    must(error == ((put.length + 7) / 8 * 8 > ROOM ? -EMSGSIZE : 0));
    must(packet.type == (enum vmbus_packet_type)put.type &&
         packet.transaction_id == put.transaction);
    must(packet.wants_completion == (put.flags != 0));
    if (error < 0)
        return;
    must(bytes == put.bytes);
    must_be_payload(payload, &put);
}

static void host_send(struct fuzz_input *in)
{
    static const struct vmbus_transfer_range ranges[2] = {{.length = 1, .offset = 2},
                                                          {.length = 3}};
    static const struct vmbus_transfer transfer = {.set_id = 7, .range_count = 2, .ranges = ranges};
    static uint8_t bytes[1024];
    uint8_t shape = (uint8_t)fuzz_take(in, 1);
    struct expected sent = {.transaction = next_transaction++,
                            .length = (uint32_t)fuzz_take(in, 1) * (shape & 4 ? 4 : 1)};
    int error;

    make_payload(bytes, &sent);
    if ((shape & 3) == 0) {
        sent.type = VMBUS_PACKET_COMPLETION;
        error = vmbus_complete(channel, sent.transaction, bytes, sent.length);
    } else if ((shape & 3) == 1) {
        sent.type = VMBUS_PACKET_DATA_TRANSFER_PAGES;
        sent.flags = PACKET_WANTS_COMPLETION;
        error = vmbus_send_transfer(channel, &transfer, sent.transaction, bytes, sent.length);
    } else {
        sent.type = VMBUS_PACKET_DATA_INBAND;
        sent.flags = shape & 1;
        error = vmbus_send(channel, bytes, sent.length, sent.transaction, (shape & 1) != 0);
    }
    must(error == 0 || error == -EAGAIN || (error == -EPROTO && !honest && !open));
    if (error == 0 && honest)
        expect(&outward, &sent);
}

static void act(struct fuzz_input *in)
{
    switch (fuzz_take(in, 1) % 16) {
    case 0:
        guest_spoil(in);
        break;
    case 1: /* both may say that they need not be told */
        put_le32(rings[1] + RING_INTERRUPT_MASK, (uint32_t)fuzz_take(in, 1));
        put_le32(rings[0] + RING_PENDING_SIZE, (uint32_t)fuzz_take(in, 2));
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        host_send(in);
        break;
    case 6:
    case 7:
        guest_take();
        break;
    case 8:
    case 9:
    case 10:
        host_read();
        break;
    default:
        guest_put(in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};

    if (bus.mem == NULL)
        set_up();
    start();
    for (unsigned i = 0; i < MOST_ACTIONS && in.left > 0 && open; i++)
        act(&in);
    must(open || !honest);
    vmbus_reset(bus.vmbus);
    must(!open);
    return 0;
}
