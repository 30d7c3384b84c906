/*
 * Invariant: whatever a guest sends, signals and writes into its rings, in whatever order with the
 * host's own offers, rescinds, sends and resets, VMBus stays within the guest's memory, devices
 * hear of open and closed in turns, and after a reset nothing of the guest is kept.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/fuzz_input.h"
#include "vmbus/vmbus_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VPS = 2, RAM = 0x100000, SIMP = 0x10000, RINGS = 0x20, DEVICES = 3, MOST_ACTIONS = 64 };

struct device {
    struct vmbus_channel *channel;
    bool open;
};

static struct mem *mem;
static struct hv *hv;
static struct vmbus *vmbus;
static struct loop *loop;
static struct device devices[DEVICES];
static uint8_t payload[512];
static struct vmbus_packet packet = {.payload = payload, .payload_room = sizeof(payload)};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    (void)auto_eoi;
    (void)owner;
    must(vp < VPS && vector == 0xf3);
}

static void set_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    (void)owner;
    (void)vp;
    (void)deadline_ns;
}

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
            must(mem_is_ram(mem, packet.segment[i].gpa, packet.segment[i].length));
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

static void set_up(void)
{
    struct hv_config config = {.host = {.interrupt = interrupt, .set_timer = set_timer},
                               .vp_count = VPS,
                               .tsc_hz = 1000000000};
    must(mem_create(RAM, RAM, &mem) == 0 && loop_create(&loop) == 0);
    config.mem = mem;
    must(hv_create(&config, &hv, NULL) == 0);
    struct vmbus_config bus = {.hv = hv, .mem = mem, .loop = loop, .vp_count = VPS};
    must(vmbus_create(&bus, &vmbus, NULL) == 0);
    must(hv_write_msr(hv, 0, 0x40000083, SIMP | 1) && hv_write_msr(hv, 0, 0x40000082, 0x11001) &&
         hv_write_msr(hv, 0, 0x40000092, 0xf3) && hv_write_msr(hv, 0, 0x40000080, 1));
}

static void offer(struct device *device, uint8_t number)
{
    const struct vmbus_offer offered = {.name = "fuzz", .class_id = {1}, .instance_id = {number}};
    if (device->channel == NULL)
        must(vmbus_offer(vmbus, &offered, &ops, device, &device->channel) == 0);
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
    message_handle(vmbus, &message);
}

/* The usual way to an open channel, so that what comes behind it is reached. */
static void open_usual(struct fuzz_input *in)
{
    const struct device *device = &devices[fuzz_take(in, 1) % DEVICES];
    struct hv_message message = {.type = WIRE_MESSAGE_TYPE, .length = CONTACT_SIZE};
    if (device->channel == NULL)
        return;
    put_le32(message.payload, WIRE_CONTACT);
    put_le32(message.payload + CONTACT_VERSION, VMBUS_VERSION(5, 3));
    message.payload[CONTACT_SINT] = WIRE_SINT;
    message_handle(vmbus, &message);
    vmbus->offers_wanted = true;
    (void)channel_announce_all(vmbus);
    message = (struct hv_message){.type = WIRE_MESSAGE_TYPE, .length = GPADL_PFNS + 48};
    put_le32(message.payload, WIRE_GPADL_HEADER);
    put_le32(message.payload + RELID, device->channel->relid);
    put_le32(message.payload + GPADL_ID, 1);
    put_le16(message.payload + GPADL_RANGE_COUNT, 1);
    put_le32(message.payload + GPADL_BYTE_COUNT, 6 * 4096);
    for (unsigned i = 0; i < 6; i++)
        put_le64(message.payload + GPADL_PFNS + (size_t)i * 8, RINGS + i);
    message_handle(vmbus, &message);
    message = (struct hv_message){.type = WIRE_MESSAGE_TYPE, .length = OPEN_SIZE};
    put_le32(message.payload, WIRE_OPEN);
    put_le32(message.payload + RELID, device->channel->relid);
    put_le32(message.payload + OPEN_GPADL, 1);
    put_le32(message.payload + OPEN_DOWNSTREAM, 3);
    message_handle(vmbus, &message);
}

static void write_ring(struct fuzz_input *in)
{
    uint64_t page = RINGS + fuzz_take(in, 1) % 6;
    uint64_t offset = fuzz_take(in, 1) % 96 * 4;
    uint8_t bytes[32];
    unsigned length = 1 + (unsigned)fuzz_take(in, 1) % sizeof(bytes);
    fuzz_take_bytes(in, bytes, length);
    must(mem_write(mem, page * MEM_PAGE_SIZE + offset, bytes, length) == 0);
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
        vmbus_reset(vmbus);
        must(vmbus->gpadls == NULL && vmbus->gpadl_pages == 0 && !device->open);
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
        channel_serve_all(vmbus);
        break;
    case 7:
        if (device->channel != NULL)
            (void)vmbus_send(device->channel, payload, fuzz_take(in, 1) * 2, 1, true);
        break;
    default:
        send(in);
        break;
    }
    vmbus->outgoing_count = 0; /* the guest takes them all */
    vmbus->outgoing_first = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};

    if (mem == NULL)
        set_up();
    for (unsigned i = 0; i < MOST_ACTIONS && in.left > 0; i++)
        act(&in);
    for (unsigned i = 0; i < DEVICES; i++)
        withdraw(&devices[i]);
    vmbus_reset(vmbus);
    must(vmbus->channels == NULL && vmbus->gpadls == NULL);
    must(mem_fill(mem, RINGS * MEM_PAGE_SIZE, 0, 6 * MEM_PAGE_SIZE) == 0);
    return 0;
}
