/*
 * Invariant: whatever packets a guest sends, opens and closes, and whatever is plugged in and out,
 * each packet that asks for an answer gets one, on its channel, unless that was closed; targets are
 * let go of once; and saved state loads and saves the same again.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "vsp/storvsp.h"

#include <errno.h>

#include "state/state.h"
#include "tests/harness/fuzz_input.h"
#include "tests/harness/storvsc_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { CHANNELS = 3, PACKETS = 64 };

struct fuzz {
    struct guest *g;
    struct fuzz_input *in;
    unsigned asked[CHANNELS]; /* packets that have no answer yet, since the channel was opened */
    bool plugged[GUEST_DISKS], leaving[GUEST_DISKS];
};

static struct fuzz fuzz;

static struct vmbus_channel *channel_of(unsigned index)
{
    return fake_vmbus_find(fuzz.g->vmbus, 0, (uint16_t)index);
}

static void create_controller(void)
{
    struct storvsp_config config = {
        .vmbus = fuzz.g->vmbus, .mem = fuzz.g->mem, .max_subchannels = CHANNELS - 1};
    guest_require(storvsp_create(&config, &fuzz.g->storvsp, NULL) == 0);
    memset(fuzz.asked, 0, sizeof(fuzz.asked));
}

static void forget_closed(void)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        const struct vmbus_channel *channel = channel_of(i);
        if (channel == NULL || !vmbus_channel_is_open(channel))
            fuzz.asked[i] = 0;
    }
}

/* ---- packets ---- */

/* A completion is none of ours, unless it is too long to be looked at. */
static bool wants_answer(const struct fake_packet *packet)
{
    return !packet->no_completion &&
           (packet->type != VMBUS_PACKET_COMPLETION || packet->length > STORVSP_PACKET);
}

static void put(unsigned index, const struct fake_packet *packet)
{
    struct vmbus_channel *channel = channel_of(index);

    if (channel != NULL && fuzz.asked[index] < PACKETS && fake_guest_put(channel, packet))
        fuzz.asked[index] += wants_answer(packet);
}

static uint64_t take_gpa(void)
{
    uint8_t choice = (uint8_t)fuzz_take(fuzz.in, 1);
    if (choice >= 0xf0)
        return fuzz_take(fuzz.in, 8);
    return (uint64_t)choice * 4096 + (choice % 4 == 0 ? fuzz_take(fuzz.in, 1) : 0);
}

/* A command with a few bytes of it changed. */
static void put_command(unsigned index)
{
    struct fake_packet packet;
    struct vmbus_segment one;
    struct vmbus_segment segments[3];
    uint8_t shape = (uint8_t)fuzz_take(fuzz.in, 1);
    struct guest_command command =
        guest_move(shape & 7, (shape & 8) != 0, shape >> 4, (uint16_t)(shape >> 4), take_gpa());
    if ((shape & 0x10) != 0) {
        fuzz_take_bytes(fuzz.in, command.cdb, 10);
        command.cdb_length = 16;
    }
    if ((shape & 0x20) != 0) {
        for (unsigned i = 0; i < 3; i++)
            segments[i] = (struct vmbus_segment){take_gpa(), fuzz_take(fuzz.in, 2)};
        command.segment = segments;
        command.segment_count = 3;
    }
    guest_make_srb(&command, &packet, &one);
    packet.transaction_id = fuzz_take(fuzz.in, 1);
    for (uint64_t n = fuzz_take(fuzz.in, 1) & 3; n > 0; n--) {
        uint8_t at = (uint8_t)fuzz_take(fuzz.in, 1) % STORVSP_PACKET;
        packet.payload[at] = (uint8_t)fuzz_take(fuzz.in, 1);
    }
    put(index, &packet);
}

static void put_any(unsigned index)
{
    static const enum vmbus_packet_type types[] = {
        VMBUS_PACKET_DATA_INBAND, VMBUS_PACKET_DATA_GPA_DIRECT, VMBUS_PACKET_COMPLETION,
        VMBUS_PACKET_DATA_TRANSFER_PAGES};
    struct fake_packet packet = {.type = types[fuzz_take(fuzz.in, 1) % 4]};
    uint8_t length = (uint8_t)fuzz_take(fuzz.in, 1);
    packet.no_completion = (length & 0x80) != 0;
    packet.length = length & 0x7f;
    put_le32(packet.payload, (uint32_t)fuzz_take(fuzz.in, 1));
    fuzz_take_bytes(fuzz.in, packet.payload + 8, 12);
    put(index, &packet);
}

