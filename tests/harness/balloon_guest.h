/* For tests of dynamic memory, after <cmocka.h>: a guest of 64 MiB that may have 256 MiB more. */
#ifndef TESTS_HARNESS_BALLOON_GUEST_H
#define TESTS_HARNESS_BALLOON_GUEST_H

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/ic_guest.h"
#include "vsp/balloon_private.h"

#define MIB UINT64_C(0x100000)

struct fixture {
    struct mem *mem;
    struct balloon *balloon;
    struct vmbus_channel *channel;
    uint32_t number; /* of the guest's last message */
    unsigned told;
    struct ic_message message; /* the last that was taken */
};

static inline int fixture_setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.number = 100};
    assert_int_equal(
        mem_create_planned(&(struct mem_plan){64 * MIB, 2 * MEM_GROWTH, 3072 * MIB, {0}}, &f.mem),
        0);
    assert_int_equal(balloon_create(ic_guest_start(), f.mem, &f.balloon), 0);
    f.channel = ic_guest_find();
    *state = &f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    balloon_destroy(f->balloon);
    ic_guest_end();
    mem_destroy(f->mem);
    return 0;
}

/* ---- the guest speaks: words of 64 bits behind the header ---- */

static inline void put_message(struct fixture *f, enum dm_type type, const uint64_t *words,
                               size_t count)
{
    uint8_t bytes[DM_MESSAGE] = {0};
    put_le16(bytes, (uint16_t)type);
    put_le16(bytes + 2, (uint16_t)(8 + count * 8));
    put_le32(bytes + 4, ++f->number);
    for (size_t i = 0; i < count; i++)
        put_le64(bytes + 8 + i * 8, words[i]);
    ic_guest_put(f->channel, bytes, 8 + count * 8);
}
#define PUT(f, type, ...)                                 \
    put_message(f, type, (const uint64_t[]){__VA_ARGS__}, \
                sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* The host's next message has this type. */
static inline void expect(struct fixture *f, enum dm_type type)
{
    assert_true(ic_guest_take(f->channel, &f->message));
    assert_int_equal(get_le16(f->message.bytes), type);
    assert_int_equal(get_le16(f->message.bytes + 2), f->message.length);
}

static inline void expect_nothing(struct fixture *f)
{
    assert_false(ic_guest_take(f->channel, &f->message));
}

static inline uint64_t word(const struct fixture *f, size_t index)
{
    return get_le64(f->message.bytes + 8 + index * 8);
}

/* Up to work: version 2.0, balloon and hot-add, aligned to 128 MiB. */
static inline void connect(struct fixture *f)
{
    ic_guest_open(f->channel);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(2, 0));
    expect(f, DM_VERSION_RESPONSE);
    assert_int_equal(word(f, 0), 1);
    PUT(f, DM_CAPABILITIES_REPORT, 3 | 7 << 2, 0, UINT64_MAX);
    expect(f, DM_CAPABILITIES_RESPONSE);
    assert_int_equal(word(f, 0), 1);
    expect(f, DM_INFO);
}

/* In MiB. */
static inline void report_status(struct fixture *f, uint64_t available, uint64_t committed)
{
    PUT(f, DM_STATUS_REPORT, available * 256, committed * 256, 0, 0, 0);
}

static inline uint64_t page_range(uint64_t first, uint64_t count)
{
    return count << 40 | first;
}

static inline struct balloon_report look(const struct fixture *f)
{
    struct balloon_report report;
    balloon_describe(f->balloon, &report);
    return report;
}

#define BALLOON_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
