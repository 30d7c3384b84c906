#include "switch/shape.h"

#include "base/clock.h"

void shape_set(struct shape *shape, uint64_t rate, uint64_t burst, uint64_t now_ns)
{
    *shape =
        (struct shape){.rate = rate, .burst = burst, .tokens = (int64_t)burst, .filled_ns = now_ns};
}

/* Exact: what is less than a token stays for the next time. */
static void fill(struct shape *shape, uint64_t now_ns)
{
    if (now_ns <= shape->filled_ns)
        return;
    __uint128_t earned = (__uint128_t)(now_ns - shape->filled_ns) * shape->rate + shape->remainder;
    __int128_t tokens = shape->tokens + (__int128_t)(earned / NS_PER_SECOND);

    shape->filled_ns = now_ns;
    shape->remainder = (uint64_t)(earned % NS_PER_SECOND);
    if (tokens >= (__int128_t)shape->burst) {
        tokens = (__int128_t)shape->burst;
        shape->remainder = 0;
    }
    shape->tokens = (int64_t)tokens;
}

/* How many have to be there for a frame to go. */
static int64_t needed(const struct shape *shape, uint64_t tokens)
{
    return (int64_t)(tokens < shape->burst ? tokens : shape->burst);
}

bool shape_take(struct shape *shape, uint64_t tokens, uint64_t now_ns)
{
    if (shape->rate == 0)
        return true;
    fill(shape, now_ns);
    if (shape->tokens < needed(shape, tokens))
        return false;
    shape->tokens -= (int64_t)tokens;
    return true;
}

void shape_charge(struct shape *shape, uint64_t tokens, uint64_t now_ns)
{
    fill(shape, now_ns);
    shape->tokens -= (int64_t)tokens;
}

uint64_t shape_when(struct shape *shape, uint64_t tokens, uint64_t now_ns)
{
    if (shape->rate == 0)
        return 0;
    fill(shape, now_ns);
    if (shape->tokens >= needed(shape, tokens))
        return 0;
    __uint128_t missing =
        (__uint128_t)(needed(shape, tokens) - shape->tokens) * NS_PER_SECOND - shape->remainder;
    return now_ns + (uint64_t)((missing + shape->rate - 1) / shape->rate);
}

/* A port that had nothing to send starts with the others, and saves nothing up. */
static uint64_t start_of(const struct share *share, unsigned port)
{
    return share->finish[port] > share->virtual_time ? share->finish[port] : share->virtual_time;
}

unsigned share_next(const struct share *share, uint64_t waiting)
{
    unsigned ret = (unsigned)__builtin_ctzll(waiting);

    for (uint64_t rest = waiting; rest != 0; rest &= rest - 1) {
        unsigned port = (unsigned)__builtin_ctzll(rest);
        if (start_of(share, port) < start_of(share, ret))
            ret = port;
    }
    return ret;
}

void share_sent(struct share *share, unsigned port, size_t length)
{
    enum { SCALE = 1 << 10 };
    unsigned weight = share->weight[port] == 0 ? 1 : share->weight[port];
    uint64_t start = start_of(share, port);

    share->virtual_time = start; /* the least of those that waited */
    share->finish[port] = start + (uint64_t)length * SCALE / weight;
}
