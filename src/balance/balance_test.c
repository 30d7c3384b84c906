#include "balance/balance.h"

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <string.h>

#define MIB UINT64_C(0x100000)
#define GIB (1024 * MIB)

enum { MOST = 12, CASES = 20000, MOST_STEPS = 400 };

struct crowd {
    uint64_t budget;
    size_t count;
    struct balance_partition partitions[MOST];
    uint64_t targets[MOST];
};

/* ---- crowds at random ---- */

static uint64_t next_random(void)
{
    static uint64_t seed = 42;
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return seed >> 33;
}

static uint64_t some_bytes(void)
{
    static const uint64_t scales[] = {MIB, 256 * MIB, 4 * GIB, 64 * GIB};
    return (next_random() << 20 | next_random()) % scales[next_random() % 4];
}

static struct balance_partition some_partition(void)
{
    struct balance_partition partition = {
        .minimum = some_bytes(),
        .current = some_bytes(),
        .demand = some_bytes(),
        .reported = next_random() % 8 != 0,
        .buffer = (unsigned)(5 + next_random() % (next_random() % 2 == 0 ? 40 : 1996)),
        .weight = (unsigned)(1 + next_random() % BALANCE_MOST_WEIGHT),
    };
    partition.maximum = partition.minimum + some_bytes();
    return partition;
}

static void make_crowd(struct crowd *crowd)
{
    crowd->count = 1 + next_random() % MOST;
    crowd->budget = some_bytes() * (next_random() % 4);
    for (size_t i = 0; i < crowd->count; i++)
        crowd->partitions[i] = some_partition();
}

static void call(struct crowd *crowd)
{
    assert_int_equal(balance(crowd->budget, crowd->partitions, crowd->count, crowd->targets), 0);
}

/* What each has, within its bounds. */
static uint64_t base_of(const struct balance_partition *partition)
{
    uint64_t base = partition->current;
    base = base > partition->maximum ? partition->maximum : base;
    return base < partition->minimum ? partition->minimum : base;
}

static uint64_t sum_of_bases(const struct crowd *crowd)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < crowd->count; i++)
        sum += base_of(&crowd->partitions[i]);
    return sum;
}

static uint64_t sum_of_targets(const struct crowd *crowd)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < crowd->count; i++)
        sum += crowd->targets[i];
    return sum;
}

static bool all_at_minimum(const struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->count; i++) {
        if (crowd->targets[i] != crowd->partitions[i].minimum)
            return false;
    }
    return true;
}

/* Each has what it was to have; true: so it was before. */
static bool obey(struct crowd *crowd)
{
    bool still = true;
    for (size_t i = 0; i < crowd->count; i++) {
        still &= crowd->partitions[i].current == crowd->targets[i];
        crowd->partitions[i].current = crowd->targets[i];
    }
    return still;
}

/* ---- promises ---- */

static void targets_are_within_bounds(void **state)
{
    struct crowd crowd;
    (void)state;
    for (unsigned i = 0; i < CASES; i++) {
        make_crowd(&crowd);
        call(&crowd);
        for (size_t k = 0; k < crowd.count; k++) {
            assert_true(crowd.targets[k] >= crowd.partitions[k].minimum);
            assert_true(crowd.targets[k] <= crowd.partitions[k].maximum);
        }
    }
}

static void sums_fit_or_shrink_until_they_do(void **state)
{
    struct crowd crowd;
    (void)state;
    for (unsigned i = 0; i < CASES; i++) {
        make_crowd(&crowd);
        uint64_t bases = sum_of_bases(&crowd);
        call(&crowd);
        uint64_t sum = sum_of_targets(&crowd);
        if (bases <= crowd.budget)
            assert_true(sum <= crowd.budget);
        else
            assert_true(sum < bases || all_at_minimum(&crowd));
    }
}

static void heavier_of_twins_gets_no_less(void **state)
{
    struct crowd crowd;
    (void)state;
    for (unsigned i = 0; i < CASES; i++) {
        make_crowd(&crowd);
        if (crowd.count < 2)
            continue;
        crowd.partitions[1] = crowd.partitions[0];
        crowd.partitions[1].weight = (unsigned)(1 + next_random() % BALANCE_MOST_WEIGHT);
        call(&crowd);
        size_t heavy = crowd.partitions[1].weight >= crowd.partitions[0].weight;
        assert_true(crowd.targets[heavy] >= crowd.targets[1 - heavy]);
    }
}

static void steps_are_bounded(void **state)
{
    struct crowd crowd;
    (void)state;
    for (unsigned i = 0; i < CASES; i++) {
        make_crowd(&crowd);
        call(&crowd);
        for (size_t k = 0; k < crowd.count; k++) {
            uint64_t base = base_of(&crowd.partitions[k]);
            uint64_t up = base / 2 > 512 * MIB ? base / 2 : 512 * MIB;
            uint64_t down = base / 8 > 128 * MIB ? base / 8 : 128 * MIB;
            assert_true(crowd.targets[k] <= base + up && crowd.targets[k] + down >= base);
        }
    }
}

