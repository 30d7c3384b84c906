#include "vsp/balloon_private.h"

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/balloon_guest.h"
/* clang-format on */

#define SECONDS(n) ((uint64_t)(n)*NS_PER_SECOND)
#define GROWTH_AT  (UINT64_C(4096) * MIB / MEM_PAGE_SIZE)

/* The words of a response to a request for pages. */
static uint64_t ranges_word(unsigned count, bool more)
{
    return (uint64_t)(count << 1 | more) << 32;
}

/* The host asked for so many MiB. */
static void expect_ask(struct fixture *f, unsigned mib)
{
    expect(f, DM_BALLOON_REQUEST);
    assert_int_equal(word(f, 0), (uint64_t)mib * 256);
}

/* From MiB 32 on, 16 MiB are in the balloon. */
static void fill_balloon(struct fixture *f)
{
    connect(f);
    assert_int_equal(mem_fill(f->mem, 0, 0xa5, 64 * MIB), 0);
    balloon_set_target(f->balloon, 48 * MIB);
    report_status(f, 60, 4);
    expect_ask(f, 16);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(32 * 256, 16 * 256));
    assert_int_equal(look(f).assigned, 48 * MIB);
}

static void pages_are_asked_for_and_their_bytes_go(void **state)
{
    struct fixture *f = *state;
    fill_balloon(f);
    assert_int_equal(look(f).state, BALLOON_IDLE);
    assert_int_equal(look(f).balloon, 16 * MIB);
    assert_int_equal(*mem_pin(f->mem, 32 * MIB, 1), 0);
    assert_int_equal(*mem_pin(f->mem, 48 * MIB - 1, 1), 0);
    assert_int_equal(*mem_pin(f->mem, 32 * MIB - 1, 1), 0xa5);
    assert_int_equal(*mem_pin(f->mem, 48 * MIB, 1), 0xa5);
    report_status(f, 40, 20);
    expect_nothing(f);
    assert_int_equal(look(f).demand, 8 * MIB); /* not free; and promised: the balloon is in it */
}

static void nothing_is_taken_without_a_report_since(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 48 * MIB);
    expect_nothing(f);
    report_status(f, 20, 44);
    expect_ask(f, 10); /* half of what is free */
    report_status(f, 20, 44);
    expect_nothing(f); /* one at a time */
    assert_int_equal(look(f).state, BALLOON_TAKING);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(0x1000, 10 * 256));
    expect_nothing(f);
    report_status(f, 10, 44);
    expect_ask(f, 5);
}

static void parts_of_an_answer_add_up(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    expect_ask(f, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(2, true), page_range(0x800, 256),
        page_range(0x900, 256));
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(0, true), page_range(0xa00, 256));
    assert_int_equal(look(f).balloon, 2 * MIB);
    assert_int_equal(look(f).state, BALLOON_TAKING);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(0xa00, 512));
    assert_int_equal(look(f).balloon, 4 * MIB);
    assert_int_equal(look(f).oddities, 0);
}

static void guest_that_gives_little_is_left_alone_for_a_while(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    expect_ask(f, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(0x800, 256));
    report_status(f, 60, 4); /* what is free now it keeps */
    report_status(f, 99, 4);
    expect_nothing(f); /* for a moment it is left alone */
    ic_guest_pass(SECONDS(11));
    report_status(f, 60, 4);
    expect_nothing(f);
    balloon_set_target(f->balloon, 30 * MIB);
    report_status(f, 75, 4);
    expect_nothing(f);
    report_status(f, 76, 4);
    expect_ask(f, 16);
}

static void give_too_little(struct fixture *f, unsigned pages)
{
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(0x800, pages));
    report_status(f, 60, 4);
    expect_nothing(f);
}

