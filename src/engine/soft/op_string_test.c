/* String instructions: pieces of pages, overlaps, directions, faults in the middle, segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness/soft_fixture.h"

enum { PRESENT = PAGE_P | PAGE_W | PAGE_U };

static void fill(struct guest *g, uint64_t at, unsigned length)
{
    uint8_t bytes[0x4000];
    assert_true(length <= sizeof(bytes));
    for (unsigned i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 8));
    guest_write(g, at, bytes, length);
}

static void set_string(struct guest *g, uint64_t from, uint64_t to, uint64_t count)
{
    g->cpu->gpr[GPR_RSI] = from;
    g->cpu->gpr[GPR_RDI] = to;
    g->cpu->gpr[GPR_RCX] = count;
}

static void assert_string(const struct guest *g, uint64_t from, uint64_t to, uint64_t count)
{
    assert_int_equal(g->cpu->gpr[GPR_RSI], from);
    assert_int_equal(g->cpu->gpr[GPR_RDI], to);
    assert_int_equal(g->cpu->gpr[GPR_RCX], count);
}

static void moves_over_many_pages(void **state)
{
    struct guest *g = *state;
    enum { LENGTH = 0x3001, FROM = DATA_AT + 0x123, TO = LARGE_AT + 0xff0 };
    fill(g, FROM, LENGTH);
    set_string(g, FROM, TO, LENGTH);
    assert_int_equal(TRY(g, "\xf3\xa4"), PORT_DONE); /* rep movsb */
    assert_memory_equal(g->ram + TO, g->ram + FROM, LENGTH);
    assert_string(g, FROM + LENGTH, TO + LENGTH, 0);
    /* Words that cross every page border. */
    set_string(g, FROM, TO + 3, LENGTH / 8);
    assert_int_equal(TRY(g, "\xf3\x48\xa5"), PORT_DONE); /* rep movsq */
    assert_memory_equal(g->ram + TO + 3, g->ram + FROM, LENGTH / 8 * 8);
    assert_string(g, FROM + LENGTH / 8 * 8, TO + 3 + LENGTH / 8 * 8, 0);
}

static void overlapping_move_repeats_its_beginning(void **state)
{
    struct guest *g = *state;
    guest_write(g, DATA_AT, "abc", 3);
    set_string(g, DATA_AT, DATA_AT + 3, 300);
    assert_int_equal(TRY(g, "\xf3\xa4"), PORT_DONE); /* rep movsb */
    for (unsigned i = 0; i < 303; i++)
        assert_int_equal(g->ram[DATA_AT + i], 'a' + i % 3);
}

static void moves_downwards(void **state)
{
    struct guest *g = *state;
    enum { LENGTH = 0x1800 };
    fill(g, DATA_AT, LENGTH);
    set_string(g, DATA_AT + LENGTH - 1, DATA_AT + LENGTH + 4, LENGTH);
    uint8_t before[LENGTH];
    memcpy(before, g->ram + DATA_AT, LENGTH);
    assert_int_equal(TRY(g, "\xfd\xf3\xa4\xfc"), PORT_DONE); /* std; rep movsb; cld */
    assert_memory_equal(g->ram + DATA_AT + 5, before, LENGTH);
    assert_string(g, DATA_AT - 1, DATA_AT + 4, 0);
}

static void fault_in_the_middle_can_be_resumed(void **state)
{
    struct guest *g = *state;
    enum { LENGTH = 0x1800, FROM = LARGE_AT, TO = DATA_AT + 0xc00 };
    fill(g, FROM, LENGTH);
    guest_map(g, DATA_AT + 0x1000, 0);
    set_string(g, FROM, TO, LENGTH);
    assert_int_equal(TRY(g, "\xf3\xa4"), VECTOR_PF); /* rep movsb */
    assert_int_equal(g->cpu->cr2, DATA_AT + 0x1000);
    assert_int_equal(guest_frame(g, 1), CODE_AT);
    assert_string(g, FROM + 0x400, TO + 0x400, LENGTH - 0x400);
    guest_map(g, DATA_AT + 0x1000, (DATA_AT + 0x1000) | PRESENT);
    g->cpu->gpr[GPR_RSP] += 8; /* the error code */
    assert_int_equal(guest_run_to_port(g), PORT_DONE);
    assert_memory_equal(g->ram + TO, g->ram + FROM, LENGTH);
}

static void count_of_zero_touches_nothing(void **state)
{
    struct guest *g = *state;
    set_string(g, UINT64_C(1) << 47, UINT64_C(1) << 47, 0);
    g->cpu->flags |= FLAG_CF | FLAG_ZF;
    assert_int_equal(TRY(g, "\xf3\xa4\xf3\xaa\xf3\xa6\xf2\xae\xf3\xac"), PORT_DONE);
    assert_string(g, UINT64_C(1) << 47, UINT64_C(1) << 47, 0);
    assert_int_equal(g->cpu->flags, FLAG_FIXED | FLAG_CF | FLAG_ZF);
}

