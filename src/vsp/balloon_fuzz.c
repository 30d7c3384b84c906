/*
 * Invariant: whatever a guest answers and when, what it has is startup and what was added without
 * the balloon; the balloon holds pages of RAM only, and no more than were asked for; and what goes
 * back to the guest was in the balloon.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "vsp/balloon.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/fuzz_input.h"
#include "tests/harness/ic_guest.h"
#include "vsp/balloon_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define MIB UINT64_C(0x100000)
enum { ACTIONS = 100, STARTUP = 4, STEPS = 2 };

static struct fuzz_input in;
static struct mem *mem;
static struct balloon *balloon;
static struct vmbus_channel *channel;
static uint32_t number;
static uint64_t asked; /* pages, since the channel was opened */
static struct ic_message message;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check(void)
{
    struct balloon_report report;

    balloon_describe(balloon, &report);
    require(balloon_state_name(report.state) != NULL);
    require(report.assigned == report.startup + report.added - report.balloon);
    require(report.balloon <= report.startup + STEPS * MEM_GROWTH);
    require(report.balloon <= asked * MEM_PAGE_SIZE);
    require(report.added <= STEPS * MEM_GROWTH);
    require(report.reported || (report.demand == 0 && report.available == 0));
}

/* ---- what the guest takes ---- */

static void look_at_ranges(void)
{
    uint32_t count = get_le32(message.bytes + DM_UNBALLOON_COUNT);

    require(message.length == DM_RANGES + (size_t)count * 8 && count > 0);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t range = get_le64(message.bytes + DM_RANGES + (size_t)i * 8);
        require(mem_is_ram(mem, (range & DM_RANGE_FIRST) * MEM_PAGE_SIZE,
                           (range >> DM_RANGE_SHIFT) * MEM_PAGE_SIZE));
    }
}

static void take_messages(void)
{
    while (ic_guest_take(channel, &message)) {
        require(message.length >= DM_BODY && message.length <= DM_MESSAGE);
        require(get_le16(message.bytes + DM_SIZE) == message.length);
        if (get_le16(message.bytes) == DM_BALLOON_REQUEST)
            asked += get_le32(message.bytes + DM_BALLOON_PAGES);
        if (get_le16(message.bytes) == DM_UNBALLOON_REQUEST)
            look_at_ranges();
    }
}

/* ---- what the guest says ---- */

static void put(uint8_t *bytes, enum dm_type type, size_t length)
{
    put_le16(bytes, (uint16_t)type);
    put_le16(bytes + DM_SIZE, (uint16_t)length);
    put_le32(bytes + DM_TRANSACTION, ++number);
    ic_guest_put(channel, bytes, length);
}

static void put_any(void)
{
    size_t length = (size_t)fuzz_take(&in, 2) % (DM_MESSAGE + 100);

    memset(message.bytes, 0, length);
    fuzz_take_bytes(&in, message.bytes, length < 60 ? length : 60);
    ic_guest_put(channel, message.bytes, length);
}

static void put_number(enum dm_type type, unsigned words, unsigned width)
{
    uint8_t bytes[64] = {0};

    for (unsigned i = 0; i < words; i++)
        put_le64(bytes + DM_BODY + (size_t)i * 8, fuzz_take(&in, width));
    put(bytes, type, DM_BODY + (size_t)words * 8);
}

/* Pages near each other, near the ends of RAM, or anywhere. */
static uint64_t some_range(void)
{
    static const uint64_t from[] = {0, 0x380, 0xffff0, 0x100000, 0x108000, DM_RANGE_FIRST - 0x8000};
    uint64_t at = from[fuzz_take(&in, 1) % 6] + fuzz_take(&in, 1);
    uint64_t count = fuzz_take(&in, 1);

    return (count < 0xf0 ? count : count << 16) << DM_RANGE_SHIFT | (at & DM_RANGE_FIRST);
}

static void put_ranges(uint8_t choice)
{
    uint8_t bytes[DM_MESSAGE] = {0};
    unsigned count = choice % 16;

    for (unsigned i = 0; i < count; i++)
        put_le64(bytes + DM_RANGES + (size_t)i * 8, some_range());
    put_le32(bytes + DM_BALLOON_COUNT, (count + (choice == 0xff)) << 1 | choice >> 7);
    put(bytes, DM_BALLOON_RESPONSE, DM_RANGES + (size_t)count * 8);
}

static void put_added(uint8_t choice)
{
    static const uint32_t counts[] = {0x8000, 0x8000, 0, 1, 0x8001, UINT32_MAX};
    uint8_t bytes[DM_ADDED_LENGTH] = {0};

    put_le32(bytes + DM_ADDED_PAGES, counts[choice % 6]);
    put_le32(bytes + DM_ADD_RESULT, choice >> 7);
    put(bytes, DM_HOT_ADD_RESPONSE, sizeof(bytes));
}

static void connect(void)
{
    uint8_t bytes[DM_CAPABILITIES_LENGTH] = {0};

    ic_guest_close(channel);
    asked = 0;
    ic_guest_open(channel);
    put_le32(bytes + DM_ASKED_VERSION, DM_VERSION(2, 0));
    put(bytes, DM_VERSION_REQUEST, DM_VERSION_LENGTH);
    put_le64(bytes + DM_CAPABILITIES, DM_CAN_BALLOON | DM_CAN_HOT_ADD);
    put(bytes, DM_CAPABILITIES_REPORT, sizeof(bytes));
}

/* The guest starts anew, as after its reset. */
static void restart(void)
{
    ic_guest_close(channel);
    balloon_reset(balloon);
    require(mem_ungrow(mem) == 0);
    asked = 0;
}

static void guest_acts(uint8_t action, uint8_t choice)
{
    switch (action % 8) {
    case 0:
        put_any();
        break;
    case 1:
        put_number(DM_STATUS_REPORT, 5, 2);
        break;
    case 2:
        put_added(choice);
        break;
    case 3:
        put_number(DM_UNBALLOON_RESPONSE, choice % 2, 1);
        break;
    case 4:
        put_number(choice % 2 == 0 ? DM_VERSION_REQUEST : DM_CAPABILITIES_REPORT, 3, 3);
        break;
    default:
        put_ranges(choice);
        break;
    }
}

static void act(uint8_t action)
{
    uint8_t choice = (uint8_t)fuzz_take(&in, 1);

    switch (action % 16) {
    case 0:
        ic_guest_pass((uint64_t)choice * NS_PER_SECOND / 4);
        break;
    case 1:
        balloon_set_target(balloon, (uint64_t)choice * 2 * MIB);
        break;
    case 2:
        ic_guest_set_room(choice % IC_GUEST_QUEUE);
        break;
    case 3:
        connect();
        break;
    case 4:
        if (choice < 0x80)
            ic_guest_close(channel);
        else
            restart();
        asked = 0;
        break;
    case 5:
        take_messages();
        break;
    default:
        guest_acts(action >> 4, choice);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    in = (struct fuzz_input){bytes, length};
    number = 0;
    asked = 0;
    if (mem == NULL)
        require(mem_create_planned(
                    &(struct mem_plan){STARTUP * MIB, STEPS * MEM_GROWTH, 3072 * MIB, {0}}, &mem) ==
                0);
    require(mem_ungrow(mem) == 0);
    require(balloon_create(ic_guest_start(), mem, &balloon) == 0);
    channel = ic_guest_find();
    for (unsigned i = 0; i < ACTIONS && in.left > 0; i++) {
        act((uint8_t)fuzz_take(&in, 1));
        take_messages();
        check();
    }
    balloon_destroy(balloon);
    ic_guest_end();
    return 0;
}