static void what_a_guest_keeps_is_asked_for_less_and_less(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    expect_ask(f, 4);
    give_too_little(f, 1); /* it is believed for 30 s, then for a minute */
    ic_guest_pass(SECONDS(29));
    report_status(f, 60, 4);
    expect_nothing(f);
    ic_guest_pass(SECONDS(2));
    report_status(f, 60, 4);
    expect(f, DM_BALLOON_REQUEST);
    give_too_little(f, 1);
    ic_guest_pass(SECONDS(59));
    report_status(f, 60, 4);
    expect_nothing(f);
    ic_guest_pass(SECONDS(2));
    report_status(f, 60, 4);
    expect(f, DM_BALLOON_REQUEST);
}

static void pages_that_are_given_twice_count_once(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(2, true), page_range(0x800, 256),
        page_range(0x800, 256));
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(0x880, 256));
    assert_int_equal(look(f).balloon, MIB + MIB / 2);
    assert_int_equal(look(f).assigned, 64 * MIB - MIB - MIB / 2);
}

static void ranges_outside_ram_are_not_taken(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(4, true), page_range(64 * 256, 1),
        page_range(64 * 256 - 1, 2), page_range(DM_RANGE_FIRST, 1), page_range(GROWTH_AT, 1));
    assert_int_equal(look(f).balloon, 0);
    assert_int_equal(look(f).oddities, 1);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(3, false), page_range(0, 0),
        page_range(64 * 256 - 1, 1), page_range(0, 1));
    assert_int_equal(look(f).balloon, 2 * MEM_PAGE_SIZE);
    assert_int_equal(look(f).oddities, 1);
}

static void no_more_is_taken_than_was_asked_for(void **state)
{
    struct fixture *f = *state;
    connect(f);
    assert_int_equal(mem_fill(f->mem, 0, 0xa5, 64 * MIB), 0);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, true), page_range(0, 4 * 256 + 1));
    assert_int_equal(look(f).balloon, 0);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(2, true), page_range(0, 4 * 256),
        page_range(0x2000, 1));
    assert_int_equal(look(f).balloon, 4 * MIB);
    assert_int_equal(*mem_pin(f->mem, 32 * MIB, 1), 0xa5);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(0, false));
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(0x2000, 1)); /* nobody asked */
    assert_int_equal(look(f).balloon, 4 * MIB);
    assert_int_equal(look(f).oddities, 3);
}

static void answer_with_more_ranges_than_bytes_is_dropped(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(2, false), page_range(0, 1));
    PUT(f, DM_BALLOON_RESPONSE, UINT64_C(0xfffffffe) << 32, page_range(0, 1));
    assert_int_equal(look(f).balloon, 0);
    assert_int_equal(look(f).oddities, 2);
    assert_int_equal(look(f).state, BALLOON_TAKING);
}

static void answer_that_was_heard_before_is_dropped(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, true), page_range(0, 1));
    f->number--;
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, true), page_range(1, 1));
    assert_int_equal(look(f).balloon, MEM_PAGE_SIZE);
    assert_int_equal(look(f).oddities, 1);
}

static void pages_come_back_when_they_are_needed(void **state)
{
    struct fixture *f = *state;
    fill_balloon(f);
    balloon_set_target(f->balloon, 58 * MIB);
    expect(f, DM_UNBALLOON_REQUEST);
    assert_int_equal(word(f, 0), UINT64_C(1) << 32);
    assert_int_equal(word(f, 1), page_range(32 * 256, 10 * 256));
    assert_int_equal(look(f).assigned, 58 * MIB); /* at once */
    assert_int_equal(look(f).state, BALLOON_GIVING);
    balloon_set_target(f->balloon, 64 * MIB);
    expect_nothing(f);
    PUT(f, DM_UNBALLOON_RESPONSE, 0);
    expect(f, DM_UNBALLOON_REQUEST);
    assert_int_equal(word(f, 1), page_range(42 * 256, 6 * 256));
    PUT(f, DM_UNBALLOON_RESPONSE, 0);
    assert_int_equal(look(f).balloon, 0);
    assert_int_equal(look(f).state, BALLOON_IDLE);
    PUT(f, DM_UNBALLOON_RESPONSE, 0);
    assert_int_equal(look(f).oddities, 1);
}

