/*
 * Invariant: whatever GPADLs a guest makes, fills and tears down, each is answered as a plain model
 * of them says, no more pages are kept than the bound, and what a complete one covers is in the
 * guest's memory and as long as it was told.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include <errno.h>

#include "tests/harness/fuzz_input.h"
#include "vmbus/fuzz_bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IDS = 8, MOST_PFNS = 26, SEGMENTS = 16, MOST_ACTIONS = 64 };

struct model {
    bool there;
    uint32_t relid, bytes, offset;
    uint64_t pages, filled, first_pfn;
};

static struct fuzz_bus bus;
static struct vmbus_channel *channel;
static struct model models[IDS];

static int opened(void *owner, struct vmbus_channel *opened_channel)
{
    (void)owner;
    (void)opened_channel;
    return -EIO;
}

static void nothing(void *owner, struct vmbus_channel *of)
{
    (void)owner;
    (void)of;
}

static void set_up(void)
{
    static const struct vmbus_channel_ops ops = {
        .opened = opened, .closed = nothing, .readable = nothing, .writable = nothing};
    const struct vmbus_offer offered = {.name = "fuzz", .class_id = {1}, .instance_id = {1}};

    fuzz_bus_create(&bus);
    must(vmbus_offer(bus.vmbus, &offered, &ops, NULL, &channel) == 0);
}

static uint64_t pages_of_all(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < IDS; i++)
        sum += models[i].there ? models[i].pages : 0;
    return sum;
}

/* The one message that the guest has got has this type and says this; or it got none. */
static void must_hear(uint32_t type, unsigned status_at, uint32_t status)
{
    const struct hv_message *message = &bus.vmbus->outgoing[bus.vmbus->outgoing_first];

    must(bus.vmbus->outgoing_count == (type != 0));
    if (type != 0)
        must(get_le32(message->payload) == type &&
             get_le32(message->payload + status_at) == status);
    fuzz_bus_take_messages(&bus);
}

static uint64_t take_pfn(struct fuzz_input *in)
{
    uint64_t pfn = fuzz_take(in, 1);
    return pfn == 0xff ? fuzz_take(in, 8) : pfn;
}

/* Page numbers into a message; its length. */
static size_t put_pfns(struct fuzz_input *in, uint8_t *message, size_t at, struct model *model)
{
    unsigned count = (unsigned)fuzz_take(in, 1) % (MOST_PFNS + 1);
    size_t end = at;

    for (unsigned i = 0; i < count; i++, end += 8) {
        uint64_t pfn = take_pfn(in);
        put_le64(message + end, pfn);
        if (model == NULL || model->filled >= model->pages)
            continue;
        if (model->filled++ == 0)
            model->first_pfn = pfn;
    }
    return end;
}

static struct model told(struct fuzz_input *in, uint8_t *message)
{
    uint8_t shape = (uint8_t)fuzz_take(in, 1);
    struct model model = {.there = true, .relid = shape & 1 ? channel->relid : shape};
    uint32_t ranges = shape & 2 ? (uint32_t)fuzz_take(in, 1) : 1;

    model.bytes = (uint32_t)fuzz_take(in, shape & 4 ? 4 : 2);
    model.offset = (uint32_t)fuzz_take(in, shape & 8 ? 2 : 1);
    model.pages = ((uint64_t)model.offset + model.bytes + 4095) / 4096;
    if (ranges != 1 || model.bytes == 0 || model.offset >= 4096 ||
        model.pages > VMBUS_MAX_GPADL_PAGES - pages_of_all())
        model.there = false;
    put_le32(message + RELID, model.relid);
    put_le16(message + GPADL_RANGE_COUNT, (uint16_t)ranges);
    put_le32(message + GPADL_BYTE_COUNT, model.bytes);
    put_le32(message + GPADL_BYTE_OFFSET, model.offset);
    return model;
}

static void send_header(struct fuzz_input *in, uint32_t id)
{
    uint8_t message[HV_MESSAGE_PAYLOAD] = {0};
    struct model model = told(in, message);
    bool refused = !model.there || models[id].there;

    put_le32(message + GPADL_ID, id);
    gpadl_header(bus.vmbus, message, put_pfns(in, message, GPADL_PFNS, &model));
    if (!refused)
        models[id] = model;
    bool heard = refused || model.filled == model.pages;
    must_hear(heard ? WIRE_GPADL_CREATED : 0, GPADL_CREATED_STATUS,
              refused ? WIRE_STATUS_FAILED : 0);
}

static void send_body(struct fuzz_input *in, uint32_t id)
{
    uint8_t message[HV_MESSAGE_PAYLOAD] = {0};
    struct model *model = &models[id];
    bool wanted = model->there && model->filled < model->pages;

    put_le32(message + GPADL_BODY_ID, id);
    gpadl_body(bus.vmbus, message, put_pfns(in, message, GPADL_BODY_PFNS, wanted ? model : NULL));
    bool heard = wanted && model->filled == model->pages;
    must_hear(heard ? WIRE_GPADL_CREATED : 0, GPADL_CREATED_STATUS, 0);
}

static void tear_down(uint32_t id)
{
    uint8_t message[HV_MESSAGE_PAYLOAD] = {0};

    put_le32(message + GPADL_ID, id);
    gpadl_teardown(bus.vmbus, message);
    models[id].there = false;
    must_hear(WIRE_GPADL_TORNDOWN, GPADL_TORNDOWN_ID, id);
}

static void look(struct fuzz_input *in, uint32_t id)
{
    const struct model *model = &models[id];
    struct vmbus_segment segments[SEGMENTS];
    size_t room = fuzz_take(in, 1) % (SEGMENTS + 1);
    size_t count = 0;
    uint64_t bytes = 0;
    int error = vmbus_gpadl_segments(channel, id, segments, room, &count);
    bool whole = model->there && model->filled == model->pages && model->relid == channel->relid;

    must((error == -ENOENT) == !whole);
    if (error < 0)
        return;
    must(count > 0 && count <= room);
    must(segments[0].gpa == model->first_pfn * 4096 + model->offset);
    for (size_t i = 0; i < count; i++) {
        must(mem_is_ram(bus.mem, segments[i].gpa, segments[i].length));
        bytes += segments[i].length;
    }
    must(bytes == model->bytes);
}

static void act(struct fuzz_input *in)
{
    uint8_t action = (uint8_t)fuzz_take(in, 1);
    uint32_t id = action / 16 % IDS;

    if (action % 16 < 5)
        send_header(in, id);
    else if (action % 16 < 9)
        send_body(in, id);
    else if (action % 16 < 11)
        tear_down(id);
    else
        look(in, id);
    must(bus.vmbus->gpadl_pages == pages_of_all());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};

    if (bus.mem == NULL)
        set_up();
    for (unsigned i = 0; i < MOST_ACTIONS && in.left > 0; i++)
        act(&in);
    gpadl_forget_all(bus.vmbus);
    memset(models, 0, sizeof(models));
    must(bus.vmbus->gpadls == NULL && bus.vmbus->gpadl_pages == 0 && bus.vmbus->gpadl_count == 0);
    return 0;
}