static void stores_of_every_width(void **state)
{
    struct guest *g = *state;
    g->cpu->gpr[GPR_RAX] = UINT64_C(0x8877665544332211);
    guest_write64(g, LARGE_AT + 0x1000 + 6, 0);
    set_string(g, 0, LARGE_AT, 0x803);
    assert_int_equal(TRY(g, "\x66\xf3\xab"), PORT_DONE); /* rep stosw */
    assert_int_equal(guest_read64(g, LARGE_AT + 0xffe), UINT64_C(0x2211221122112211));
    assert_int_equal(guest_read64(g, LARGE_AT + 0x1006), 0);
    set_string(g, 0, LARGE_AT + 4, 0x201);
    assert_int_equal(TRY(g, "\xf3\x48\xab"), PORT_DONE); /* rep stosq, over a page border */
    assert_int_equal(guest_read64(g, LARGE_AT + 0xffc), UINT64_C(0x8877665544332211));
    assert_int_equal(guest_read64(g, LARGE_AT + 0x1004), UINT64_C(0x8877665544332211));
}

static void comparisons_stop_where_they_are_decided(void **state)
{
    struct guest *g = *state;
    guest_write(g, DATA_AT, "hello world", 11);
    guest_write(g, LARGE_AT, "hello there", 11);
    set_string(g, DATA_AT, LARGE_AT, 11);
    assert_int_equal(TRY(g, "\xf3\xa6"), PORT_DONE); /* repe cmpsb */
    assert_string(g, DATA_AT + 7, LARGE_AT + 7, 4);
    assert_int_equal(g->cpu->flags & (FLAG_ZF | FLAG_CF), 0); /* 'w' > 't' */
    g->cpu->gpr[GPR_RAX] = 'w';
    set_string(g, 0, DATA_AT, 100);
    assert_int_equal(TRY(g, "\xf2\xae"), PORT_DONE); /* repne scasb */
    assert_string(g, 0, DATA_AT + 7, 93);
    assert_int_equal(g->cpu->flags & FLAG_ZF, FLAG_ZF);
    set_string(g, 0, DATA_AT, 3);
    assert_int_equal(TRY(g, "\xf2\xae"), PORT_DONE);
    assert_string(g, 0, DATA_AT + 3, 0);
    assert_int_equal(g->cpu->flags & FLAG_ZF, 0);
}

static void loads_leave_the_last_element(void **state)
{
    struct guest *g = *state;
    guest_write64(g, DATA_AT, UINT64_C(0x2222222211111111));
    g->cpu->gpr[GPR_RAX] = UINT64_MAX;
    set_string(g, DATA_AT, 0, 2);
    assert_int_equal(TRY(g, "\xf3\xad"), PORT_DONE); /* rep lodsd */
    assert_int_equal(g->cpu->gpr[GPR_RAX], 0x22222222);
    g->cpu->segment[SEGMENT_FS].base = DATA_AT - 0x1000;
    set_string(g, 0x1000, 0, 7);
    assert_int_equal(TRY(g, "\x64\x48\xad"), PORT_DONE); /* lodsq from FS */
    assert_int_equal(g->cpu->gpr[GPR_RAX], UINT64_C(0x2222222211111111));
    assert_string(g, 0x1008, 0, 7);
}

static void addresses_of_32_bits_wrap(void **state)
{
    struct guest *g = *state;
    guest_write(g, DATA_AT, "xy", 2);
    set_string(g, UINT64_C(0x700000000) + DATA_AT, UINT64_C(0x500000000) + LARGE_AT,
               UINT64_C(0x100000002));
    assert_int_equal(TRY(g, "\x67\xf3\xa4"), PORT_DONE); /* rep movsb by ESI, EDI, ECX */
    assert_memory_equal(g->ram + LARGE_AT, "xy", 2);
    assert_string(g, DATA_AT + 2, LARGE_AT + 2, 0);
}

static void offsets_of_16_bits_wrap(void **state)
{
    struct guest *g = *state;
    guest_use_real(g, 0);
    guest_write(g, 0xfffe, "ab", 2);
    guest_write(g, 0, "cd", 2);
    g->cpu->segment[SEGMENT_ES].base = DATA_AT;
    set_string(g, 0xabcdfffe, 0x500, 4);
    assert_int_equal(TRY(g, "\xf3\xa4"), PORT_DONE); /* rep movsb */
    assert_memory_equal(g->ram + DATA_AT + 0x500, "abcd", 4);
    assert_int_equal(g->cpu->gpr[GPR_RSI], 0xabcd0002);
}

static void target_segment_is_always_es(void **state)
{
    struct guest *g = *state;
    guest_use_protected(g, 0);
    g->cpu->segment[SEGMENT_DS].base = DATA_AT;
    g->cpu->segment[SEGMENT_ES].base = LARGE_AT;
    guest_write(g, DATA_AT, "q", 1);
    set_string(g, 0, 0, 1);
    assert_int_equal(TRY(g, "\xf3\xa4"), PORT_DONE); /* rep movsb */
    assert_int_equal(g->ram[LARGE_AT], 'q');
    g->cpu->segment[SEGMENT_ES].limit = 3;
    set_string(g, 0, 0, 8);
    assert_int_equal(TRY(g, "\xf3\xaa"), VECTOR_GP); /* rep stosb */
    assert_int_equal(g->cpu->gpr[GPR_RDI], 4);
    assert_int_equal(g->cpu->gpr[GPR_RCX], 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, guest_setup, guest_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(moves_over_many_pages),
        TEST(overlapping_move_repeats_its_beginning),
        TEST(moves_downwards),
        TEST(fault_in_the_middle_can_be_resumed),
        TEST(count_of_zero_touches_nothing),
        TEST(stores_of_every_width),
        TEST(comparisons_stop_where_they_are_decided),
        TEST(loads_leave_the_last_element),
        TEST(addresses_of_32_bits_wrap),
        TEST(offsets_of_16_bits_wrap),
        TEST(target_segment_is_always_es),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