/* The next step of the sequence, or any other. */
static void put_operation(unsigned index, uint8_t action)
{
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_INBAND, .length = STORVSP_PACKET};
    put_le32(packet.payload, (uint32_t)(STORVSP_RESET_LUN + (action >> 4)));
    put_le16(packet.payload + STORVSP_AT_PAYLOAD, (uint16_t)fuzz_take(fuzz.in, 2));
    put(index, &packet);
}

static void connect(uint8_t action)
{
    static const uint16_t versions[] = {STORVSP_VERSION_6_2, STORVSP_VERSION_6_0,
                                        STORVSP_VERSION_5_1, STORVSP_VERSION_2_0};
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_INBAND, .length = STORVSP_PACKET};
    static const uint8_t steps[] = {STORVSP_BEGIN_INITIALIZATION, STORVSP_QUERY_PROTOCOL_VERSION,
                                    STORVSP_QUERY_PROPERTIES, STORVSP_END_INITIALIZATION,
                                    STORVSP_CREATE_SUB_CHANNELS};
    if (!vmbus_channel_is_open(channel_of(0)))
        (void)fake_guest_open(channel_of(0));
    for (unsigned i = 0; i < sizeof(steps); i++) {
        packet.payload[0] = steps[i];
        put_le16(packet.payload + STORVSP_AT_PAYLOAD,
                 i == 1 ? versions[action >> 4 & 3] : CHANNELS - 1);
        put(0, &packet);
    }
    fake_guest_signal(channel_of(0));
}

static void take_answers(unsigned index, unsigned most)
{
    for (unsigned i = 0; i < most && guest_take(fuzz.g, (uint16_t)index); i++) {
        const struct fake_answer *answer = &fuzz.g->answer;
        guest_require(answer->length >= STORVSP_PACKET_LEAST && answer->length <= STORVSP_PACKET);
        if (!answer->completion) {
            guest_require(get_le32(answer->payload) == STORVSP_ENUMERATE_BUS && index == 0);
            continue;
        }
        guest_require(get_le32(answer->payload) == STORVSP_COMPLETE_IO);
        guest_require(fuzz.asked[index] > 0);
        fuzz.asked[index]--;
    }
}

/* ---- channels and units ---- */

static void toggle_channel(unsigned index, uint8_t action)
{
    struct vmbus_channel *channel = channel_of(index);

    if (channel == NULL)
        return;
    if (!vmbus_channel_is_open(channel))
        (void)fake_guest_open(channel);
    else if ((action & 0x40) != 0)
        fake_guest_break(channel);
    else
        fake_guest_close(channel);
}

static void removed(void *owner, struct scsi_target *target)
{
    bool *leaving = owner;
    size_t lun = (size_t)(leaving - fuzz.leaving);
    guest_require(*leaving && target == fuzz.g->target[lun]);
    *leaving = false;
    fuzz.plugged[lun] = false;
}

static void toggle_unit(unsigned lun)
{
    struct guest *g = fuzz.g;

    if (!fuzz.plugged[lun]) {
        guest_require(storvsp_add(g->storvsp, lun, g->target[lun]) == 0);
        fuzz.plugged[lun] = true;
    } else if (!fuzz.leaving[lun]) {
        fuzz.leaving[lun] = true;
        guest_require(storvsp_remove(g->storvsp, lun, removed, &fuzz.leaving[lun]) == 0);
    } else {
        guest_require(storvsp_add(g->storvsp, lun, g->target[lun]) == -EEXIST);
    }
}

static void end_all(void)
{
    for (unsigned i = 0; i < GUEST_DISKS; i++)
        fuzz.g->disk[i]->late = false;
    for (unsigned i = 0; i < GUEST_DISKS; i++)
        fake_disk_end_all(fuzz.g->disk[i]);
}

/* A new controller with the same units, whether or not the old one's commands have ended. */
static void recreate(void)
{
    storvsp_destroy(fuzz.g->storvsp);
    end_all();
    create_controller();
    memset(fuzz.plugged, 0, sizeof(fuzz.plugged));
    memset(fuzz.leaving, 0, sizeof(fuzz.leaving));
}

static struct state_visitor *save(void)
{
    struct state_visitor *v = NULL;
    guest_require(state_save_create(&v) == 0);
    guest_require(storvsp_visit_state(fuzz.g->storvsp, v) == 0);
    return v;
}

