/*
 * Invariant: whatever a guest asks, opens, closes, releases and puts into its rings, and whatever
 * the host does with its streams, an owner hears of the end of its stream once, the books of
 * streams agree, and all that was taken is given back.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "vsp/hvsock.h"

#include <errno.h>

#include "tests/harness/fuzz_input.h"
#include "vmbus/fuzz_bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { OWNERS = 8, RELIDS = 12 };

struct owner {
    struct hvsock_stream *stream; /* NULL: this place is free */
    bool opened, finished;
};

static struct {
    struct fuzz_bus bus;
    struct hvsock *hvsock;
    struct owner owners[OWNERS];
    struct fuzz_input in;
} fuzz;

static struct owner *free_owner(void)
{
    for (unsigned i = 0; i < OWNERS; i++) {
        if (fuzz.owners[i].stream == NULL)
            return &fuzz.owners[i];
    }
    return NULL;
}

/* ---- the user ---- */

static int user_connect(void *owner, const uint8_t service[16], struct hvsock_stream *stream,
                        void **ret_owner)
{
    struct owner *place = free_owner();

    must(owner == &fuzz);
    if (place == NULL || service[1] != 0)
        return -ECONNREFUSED;
    *place = (struct owner){.stream = stream};
    *ret_owner = place;
    return 0;
}

static void user_opened(void *stream_owner)
{
    struct owner *owner = stream_owner;
    must(owner->stream != NULL && !owner->opened);
    owner->opened = true;
}

static void user_readable(void *stream_owner)
{
    const struct owner *owner = stream_owner;
    must(owner->stream != NULL && owner->opened);
}

static void user_writable(void *stream_owner)
{
    const struct owner *owner = stream_owner;
    must(owner->stream != NULL && (owner->finished || hvsock_room(owner->stream) != NULL));
}

static void user_closed(void *stream_owner)
{
    struct owner *owner = stream_owner;
    must(owner->stream != NULL);
    *owner = (struct owner){0};
}

static void use_stream(struct owner *owner, uint8_t choice)
{
    const uint8_t *bytes = NULL;
    size_t length = 0;
    uint8_t *room = NULL;
    int error = 0;

    if (owner->stream == NULL)
        return;
    switch (choice % 5) {
    case 0:
        error = hvsock_peek(owner->stream, &bytes, &length);
        must(error == 0 || error == -EAGAIN || error == -ENOTCONN);
        must(error != 0 || length <= HVSOCK_CHUNK);
        if (error == 0)
            hvsock_consume(owner->stream, length > 1 ? length - (choice & 1) : length);
        break;
    case 1:
        room = hvsock_room(owner->stream);
        if (room == NULL)
            break;
        length = fuzz_take(&fuzz.in, 2) % HVSOCK_CHUNK + 1;
        memset(room, choice, length);
        (void)hvsock_send(owner->stream, length);
        break;
    case 2:
        error = hvsock_finish(owner->stream);
        owner->finished |= error == 0 || error == -EAGAIN;
        break;
    default:
        hvsock_close(owner->stream);
        *owner = (struct owner){0};
    }
}

static void connect_host(void)
{
    struct owner *owner = free_owner();
    uint8_t service[16];

    hvsock_service_of_port((uint32_t)fuzz_take(&fuzz.in, 1), service);
    if (owner == NULL || hvsock_connect(fuzz.hvsock, service, owner, &owner->stream) != 0)
        return;
    owner->opened = false;
    owner->finished = false;
}

/* ---- the guest ---- */

static uint32_t any_relid(void)
{
    return (uint32_t)fuzz_take(&fuzz.in, 1) % RELIDS + 1;
}

static void tell(uint32_t type, size_t length, const uint8_t *fields)
{
    struct hv_message message = {.type = WIRE_MESSAGE_TYPE, .length = (uint8_t)length};

    put_le32(message.payload, type);
    memcpy(message.payload + WIRE_HEADER, fields, length - WIRE_HEADER);
    fuzz_bus_take_messages(&fuzz.bus);
    message_handle(fuzz.bus.vmbus, &message);
    (void)channel_announce_all(fuzz.bus.vmbus);
    fuzz_bus_take_messages(&fuzz.bus);
}

static void ask(void)
{
    uint8_t ids[32];

    hvsock_service_of_port((uint32_t)fuzz_take(&fuzz.in, 1) % 4, ids);
    hvsock_service_of_port((uint32_t)fuzz_take(&fuzz.in, 2), ids + 16);
    tell(WIRE_TL_CONNECT, TL_SIZE, ids);
}

static void say_relid(uint32_t type)
{
    uint8_t fields[4];

    put_le32(fields, any_relid());
    tell(type, RELID_SIZE, fields);
}