static void partitions_come_to_rest(void **state)
{
    struct crowd crowd;
    (void)state;
    for (unsigned i = 0; i < CASES / 40; i++) {
        unsigned steps = 0;
        make_crowd(&crowd);
        do {
            call(&crowd);
        } while (!obey(&crowd) && steps++ < MOST_STEPS);
        assert_true(steps < MOST_STEPS);
        call(&crowd);
        assert_true(obey(&crowd));
        assert_true(sum_of_targets(&crowd) <= crowd.budget || all_at_minimum(&crowd));
    }
}

/* ---- what that comes to ---- */

static struct balance_partition usual(uint64_t current, uint64_t demand)
{
    return (struct balance_partition){.minimum = 256 * MIB,
                                      .maximum = 4 * GIB,
                                      .current = current,
                                      .reported = true,
                                      .demand = demand,
                                      .buffer = 20,
                                      .weight = 5000};
}

static uint64_t alone(struct balance_partition partition)
{
    uint64_t target = 0;
    assert_int_equal(balance(64 * GIB, &partition, 1, &target), 0);
    return target;
}

static void one_that_is_alone_gets_its_demand_and_a_buffer(void **state)
{
    (void)state;
    assert_int_equal(alone(usual(GIB, GIB)) / MIB, 1228);
    assert_int_equal(alone(usual(GIB, 800 * MIB)) / MIB, 960); /* 64 MiB less */
    assert_int_equal(alone(usual(GIB, 300 * MIB)), 896 * MIB); /* a step */
    assert_int_equal(alone(usual(512 * MIB, 8 * GIB)), GIB);
    assert_int_equal(alone(usual(300 * MIB, MIB)), 256 * MIB);
    assert_int_equal(alone(usual(0, 0)), 256 * MIB);
    assert_int_equal(alone(usual(8 * GIB, 8 * GIB)), 4 * GIB);
}

static void small_changes_are_none(void **state)
{
    (void)state;
    assert_int_equal(alone(usual(GIB, 830 * MIB)), GIB);
    assert_int_equal(alone(usual(GIB, 880 * MIB)), GIB);
    assert_true(alone(usual(GIB, 780 * MIB)) < GIB);
    assert_true(alone(usual(GIB, 940 * MIB)) > GIB);
}

static void one_that_has_not_reported_keeps_what_it_has(void **state)
{
    struct balance_partition partition = usual(GIB, 0);
    (void)state;
    partition.reported = false;
    assert_int_equal(alone(partition), GIB);
}

static void need_comes_before_reserve(void **state)
{
    struct balance_partition two[] = {usual(GIB, GIB), usual(GIB, GIB)};
    uint64_t targets[2];
    (void)state;
    two[0].weight = 10000;
    two[0].buffer = 2000;
    two[1].weight = 1;
    assert_int_equal(balance(2 * GIB + 512 * MIB, two, 2, targets), 0);
    assert_int_equal(targets[1], GIB);
    assert_true(targets[0] > GIB + 500 * MIB);
}

static void nonsense_is_refused(void **state)
{
    struct balance_partition partition = usual(GIB, GIB);
    uint64_t target = 7;
    (void)state;
    partition.weight = 0;
    assert_int_equal(balance(GIB, &partition, 1, &target), -EINVAL);
    partition.weight = 10001;
    assert_int_equal(balance(GIB, &partition, 1, &target), -EINVAL);
    partition = usual(GIB, GIB);
    partition.buffer = 2001;
    assert_int_equal(balance(GIB, &partition, 1, &target), -EINVAL);
    partition = usual(GIB, GIB);
    partition.minimum = 5 * GIB;
    assert_int_equal(balance(GIB, &partition, 1, &target), -EINVAL);
    partition.maximum = UINT64_MAX;
    assert_int_equal(balance(GIB, &partition, 1, &target), -EINVAL);
    assert_int_equal(target, 7);
    assert_int_equal(balance(GIB, NULL, 0, NULL), 0);
}

static void largest_numbers_do_no_harm(void **state)
{
    struct balance_partition partition = usual(UINT64_MAX, UINT64_MAX);
    uint64_t target = 0;
    (void)state;
    partition.maximum = BALANCE_MOST_BYTES;
    partition.buffer = BALANCE_MOST_BUFFER;
    partition.weight = BALANCE_MOST_WEIGHT;
    assert_int_equal(balance(UINT64_MAX, &partition, 1, &target), 0);
    assert_int_equal(target, BALANCE_MOST_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_within_bounds),
        cmocka_unit_test(sums_fit_or_shrink_until_they_do),
        cmocka_unit_test(heavier_of_twins_gets_no_less),
        cmocka_unit_test(steps_are_bounded),
        cmocka_unit_test(partitions_come_to_rest),
        cmocka_unit_test(one_that_is_alone_gets_its_demand_and_a_buffer),
        cmocka_unit_test(small_changes_are_none),
        cmocka_unit_test(one_that_has_not_reported_keeps_what_it_has),
        cmocka_unit_test(need_comes_before_reserve),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(largest_numbers_do_no_harm),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