/* What is saved loads into a controller with the same units, and is saved the same again. */
static void save_and_load(void)
{
    size_t length;
    size_t again_length;
    struct state_visitor *load = NULL;
    bool plugged[GUEST_DISKS];

    end_all();
    memcpy(plugged, fuzz.plugged, sizeof(plugged));
    struct state_visitor *saved = save();
    const uint8_t *bytes = state_saved(saved, &length);
    recreate();
    for (unsigned i = 0; i < GUEST_DISKS; i++) {
        if (plugged[i])
            toggle_unit(i);
    }
    guest_require(state_load_create(bytes, length, &load) == 0);
    guest_require(storvsp_visit_state(fuzz.g->storvsp, load) == 0);
    struct state_visitor *again = save();
    const uint8_t *again_bytes = state_saved(again, &again_length);
    guest_require(length == again_length && memcmp(bytes, again_bytes, length) == 0);
    state_destroy(again);
    state_destroy(load);
    state_destroy(saved);
    recreate();
}

static void paused(void *owner)
{
    const struct fuzz *f = owner;
    for (unsigned i = 0; i < GUEST_DISKS; i++)
        guest_require(f->g->disk[i]->pending_count == 0);
}

static void change_surroundings(uint8_t action)
{
    struct guest *g = fuzz.g;
    struct disk *disk = g->disk[action >> 4 & 3];

    switch (fuzz_take(fuzz.in, 1) % 8) {
    case 0:
        storvsp_pause(g->storvsp, paused, &fuzz);
        break;
    case 1:
        storvsp_resume(g->storvsp);
        break;
    case 2:
        vmbus_reset(g->vmbus);
        break;
    case 3:
        fake_guest_set_room(channel_of(0), (action >> 4) + 1u);
        break;
    case 4:
        disk->fail[action >> 6] = -5;
        break;
    case 5:
        save_and_load();
        break;
    case 6:
        recreate();
        break;
    default:
        disk->late = !disk->late;
        break;
    }
}

static void act(uint8_t action)
{
    unsigned index = (action >> 4) % CHANNELS;
    struct disk *disk = fuzz.g->disk[action >> 4 & 3];

    switch (action % 16) {
    case 0:
        connect(action);
        break;
    case 1:
        put_operation(index, action);
        break;
    case 2:
        put_any(index);
        break;
    case 3:
        toggle_channel(index, action);
        break;
    case 4:
        toggle_unit(action >> 4 & 3);
        break;
    case 5:
        take_answers(index, 3);
        break;
    case 6:
        if (disk->pending_count > 0)
            fake_disk_end(disk, (unsigned)fuzz_take(fuzz.in, 1) % disk->pending_count);
        break;
    case 7:
        change_surroundings(action);
        break;
    case 8:
    case 9:
        if (channel_of(index) != NULL)
            fake_guest_signal(channel_of(index));
        break;
    default:
        put_command(index);
        break;
    }
    forget_closed();
}

/* All is answered that a guest has not thrown away. */
static void settle(void)
{
    storvsp_resume(fuzz.g->storvsp);
    end_all();
    fake_guest_set_room(channel_of(0), FAKE_RING);
    for (unsigned i = 0; i < CHANNELS; i++) {
        if (channel_of(i) != NULL)
            fake_guest_signal(channel_of(i));
        forget_closed();
        take_answers(i, FAKE_RING);
        forget_closed();
        guest_require(fuzz.asked[i] == 0);
    }
    for (unsigned i = 0; i < GUEST_DISKS; i++) {
        guest_require(!fuzz.leaving[i]);
        if (fuzz.plugged[i])
            toggle_unit(i);
        memset(fuzz.g->disk[i]->fail, 0, sizeof(fuzz.g->disk[i]->fail));
        scsi_reset(fuzz.g->target[i]);
    }
    vmbus_reset(fuzz.g->vmbus);
    guest_require(fake_vmbus_offers(fuzz.g->vmbus) == 1);
}

/* One guest for all runs, which settle() leaves as it was: it takes longest to make. */
static void set_up(void)
{
    fuzz.g = guest_create(0);
    storvsp_destroy(fuzz.g->storvsp);
    create_controller();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct fuzz_input in = {bytes, length};

    fuzz.in = &in;
    if (fuzz.g == NULL)
        set_up();
    for (unsigned i = 0; i < 200 && in.left > 0; i++)
        act((uint8_t)fuzz_take(&in, 1));
    settle();
    return 0;
}
