/*
 * Invariant: whatever a guest sends, signals and writes into its rings, in whatever order with the
 * host's own offers, rescinds, sends and resets, VMBus stays within the guest's memory, devices
 * hear of open and closed in turns, and after a reset nothing of the guest is kept.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include <errno.h>

#include "tests/harness/fuzz_input.h"
#include "vmbus/fuzz_bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEVICES = 3, MOST_ACTIONS = 64 };

struct device {
    struct vmbus_channel *channel;
    bool open;
};

static struct fuzz_bus bus;
static struct device devices[DEVICES];
static uint8_t payload[512];
static struct vmbus_packet packet = {.payload = payload, .payload_room = sizeof(payload)};

static int opened(void *owner, struct vmbus_channel *channel)
{
    struct device *device = owner;
    must(device->channel == channel && !device->open);
    device->open = true;
    return 0;
}

static void closed(void *owner, struct vmbus_channel *channel)
{
    struct device *device = owner;
    must(device->channel == channel && device->open);
    device->open = false;
}

static void readable(void *owner, struct vmbus_channel *channel)
{
    const struct device *device = owner;
    must(device->open);
    int error = 0;
    while (error == 0 || error == -EMSGSIZE) {
        error = vmbus_read(channel, &packet);
        if (error != 0)
            continue;
        must(packet.payload_length <= sizeof(payload));
        for (unsigned i = 0; i < packet.segment_count; i++)
            must(mem_is_ram(bus.mem, packet.segment[i].gpa, packet.segment[i].length));
        (void)vmbus_complete(channel, packet.transaction_id, payload, packet.payload_length);
    }
}

static void writable(void *owner, struct vmbus_channel *channel)
{
    (void)owner;
    (void)vmbus_send(channel, payload, sizeof(payload), 1, false);
}

static const struct vmbus_channel_ops ops = {
    .opened = opened, .closed = closed, .readable = readable, .writable = writable};

static void offer(struct device *device, uint8_t number)
{
    const struct vmbus_offer offered = {.name = "fuzz", .class_id = {1}, .instance_id = {number}};
    if (device->channel == NULL)
        must(vmbus_offer(bus.vmbus, &offered, &ops, device, &device->channel) == 0);
}

static void withdraw(struct device *device)
{
    if (device->channel != NULL)
        vmbus_rescind(device->channel);
    must(!device->open);
    device->channel = NULL;
}

/* A message with small numbers where they let a sequence get far. */
static void send(struct fuzz_input *in)
{
    struct hv_message message = {.type = WIRE_MESSAGE_TYPE};
    message.length = (uint8_t)(fuzz_take(in, 1) % (HV_MESSAGE_PAYLOAD + 1));
    put_le32(message.payload, (uint32_t)(fuzz_take(in, 1) % 26));
    for (unsigned at = 8; at + 4 <= message.length && in->left > 0; at += 4) {
        uint32_t word = (uint32_t)fuzz_take(in, 1);
        put_le32(message.payload + at, word < 0xf0 ? word : (uint32_t)fuzz_take(in, 4));
    }
    message_handle(bus.vmbus, &message);
}

static void open_usual(struct fuzz_input *in)
{
    const struct device *device = &devices[fuzz_take(in, 1) % DEVICES];

    if (device->channel != NULL)
        fuzz_bus_open(&bus, device->channel);
}

static void write_ring(struct fuzz_input *in)
{
    uint64_t page = BUS_RINGS + fuzz_take(in, 1) % 6;
    uint64_t offset = fuzz_take(in, 1) % 96 * 4;
    uint8_t bytes[32];
    unsigned length = 1 + (unsigned)fuzz_take(in, 1) % sizeof(bytes);
    fuzz_take_bytes(in, bytes, length);
    must(mem_write(bus.mem, page * MEM_PAGE_SIZE + offset, bytes, length) == 0);
}

static void act(struct fuzz_input *in)
{
    uint8_t action = (uint8_t)fuzz_take(in, 1);
    uint8_t number = action / 16 % DEVICES;
    struct device *device = &devices[number];

    switch (action % 10) {
    case 0:
        offer(device, number);
        break;
    case 1:
        withdraw(device);
        break;
    case 2:
        vmbus_reset(bus.vmbus);
        must(bus.vmbus->gpadls == NULL && bus.vmbus->gpadl_pages == 0 && !device->open);
        break;
    case 3:
        open_usual(in);
        break;
    case 4:
    case 5:
        write_ring(in);
        break;
    case 6:
        if (device->channel != NULL && device->open)
            atomic_store(&device->channel->signalled, true);
        channel_serve_all(bus.vmbus);
        break;
    case 7:
        if (device->channel != NULL)
            (void)vmbus_send(device->channel, payload, fuzz_take(in, 1) * 2, 1, true);
        break;
    default:
        send(in);
        break;
    }
    fuzz_bus_take_messages(&bus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};

    if (bus.mem == NULL)
        fuzz_bus_create(&bus);
    for (unsigned i = 0; i < MOST_ACTIONS && in.left > 0; i++)
        act(&in);
    for (unsigned i = 0; i < DEVICES; i++)
        withdraw(&devices[i]);
    vmbus_reset(bus.vmbus);
    must(bus.vmbus->channels == NULL && bus.vmbus->gpadls == NULL);
    must(mem_fill(bus.mem, BUS_RINGS * MEM_PAGE_SIZE, 0, 6 * MEM_PAGE_SIZE) == 0);
    return 0;
}
