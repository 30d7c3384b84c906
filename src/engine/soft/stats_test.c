#include "engine/soft/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/soft/code_private.h"
#include "engine/soft/partition.h"

static char text[4096];

static void print(struct soft_partition *partition)
{
    FILE *to = fmemopen(text, sizeof(text), "w");
    assert_non_null(to);
    stats_print(partition, to);
    assert_int_equal(fclose(to), 0);
}

static void vcpus_are_added_up(void **state)
{
    (void)state;
    struct cpu_stats sum = {.entries = 1, .in_run = 5};
    struct cpu_stats one = {.entries = 2, .in_run = 10, .fills = 7};
    one.exits[ENGINE_EXIT_PORT_WRITE] = 3;
    stats_sum(&sum, &one);
    stats_sum(&sum, &one);
    assert_int_equal(sum.entries, 5);
    assert_int_equal(sum.in_run, 25);
    assert_int_equal(sum.fills, 14);
    assert_int_equal(sum.exits[ENGINE_EXIT_PORT_WRITE], 6);
}

static void shares_of_the_time_and_exits_are_told(void **state)
{
    (void)state;
    static struct code_cache code;
    struct soft_partition partition = {.tsc_hz = 1000, .code = &code};
    code.stats.translated = 42;
    partition.stats = (struct cpu_stats){.in_run = 2000, .in_translated = 1000, .in_helpers = 500};
    partition.stats.exits[ENGINE_EXIT_PORT_WRITE] = 3;
    print(&partition);
    assert_non_null(strstr(text, "2.00 s in the engine: 50 % translated code, 25 % its helpers"));
    assert_non_null(strstr(text, "25 % the rest"));
    assert_non_null(strstr(text, "42 translated"));
    assert_non_null(strstr(text, "exits: 3 port writes\n"));
}

static void nothing_done_is_told_too(void **state)
{
    (void)state;
    static struct code_cache code;
    struct soft_partition partition = {.tsc_hz = 1000, .code = &code};
    print(&partition);
    assert_non_null(strstr(text, "0.00 s in the engine: 0 % translated code"));
    assert_non_null(strstr(text, "exits: none\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vcpus_are_added_up),
        cmocka_unit_test(shares_of_the_time_and_exits_are_told),
        cmocka_unit_test(nothing_done_is_told_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