static void scattered_pages_come_back_in_several_messages(void **state)
{
    struct fixture *f = *state;
    uint64_t words[511] = {ranges_word(510, true)};
    connect(f);
    balloon_set_target(f->balloon, 60 * MIB);
    report_status(f, 60, 4);
    expect_ask(f, 4);
    for (unsigned part = 0; part < 2; part++) {
        for (unsigned i = 0; i < 510; i++)
            words[1 + i] = page_range((uint64_t)2 * (part * 510 + i), 1);
        put_message(f, DM_BALLOON_RESPONSE, words, 511);
    }
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(0, false));
    assert_int_equal(look(f).balloon, 1020 * MEM_PAGE_SIZE);
    balloon_set_target(f->balloon, 64 * MIB);
    expect(f, DM_UNBALLOON_REQUEST);
    assert_int_equal(f->message.length, DM_MESSAGE);
    assert_int_equal(word(f, 0), UINT64_C(510) << 32);
    PUT(f, DM_UNBALLOON_RESPONSE, 0);
    expect(f, DM_UNBALLOON_REQUEST);
    assert_int_equal(word(f, 510), page_range(2 * 1019, 1));
    assert_int_equal(look(f).balloon, 0);
}

static void closed_channel_empties_the_balloon(void **state)
{
    struct fixture *f = *state;
    fill_balloon(f);
    ic_guest_close(f->channel);
    assert_int_equal(look(f).assigned, 64 * MIB);
    connect(f);
    balloon_set_target(f->balloon, 64 * MIB);
    expect_nothing(f);
}

/* ---- hot-add ---- */

static void memory_is_added_in_steps(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 64 * MIB + 200 * MIB);
    assert_true(mem_is_ram(f->mem, GROWTH_AT * MEM_PAGE_SIZE, MEM_GROWTH));
    expect(f, DM_HOT_ADD_REQUEST);
    assert_int_equal(word(f, 0), page_range(GROWTH_AT, 0x8000));
    assert_int_equal(look(f).state, BALLOON_ADDING);
    assert_int_equal(look(f).assigned, 64 * MIB);
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x8000);
    expect(f, DM_HOT_ADD_REQUEST);
    assert_int_equal(word(f, 0), page_range(GROWTH_AT + 0x8000, 0x8000));
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x8000);
    assert_int_equal(look(f).added, 256 * MIB);
    balloon_set_target(f->balloon, UINT64_MAX);
    expect_nothing(f); /* that was all */
}

static void added_memory_goes_into_the_balloon_too(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 192 * MIB);
    expect(f, DM_HOT_ADD_REQUEST);
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x8000);
    balloon_set_target(f->balloon, 182 * MIB);
    report_status(f, 60, 4);
    expect_ask(f, 10);
    PUT(f, DM_BALLOON_RESPONSE, ranges_word(1, false), page_range(GROWTH_AT, 10 * 256));
    assert_int_equal(look(f).assigned, 182 * MIB);
    assert_int_equal(look(f).oddities, 0);
}

static void small_lack_is_borne(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 64 * MIB + 31 * MIB);
    expect_nothing(f);
    balloon_set_target(f->balloon, 64 * MIB + 32 * MIB);
    expect(f, DM_HOT_ADD_REQUEST);
}

static void failure_is_tried_again_later_and_not_for_ever(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 192 * MIB);
    for (unsigned i = 0; i < 5; i++) {
        expect(f, DM_HOT_ADD_REQUEST);
        assert_int_equal(word(f, 0), page_range(GROWTH_AT, 0x8000));
        PUT(f, DM_HOT_ADD_RESPONSE, 0);
        expect_nothing(f);
        ic_guest_pass(SECONDS(31));
    }
    expect_nothing(f);
    assert_int_equal(look(f).assigned, 64 * MIB);
    assert_false(look(f).can_add);
}

