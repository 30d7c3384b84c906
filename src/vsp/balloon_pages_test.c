#include "vsp/balloon_pages.h"

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
/* clang-format on */

#include <stdbool.h>
#include <stdlib.h>

static int setup(void **state)
{
    static struct balloon_pages pages;
    *state = &pages;
    return balloon_pages_create(&pages, 1000);
}

static int teardown(void **state)
{
    balloon_pages_release(*state);
    return 0;
}

static void page_that_is_given_twice_counts_once(void **state)
{
    struct balloon_pages *pages = *state;
    assert_int_equal(balloon_pages_add(pages, 10, 5), 5);
    assert_int_equal(balloon_pages_add(pages, 10, 5), 0);
    assert_int_equal(balloon_pages_add(pages, 8, 4), 2);
    assert_int_equal(balloon_pages_add(pages, 50, 0), 0);
    assert_int_equal(pages->count, 7);
}

static void lowest_neighbours_come_first(void **state)
{
    struct balloon_pages *pages = *state;
    uint64_t first = 0;
    (void)balloon_pages_add(pages, 900, 100);
    (void)balloon_pages_add(pages, 60, 8);
    assert_int_equal(balloon_pages_take(pages, 3, &first), 3);
    assert_int_equal(first, 60);
    assert_int_equal(balloon_pages_take(pages, 100, &first), 5);
    assert_int_equal(first, 63);
    (void)balloon_pages_add(pages, 3, 1); /* below what was looked at */
    assert_int_equal(balloon_pages_take(pages, 100, &first), 1);
    assert_int_equal(first, 3);
    assert_int_equal(balloon_pages_take(pages, UINT64_MAX, &first), 100);
    assert_int_equal(first, 900);
    assert_int_equal(balloon_pages_take(pages, 1, &first), 0);
}

static void cleared_set_is_empty(void **state)
{
    struct balloon_pages *pages = *state;
    uint64_t first = 0;
    (void)balloon_pages_add(pages, 0, 1000);
    balloon_pages_clear(pages);
    assert_int_equal(pages->count, 0);
    assert_int_equal(balloon_pages_take(pages, 1, &first), 0);
    assert_int_equal(balloon_pages_add(pages, 0, 1000), 1000);
}

enum { LIMIT = 1000, ROUNDS = 20000 };

static uint64_t next_random(void)
{
    static uint64_t seed = 1;
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return seed >> 33;
}

static unsigned add_to_model(bool model[LIMIT], uint64_t first, uint64_t count)
{
    unsigned fresh = 0;
    for (uint64_t i = first; i < first + count; i++) {
        fresh += !model[i];
        model[i] = true;
    }
    return fresh;
}

static void take_from_model(bool model[LIMIT], uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < first; i++)
        assert_false(model[i]);
    for (uint64_t i = first; i < first + count; i++) {
        assert_true(model[i]);
        model[i] = false;
    }
}

static void set_does_what_an_array_does(void **state)
{
    struct balloon_pages *pages = *state;
    bool model[LIMIT] = {false};

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t first = next_random() % LIMIT;
        uint64_t count = next_random() % (next_random() % 2 == 0 ? 4 : 200);
        if (count > LIMIT - first)
            count = LIMIT - first;
        if (next_random() % 3 != 0)
            assert_int_equal(balloon_pages_add(pages, first, count),
                             add_to_model(model, first, count));
        else if ((count = balloon_pages_take(pages, count, &first)) > 0)
            take_from_model(model, first, count);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(page_that_is_given_twice_counts_once),
        TEST(lowest_neighbours_come_first),
        TEST(cleared_set_is_empty),
        TEST(set_does_what_an_array_does),
    };
    return cmocka_run_group_tests_name("balloon_pages", tests, NULL, NULL);
}
