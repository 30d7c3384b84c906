#include "chipset/pit_counter.h"

#include <errno.h>

/* Largest period: all BCD digits 0xf, 15 * 1111, is less. */
enum { LARGEST_COUNT = 0x10000 };

static uint32_t decode_count(const struct pit_counter *c, uint16_t written)
{
    if (!c->bcd)
        return written == 0 ? 0x10000 : written;
    uint32_t count = (written >> 12) * 1000u + (written >> 8 & 15) * 100u +
                     (written >> 4 & 15) * 10u + (written & 15u);
    return count == 0 ? 10000 : count;
}

static uint16_t encode_count(const struct pit_counter *c, uint64_t count)
{
    if (!c->bcd)
        return (uint16_t)count;
    unsigned n = (unsigned)(count % 10000);
    return (uint16_t)(n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

static bool is_periodic(const struct pit_counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool is_triggered_by_gate(const struct pit_counter *c)
{
    return c->mode == 1 || c->mode == 5;
}

/* Length of mode 3's first, high half: the longer one of an odd count. */
static uint32_t high_half(uint32_t reload)
{
    return (reload + 1) / 2;
}

/* Ticks since the count was loaded; 0 while it still waits for its clock. */
static uint64_t elapsed(const struct pit_counter *c, uint64_t now)
{
    bool paused = !c->gate && (c->mode == 0 || c->mode == 4);
    if (paused)
        return c->frozen;
    /* As a difference: a start just ahead of now makes it negative. */
    int64_t ticks = (int64_t)(now - c->start);
    return ticks < 0 ? 0 : (uint64_t)ticks;
}

/* First period end (mode 2) or half-period end (mode 3) after `now`. */
static uint64_t period_end(const struct pit_counter *c, uint64_t now)
{
    uint64_t passed = elapsed(c, now);
    uint64_t begin = passed - passed % c->reload;
    if (c->mode == 3 && passed - begin < high_half(c->reload) && c->reload > 1)
        return c->start + begin + high_half(c->reload);
    return c->start + begin + c->reload;
}

/* Let a count that waited for the end of a period take effect. */
static void settle(struct pit_counter *c, uint64_t now)
{
    if (!c->switching || (int64_t)(now - c->switch_at) < 0)
        return;
    bool low_half_follows =
        c->mode == 3 && (c->switch_at - c->start) % c->reload == high_half(c->reload);
    c->switching = false;
    c->reload = c->next;
    c->start = c->switch_at;
    if (low_half_follows)
        c->start -= high_half(c->reload);
}

static void load(struct pit_counter *c, uint64_t now, uint32_t count)
{
    settle(c, now);
    bool was_loaded = c->loaded;
    c->loaded = true;
    if (is_triggered_by_gate(c)) {
        if (!c->running)
            c->reload = count;
        c->next = count; /* for the next trigger */
        return;
    }
    if (is_periodic(c) && was_loaded && c->gate) {
        c->next = count;
        c->switch_at = c->switching ? c->switch_at : period_end(c, now);
        c->switching = true;
        return;
    }
    c->reload = count;
    c->start = now + 1; /* the clock after the write loads it, 8254 "Mode definitions" */
    c->frozen = 0;
    c->running = true;
}

static void trigger(struct pit_counter *c, uint64_t now)
{
    if (!c->loaded)
        return;
    /* A pulse that is triggered anew does not end for the clock that loads the count. */
    bool in_pulse = c->mode == 1 && !pit_counter_output(c, now);
    if (is_triggered_by_gate(c) || c->switching)
        c->reload = c->next;
    c->switching = false;
    c->start = in_pulse ? now : now + 1;
    c->running = true;
}

void pit_counter_set_gate(struct pit_counter *c, uint64_t now, bool gate)
{
    if (gate == c->gate)
        return;
    settle(c, now);
    if (is_periodic(c) || is_triggered_by_gate(c)) {
        if (gate)
            trigger(c, now);
        else if (is_periodic(c))
            c->frozen = elapsed(c, now);
    } else if (gate) {
        c->start = now - c->frozen;
    } else {
        c->frozen = elapsed(c, now);
    }
    c->gate = gate;
}

/* Whether time moves the count. */
static bool is_counting(const struct pit_counter *c)
{
    return c->loaded && c->running && (c->gate || is_triggered_by_gate(c));
}

bool pit_counter_output(struct pit_counter *c, uint64_t now)
{
    settle(c, now);
    uint64_t passed = elapsed(c, now);
    switch (c->mode) {
    case 0:
        return c->loaded && passed >= c->reload;
    case 1:
        return !c->running || (int64_t)(now - c->start) < 0 || passed >= c->reload;
    case 2:
        return !is_counting(c) || passed % c->reload != c->reload - 1;
    case 3:
        return !is_counting(c) || passed % c->reload < high_half(c->reload);
    default: /* 4 and 5: low for the one clock in which the count is 0 */
        return !c->running || passed != c->reload;
    }
}

static uint64_t live_count(struct pit_counter *c, uint64_t now)
{
    settle(c, now);
    if (!c->loaded)
        return 0;
    uint64_t passed = is_periodic(c) && !c->gate ? c->frozen : elapsed(c, now);
    uint64_t wrap = c->bcd ? 10000 : 0x10000;
    if (c->mode == 2)
        return c->reload - passed % c->reload;
    if (c->mode == 3) {
        /* Counts by two, from the even number below, in each half. */
        uint64_t in_period = passed % c->reload;
        uint64_t half = high_half(c->reload);
        uint64_t in_half = in_period < half ? in_period : in_period - half;
        return (c->reload & ~UINT32_C(1)) - 2 * in_half;
    }
    if (!c->running)
        return c->reload;
    return (c->reload + wrap - passed % wrap) % wrap;
}

uint64_t pit_counter_next_event(struct pit_counter *c, uint64_t now, bool *ret_rises)
{
    settle(c, now);
    *ret_rises = true;
    if (!is_counting(c))
        return PIT_NEVER;
    uint64_t passed = elapsed(c, now);
    uint64_t edge;
    if (is_periodic(c)) {
        edge = c->start + (passed - passed % c->reload) + c->reload;
        *ret_rises = !c->switching || c->switch_at == edge;
        return *ret_rises ? edge : c->switch_at;
    }
    edge = c->start + c->reload + (c->mode >= 4 ? 1 : 0);
    return (int64_t)(edge - now) > 0 ? edge : PIT_NEVER;
}

void pit_counter_reset(struct pit_counter *c)
{
    bool gate = c->gate;
    *c = (struct pit_counter){.access = PIT_ACCESS_BOTH, .gate = gate, .reload = 1, .next = 1};
}

void pit_counter_control(struct pit_counter *c, uint8_t control)
{
    uint8_t mode = control >> 1 & 7;
    pit_counter_reset(c);
    c->access = control >> 4 & 3;
    c->mode = mode > 5 ? mode - 4 : mode; /* bit 2 is "don't care" in modes 2 and 3 */
    c->bcd = (control & 1) != 0;
}

void pit_counter_write(struct pit_counter *c, uint64_t now, uint8_t value)
{
    uint16_t written = value;
    if (c->access == PIT_ACCESS_HIGH) {
        written = (uint16_t)(value << 8);
    } else if (c->access == PIT_ACCESS_BOTH) {
        c->high_byte_next_write = !c->high_byte_next_write;
        if (c->high_byte_next_write) {
            c->low_byte_written = value;
            /* Mode 0: the first byte stops the counter and lowers the output. */
            c->loaded = c->loaded && c->mode != 0;
            return;
        }
        written = (uint16_t)(value << 8 | c->low_byte_written);
    }
    load(c, now, decode_count(c, written));
}

uint8_t pit_counter_read(struct pit_counter *c, uint64_t now)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->latched_status;
    }
    uint16_t count = c->count_latched ? c->latched_count : encode_count(c, live_count(c, now));
    bool high = c->access == PIT_ACCESS_HIGH;
    bool last = true;
    if (c->access == PIT_ACCESS_BOTH) {
        high = last = c->high_byte_next_read;
        c->high_byte_next_read = !c->high_byte_next_read;
    }
    if (last)
        c->count_latched = false;
    return (uint8_t)(high ? count >> 8 : count);
}

void pit_counter_latch_count(struct pit_counter *c, uint64_t now)
{
    if (c->count_latched)
        return;
    c->latched_count = encode_count(c, live_count(c, now));
    c->count_latched = true;
}

void pit_counter_latch_status(struct pit_counter *c, uint64_t now)
{
    if (c->status_latched)
        return;
    bool output = pit_counter_output(c, now);
    bool waits = c->loaded && c->running && (int64_t)(now - c->start) < 0;
    bool null_count = !c->loaded || c->switching || waits;
    c->latched_status = (uint8_t)((output ? 0x80 : 0) | (null_count ? 0x40 : 0) | c->access << 4 |
                                  c->mode << 1 | (c->bcd ? 1 : 0));
    c->status_latched = true;
}

static bool is_valid(const struct pit_counter *c)
{
    return c->mode <= 5 && c->access >= PIT_ACCESS_LOW && c->access <= PIT_ACCESS_BOTH &&
           c->reload >= 1 && c->reload <= LARGEST_COUNT && c->next >= 1 && c->next <= LARGEST_COUNT;
}

int pit_counter_visit(struct pit_counter *c, struct state_visitor *v, unsigned number, uint64_t now)
{
    static const char *const section[3] = {"pit-0", "pit-1", "pit-2"};
    struct pit_counter loaded = *c;
    state_begin(v, section[number], 1);
    state_u8(v, "mode", &loaded.mode);
    state_bool(v, "bcd", &loaded.bcd);
    state_u8(v, "access", &loaded.access);
    state_bool(v, "gate", &loaded.gate);
    state_bool(v, "loaded", &loaded.loaded);
    state_bool(v, "running", &loaded.running);
    state_u32(v, "reload", &loaded.reload);
    state_moment(v, "start", now, &loaded.start);
    state_u64(v, "frozen", &loaded.frozen);
    state_bool(v, "switching", &loaded.switching);
    state_u32(v, "next", &loaded.next);
    state_moment(v, "switch-at", now, &loaded.switch_at);
    state_bool(v, "high-byte-next-write", &loaded.high_byte_next_write);
    state_bool(v, "high-byte-next-read", &loaded.high_byte_next_read);
    state_u8(v, "low-byte-written", &loaded.low_byte_written);
    state_bool(v, "count-latched", &loaded.count_latched);
    state_u16(v, "latched-count", &loaded.latched_count);
    state_bool(v, "status-latched", &loaded.status_latched);
    state_u8(v, "latched-status", &loaded.latched_status);
    if (!is_valid(&loaded))
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error == 0)
        *c = loaded;
    return error;
}