static void guest_that_took_less_gets_no_more(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 320 * MIB);
    expect(f, DM_HOT_ADD_REQUEST);
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x100);
    assert_int_equal(look(f).added, MIB);
    ic_guest_pass(SECONDS(1000));
    expect_nothing(f);
}

static void answer_with_more_than_was_added_is_none(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 192 * MIB);
    expect(f, DM_HOT_ADD_REQUEST);
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x8001);
    assert_int_equal(look(f).added, 0);
    assert_int_equal(look(f).oddities, 1);
}

static void guest_without_hot_add_is_not_asked(void **state)
{
    struct fixture *f = *state;
    ic_guest_open(f->channel);
    PUT(f, DM_VERSION_REQUEST, DM_VERSION(1, 0));
    PUT(f, DM_CAPABILITIES_REPORT, 0, 0, 0);
    expect(f, DM_VERSION_RESPONSE);
    expect(f, DM_CAPABILITIES_RESPONSE);
    expect(f, DM_INFO);
    balloon_set_target(f->balloon, 192 * MIB);
    balloon_set_target(f->balloon, 32 * MIB);
    report_status(f, 60, 4);
    expect_nothing(f);
}

static void reset_brings_startup_memory_back(void **state)
{
    struct fixture *f = *state;
    connect(f);
    balloon_set_target(f->balloon, 192 * MIB);
    expect(f, DM_HOT_ADD_REQUEST);
    PUT(f, DM_HOT_ADD_RESPONSE, UINT64_C(1) << 32 | 0x8000);
    ic_guest_close(f->channel);
    assert_int_equal(look(f).assigned, 192 * MIB);
    balloon_reset(f->balloon);
    assert_int_equal(mem_ungrow(f->mem), 0);
    assert_int_equal(look(f).assigned, 64 * MIB);
    assert_int_equal(look(f).state, BALLOON_WAITING);
    connect(f);
    expect_nothing(f);
    balloon_set_target(f->balloon, 192 * MIB);
    expect(f, DM_HOT_ADD_REQUEST);
    assert_int_equal(word(f, 0), page_range(GROWTH_AT, 0x8000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BALLOON_TEST(pages_are_asked_for_and_their_bytes_go),
        BALLOON_TEST(nothing_is_taken_without_a_report_since),
        BALLOON_TEST(parts_of_an_answer_add_up),
        BALLOON_TEST(guest_that_gives_little_is_left_alone_for_a_while),
        BALLOON_TEST(what_a_guest_keeps_is_asked_for_less_and_less),
        BALLOON_TEST(pages_that_are_given_twice_count_once),
        BALLOON_TEST(ranges_outside_ram_are_not_taken),
        BALLOON_TEST(no_more_is_taken_than_was_asked_for),
        BALLOON_TEST(answer_with_more_ranges_than_bytes_is_dropped),
        BALLOON_TEST(answer_that_was_heard_before_is_dropped),
        BALLOON_TEST(pages_come_back_when_they_are_needed),
        BALLOON_TEST(scattered_pages_come_back_in_several_messages),
        BALLOON_TEST(closed_channel_empties_the_balloon),
        BALLOON_TEST(memory_is_added_in_steps),
        BALLOON_TEST(added_memory_goes_into_the_balloon_too),
        BALLOON_TEST(small_lack_is_borne),
        BALLOON_TEST(failure_is_tried_again_later_and_not_for_ever),
        BALLOON_TEST(guest_that_took_less_gets_no_more),
        BALLOON_TEST(answer_with_more_than_was_added_is_none),
        BALLOON_TEST(guest_without_hot_add_is_not_asked),
        BALLOON_TEST(reset_brings_startup_memory_back),
    };
    return cmocka_run_group_tests_name("balloon_work", tests, NULL, NULL);
}