static void open_any(void)
{
    struct vmbus_channel *channel = fuzz.bus.vmbus->by_relid[any_relid()];

    if (channel == NULL || channel->open)
        return;
    uint8_t fields[GPADL_PFNS - WIRE_HEADER + 48] = {0};
    put_le32(fields, channel->relid);
    put_le32(fields + GPADL_ID - WIRE_HEADER, channel->relid);
    put_le16(fields + GPADL_RANGE_COUNT - WIRE_HEADER, 1);
    put_le32(fields + GPADL_BYTE_COUNT - WIRE_HEADER, 2 * BUS_RING_PAGES * 4096);
    for (unsigned i = 0; i < 2 * BUS_RING_PAGES; i++)
        put_le64(fields + GPADL_PFNS - WIRE_HEADER + (size_t)i * 8, BUS_RINGS + i);
    tell(WIRE_GPADL_HEADER, WIRE_HEADER + sizeof(fields), fields);
    memset(fields, 0, sizeof(fields));
    put_le32(fields, channel->relid);
    put_le32(fields + OPEN_GPADL - WIRE_HEADER, channel->relid);
    put_le32(fields + OPEN_DOWNSTREAM - WIRE_HEADER, BUS_RING_PAGES);
    memset(mem_pin(fuzz.bus.mem, BUS_RINGS * 4096, 64), 0, 64);
    memset(mem_pin(fuzz.bus.mem, (BUS_RINGS + BUS_RING_PAGES) * 4096, 64), 0, 64);
    tell(WIRE_OPEN, OPEN_SIZE, fields);
}

/* A packet, well or not so well; all channels have the same rings. */
static void put(void)
{
    uint8_t *ring = mem_pin(fuzz.bus.mem, BUS_RINGS * 4096, BUS_RING_PAGES * 4096);
    uint32_t size = (BUS_RING_PAGES - 1) * 4096;
    uint32_t at = get_le32(ring + RING_WRITE_INDEX) % size / 8 * 8;
    uint8_t packet[64] = {VMBUS_PACKET_DATA_INBAND, 0, 2, 0};
    uint8_t shape = (uint8_t)fuzz_take(&fuzz.in, 1);
    uint8_t total = (uint8_t)(24 + shape % 4 * 8);

    put_le16(packet + PACKET_LENGTH, total / 8);
    put_le32(packet + PACKET_DESCRIPTOR, 1);
    put_le32(packet + PACKET_DESCRIPTOR + 4, (uint32_t)fuzz_take(&fuzz.in, 1));
    if ((shape & 0x80) != 0)
        packet[fuzz_take(&fuzz.in, 1) % 24] = (uint8_t)fuzz_take(&fuzz.in, 1);
    for (unsigned i = 0; i < total; i++)
        ring[4096 + (at + i) % size] = packet[i];
    put_le32(ring + RING_WRITE_INDEX, (at + total + 8) % size);
    if ((shape & 0x40) != 0) /* the host's ring is read as far as it may be */
        put_le32(ring + (size_t)BUS_RING_PAGES * 4096 + RING_READ_INDEX,
                 (uint32_t)fuzz_take(&fuzz.in, 2));
}

static void signal_any(void)
{
    struct vmbus_channel *channel = fuzz.bus.vmbus->by_relid[any_relid()];

    if (channel != NULL && channel->open)
        atomic_store(&channel->signalled, true);
    channel_serve_all(fuzz.bus.vmbus);
}

static void act(uint8_t choice)
{
    switch (choice % 10) {
    case 0:
        ask();
        break;
    case 1:
        connect_host();
        break;
    case 2:
        open_any();
        break;
    case 3:
        say_relid(WIRE_CLOSE);
        break;
    case 4:
        say_relid(WIRE_RELID_RELEASED);
        break;
    case 5:
        put();
        break;
    case 6:
        signal_any();
        break;
    case 7:
        if (choice > 250)
            vmbus_reset(fuzz.bus.vmbus);
        fuzz.bus.vmbus->version = VMBUS_VERSION(5, 3);
        fuzz.bus.vmbus->offers_wanted = true;
        break;
    default:
        use_stream(&fuzz.owners[choice / 10 % OWNERS], (uint8_t)fuzz_take(&fuzz.in, 1));
    }
}

static void create(void)
{
    const struct hvsock_user user = {.owner = &fuzz,
                                     .connect = user_connect,
                                     .opened = user_opened,
                                     .readable = user_readable,
                                     .writable = user_writable,
                                     .closed = user_closed};

    if (fuzz.bus.vmbus == NULL)
        fuzz_bus_create(&fuzz.bus);
    must(hvsock_create(fuzz.bus.vmbus, &user, &fuzz.hvsock) == 0);
    fuzz.bus.vmbus->version = VMBUS_VERSION(5, 3);
    fuzz.bus.vmbus->offers_wanted = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    create();
    fuzz.in = (struct fuzz_input){bytes, length};
    while (fuzz.in.left > 0)
        act((uint8_t)fuzz_take(&fuzz.in, 1));
    hvsock_destroy(fuzz.hvsock);
    vmbus_reset(fuzz.bus.vmbus);
    must(fuzz.bus.vmbus->channels == NULL && fuzz.bus.vmbus->gpadl_count == 0);
    memset(fuzz.owners, 0, sizeof(fuzz.owners));
    return 0;
}
