/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmbus/vmbus_fixture.h"
/* clang-format on */

enum { PAGES = 4, SIZE = (PAGES - 1) * 4096 };

static struct mem *mem;
static struct ring ring;
static uint8_t *pages[PAGES];
/* In no order: page n of the ring is elsewhere. */
static const uint64_t pfns[PAGES] = {9, 3, 7, 5};

static int setup(void **state)
{
    (void)state;
    assert_int_equal(mem_create(RAM, RAM, &mem), 0);
    assert_int_equal(ring_init(&ring, mem, pfns, PAGES, pages), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mem_destroy(mem);
    return 0;
}

static void copies_agree_with_a_flat_array(void **state)
{
    static uint8_t model[SIZE];
    static uint8_t bytes[SIZE];
    uint32_t seed = 1;
    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t at = seed >> 8 % SIZE;
        at %= SIZE;
        uint32_t length = (seed >> 3) % (round % 4 == 0 ? SIZE + 1 : 200);
        for (uint32_t i = 0; i < length; i++) {
            bytes[i] = (uint8_t)(seed + i * 7);
            model[(at + i) % SIZE] = bytes[i];
        }
        ring_copy_in(&ring, at, bytes, length);
        memset(bytes, 0, sizeof(bytes));
        uint32_t from = (seed >> 5) % SIZE;
        ring_copy_out(&ring, from, bytes, SIZE);
        for (uint32_t i = 0; i < SIZE; i++)
            assert_int_equal(bytes[i], model[(from + i) % SIZE]);
    }
}

static void indices_that_make_no_sense_are_noticed(void **state)
{
    static const uint32_t wrong[] = {1, 4, SIZE, SIZE + 8, UINT32_MAX, 0x80000000};
    uint32_t index = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ring_store(&ring, RING_WRITE_INDEX, wrong[i]);
        assert_int_equal(ring_other_index(&ring, RING_WRITE_INDEX, &index), -EPROTO);
    }
    ring_store(&ring, RING_WRITE_INDEX, SIZE - 8);
    assert_int_equal(ring_other_index(&ring, RING_WRITE_INDEX, &index), 0);
    assert_int_equal(index, SIZE - 8);
    assert_int_equal(ring_distance(&ring, SIZE - 8, 16), 24);
    assert_int_equal(ring_add(&ring, SIZE - 8, 16), 8);
}

static void rings_are_made_of_ram(void **state)
{
    static const uint64_t outside[] = {1, 2, RAM / 4096, 3};
    struct ring other;
    (void)state;
    assert_int_equal(ring_init(&other, mem, outside, PAGES, pages), -EFAULT);
    assert_int_equal(ring_init(&other, mem, outside, 1, pages), -EINVAL);
}

#define RING_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(copies_agree_with_a_flat_array),
        RING_TEST(indices_that_make_no_sense_are_noticed),
        RING_TEST(rings_are_made_of_ram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
