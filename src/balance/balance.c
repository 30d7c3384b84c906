/*
 * Sharing memory (balance.h): first a goal for each, which does not depend on what it has; then a
 * step towards it.
 */
#include "balance/balance.h"

#include <errno.h>
#include <stdlib.h>

#define MIB UINT64_C(0x100000)

/* A change below this, or below a sixteenth of what it has, is none. */
#define LEAST_CHANGE (16 * MIB)
#define LEAST_PART   16
/* A step up is a half of what it has, down an eighth; these at least. */
#define STEP_UP   (512 * MIB)
#define STEP_DOWN (128 * MIB)

/* A partition's share: between two bounds, which stand for the step that is being made. */
struct share {
    uint64_t low, high;
    unsigned weight;
    uint64_t goal, base, target;
};

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return greater(low, lesser(value, high));
}

/* ---- filling: each has its weight times one level, within its bounds ---- */

static uint64_t height(const struct share *share, uint64_t level)
{
    return clamp(level * share->weight, share->low, share->high);
}

static uint64_t sum_at(const struct share *shares, size_t count, uint64_t level)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += height(&shares[i], level);
    return sum;
}

/* The highest level at which all fit into the amount; 0 when they do not fit at all. */
static uint64_t find_level(const struct share *shares, size_t count, uint64_t amount)
{
    uint64_t low = 0;
    uint64_t high = BALANCE_MOST_BYTES;

    if (sum_at(shares, count, high) <= amount)
        return high;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (sum_at(shares, count, middle) <= amount)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* ---- goals ---- */

static uint64_t with_buffer(const struct balance_partition *partition)
{
    uint64_t demand = lesser(partition->demand, BALANCE_MOST_BYTES);

    return demand + demand / 100 * partition->buffer;
}

/* What it would have if there were enough; and of that, what it cannot do without. */
static uint64_t wish_of(const struct balance_partition *partition)
{
    uint64_t wish = partition->reported ? with_buffer(partition) : partition->current;
    return clamp(wish, partition->minimum, partition->maximum);
}

static uint64_t need_of(const struct balance_partition *partition)
{
    uint64_t need = partition->reported ? partition->demand : partition->current;
    return clamp(need, partition->minimum, partition->maximum);
}

static void find_goals(struct share *shares, const struct balance_partition *partitions,
                       size_t count, uint64_t budget)
{
    uint64_t needs = 0;

    for (size_t i = 0; i < count; i++) {
        shares[i].low = partitions[i].minimum;
        shares[i].high = need_of(&partitions[i]);
        needs += shares[i].high;
    }
    for (size_t i = 0; needs <= budget && i < count; i++) {
        shares[i].low = shares[i].high;
        shares[i].high = wish_of(&partitions[i]);
    }
    uint64_t level = find_level(shares, count, budget);
    for (size_t i = 0; i < count; i++)
        shares[i].goal = height(&shares[i], level);
}

/* ---- steps ---- */

static bool is_small(uint64_t change, uint64_t base)
{
    return change < greater(LEAST_CHANGE, base / LEAST_PART);
}

/* Less for those whose goal is lower; when there is too little for all, small changes count too. */
static uint64_t step_down(struct share *shares, size_t count, bool scarce)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        struct share *share = &shares[i];
        uint64_t excess = share->base > share->goal ? share->base - share->goal : 0;
        if (!scarce && is_small(excess, share->base))
            excess = 0;
        share->target = share->base - lesser(excess, greater(STEP_DOWN, share->base / 8));
        sum += share->target;
    }
    return sum;
}

/* More for the others, out of what is left. */
static void step_up(struct share *shares, size_t count, uint64_t budget)
{
    for (size_t i = 0; i < count; i++) {
        struct share *share = &shares[i];
        uint64_t lack = share->goal > share->base ? share->goal - share->base : 0;
        if (is_small(lack, share->base))
            lack = 0;
        share->low = share->target;
        share->high = share->target + lesser(lack, greater(STEP_UP, share->base / 2));
    }
    uint64_t level = find_level(shares, count, budget);
    for (size_t i = 0; i < count; i++)
        shares[i].target = height(&shares[i], level);
}

static bool is_sane(const struct balance_partition *partition)
{
    return partition->minimum <= partition->maximum && partition->maximum <= BALANCE_MOST_BYTES &&
           partition->buffer <= BALANCE_MOST_BUFFER && partition->weight >= 1 &&
           partition->weight <= BALANCE_MOST_WEIGHT;
}

static bool are_sane(const struct balance_partition *partitions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_sane(&partitions[i]))
            return false;
    }
    return count <= BALANCE_MOST_PARTITIONS;
}

int balance(uint64_t budget, const struct balance_partition *partitions, size_t count,
            uint64_t *ret_targets)
{
    uint64_t bases = 0;

    if (!are_sane(partitions, count))
        return -EINVAL;
    struct share *shares = calloc(count + 1, sizeof(*shares));
    if (shares == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        shares[i].weight = partitions[i].weight;
        shares[i].base = clamp(partitions[i].current, partitions[i].minimum, partitions[i].maximum);
        bases += shares[i].base;
    }
    find_goals(shares, partitions, count, budget);
    if (step_down(shares, count, bases > budget) < budget)
        step_up(shares, count, budget);
    for (size_t i = 0; i < count; i++)
        ret_targets[i] = shares[i].target;
    free(shares);
    return 0;
}
