/*
 * Registers by the MC146818A datasheet (Motorola, 1987); the century by ACPI 6.3 § 4.8.2.4.
 *
 * 1. base_s is the guest's time at host time base_ns; seconds and the divider chain count from it.
 *    While the guest holds the clock (SET, or a divider in reset) the registers are in cmos.
 * 2. Flags of register C are brought up to date by catch_up before anybody looks at them; seen_ns
 *    is how far. The timer exists only for interrupts that are enabled.
 */
#include "chipset/rtc.h"

#include <errno.h>
#include <stdlib.h>

#include "chipset/rtc_date.h"

enum {
    CMOS_SIZE = 128,
    REGISTER_A = 0x0a,
    REGISTER_B = 0x0b,
    REGISTER_C = 0x0c,
    REGISTER_D = 0x0d,
    REGISTER_CENTURY = 0x32,

    A_UPDATING = 0x80,
    A_DIVIDER = 0x70,
    A_DIVIDER_RUNS = 0x20,
    A_RATE = 0x0f,
    A_POWER_ON = 0x26, /* 32768 Hz, 1024 periodic interrupts a second */

    B_SET = 0x80,
    B_SQUARE_WAVE = 0x08,
    B_BINARY = 0x04,
    B_HOURS24 = 0x02,

    /* Flags of register C; register B enables them by the same bits. */
    FLAG_UPDATE = 0x10,
    FLAG_ALARM = 0x20,
    FLAG_PERIODIC = 0x40,
    FLAG_ANY = FLAG_UPDATE | FLAG_ALARM | FLAG_PERIODIC,
    C_INTERRUPT = 0x80,

    D_VALID = 0x80,
    ALARM_ANY = 0xc0, /* both bits set: every value matches */

    CRYSTAL_HZ = 32768,
    /* The update takes 1984 us and is announced 244 us ahead. */
    UPDATE_NS = (1984 + 244) * 1000,
};

struct rtc_state {
    uint8_t index;
    uint8_t flags; /* of register C, without C_INTERRUPT */
    uint8_t cmos[CMOS_SIZE];
    int64_t base_s;
    uint64_t base_ns;
    uint64_t seen_ns;
};

struct rtc {
    const struct chipset_host *host;
    struct line line;
    uint64_t memory_below_4g;
    struct rtc_state state;
};

static struct rtc_format format_of(const struct rtc_state *s)
{
    uint8_t b = s->cmos[REGISTER_B];
    return (struct rtc_format){(b & B_BINARY) != 0, (b & B_HOURS24) != 0};
}

/* Dividers other than 010 hold the chain in reset or count another crystal, that the board lacks.
 */
static bool divider_runs(const struct rtc_state *s)
{
    return (s->cmos[REGISTER_A] & A_DIVIDER) == A_DIVIDER_RUNS;
}

static bool clock_runs(const struct rtc_state *s)
{
    return divider_runs(s) && (s->cmos[REGISTER_B] & B_SET) == 0;
}

static int64_t seconds_at(const struct rtc_state *s, uint64_t now)
{
    return s->base_s + (int64_t)((now - s->base_ns) / NS_PER_SECOND);
}

static void store_date(struct rtc_state *s, uint64_t now)
{
    struct rtc_date date = rtc_date_from_seconds(seconds_at(s, now), format_of(s));
    s->cmos[0] = date.seconds;
    s->cmos[2] = date.minutes;
    s->cmos[4] = date.hours;
    s->cmos[6] = date.weekday;
    s->cmos[7] = date.day;
    s->cmos[8] = date.month;
    s->cmos[9] = date.year;
    s->cmos[REGISTER_CENTURY] = date.century;
}

/* Take the date in the registers for the present second, keeping the phase within it. */
static void adopt_date(struct rtc_state *s, uint64_t now)
{
    struct rtc_date date = {
        .seconds = s->cmos[0],
        .minutes = s->cmos[2],
        .hours = s->cmos[4],
        .weekday = s->cmos[6],
        .day = s->cmos[7],
        .month = s->cmos[8],
        .year = s->cmos[9],
        .century = s->cmos[REGISTER_CENTURY],
    };
    s->base_ns = now - (now - s->base_ns) % NS_PER_SECOND;
    s->base_s = rtc_date_to_seconds(&date, format_of(s));
}

/* Nanoseconds from one periodic flag to the next; 0 for none. MC146818A table 5. */
static uint64_t period_ns(const struct rtc_state *s)
{
    unsigned rate = s->cmos[REGISTER_A] & A_RATE;
    if (rate == 0 || !divider_runs(s))
        return 0;
    if (rate <= 2)
        rate += 7;
    return (UINT64_C(1) << (rate - 1)) * NS_PER_SECOND / CRYSTAL_HZ;
}

static bool field_matches(uint8_t alarm, uint8_t shown)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == shown;
}

/* The least number from `from` below `limit` that the alarm byte matches, or `limit`. */
static unsigned next_match(uint8_t alarm, unsigned from, unsigned limit, struct rtc_format format)
{
    while (from < limit && !field_matches(alarm, rtc_encode(from, format)))
        from++;
    return from;
}

/* The same in the day: seconds since midnight, or a day's length when the alarm is no more today.
 */
static unsigned next_alarm_today(const struct rtc_state *s, unsigned from)
{
    struct rtc_format format = format_of(s);
    unsigned minute_from = from / 60 % 60;
    unsigned second_from = from % 60;
    for (unsigned hour = from / 3600; hour < 24; hour++, minute_from = second_from = 0) {
        if (!field_matches(s->cmos[5], rtc_encode_hours(hour, format)))
            continue;
        for (unsigned minute = minute_from; minute < 60; minute++, second_from = 0) {
            minute = next_match(s->cmos[3], minute, 60, format);
            if (minute != minute_from)
                second_from = 0;
            unsigned second = minute < 60 ? next_match(s->cmos[1], second_from, 60, format) : 60;
            if (second < 60)
                return hour * 3600 + minute * 60 + second;
        }
    }
    return 86400;
}

/* The first alarm after second `after` of the guest's time, or INT64_MAX: none within a day. */
static int64_t next_alarm(const struct rtc_state *s, int64_t after)
{
    struct rtc_format format = format_of(s);
    if (next_match(s->cmos[1], 0, 60, format) == 60 || next_match(s->cmos[3], 0, 60, format) == 60)
        return INT64_MAX; /* asks for what no clock shows: do not search the whole day */
    int64_t first = after + 1;
    int64_t today = first % 86400;
    today = today < 0 ? today + 86400 : today;
    int64_t midnight = first - today;
    unsigned found = next_alarm_today(s, (unsigned)today);
    if (found < 86400)
        return midnight + found;
    found = next_alarm_today(s, 0);
    return found < 86400 ? midnight + 86400 + found : INT64_MAX;
}

/* Raise the flags for what happened in (seen_ns, now]. */
static void catch_up(struct rtc *rtc, uint64_t now)
{
    struct rtc_state *s = &rtc->state;
    uint64_t seen = s->seen_ns - s->base_ns;
    uint64_t passed = now - s->base_ns;
    uint64_t period = period_ns(s);
    if (passed <= seen) {
        s->seen_ns = now;
        return;
    }
    if (period != 0 && passed / period != seen / period)
        s->flags |= FLAG_PERIODIC;
    if (clock_runs(s) && passed / NS_PER_SECOND != seen / NS_PER_SECOND) {
        s->flags |= FLAG_UPDATE;
        if (next_alarm(s, seconds_at(s, s->seen_ns)) <= seconds_at(s, now))
            s->flags |= FLAG_ALARM;
    }
    s->seen_ns = now;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the next enabled flag will rise; 0 when none will. */
static uint64_t next_event(const struct rtc_state *s, uint64_t now)
{
    uint8_t wanted = s->cmos[REGISTER_B] & FLAG_ANY & (uint8_t)~s->flags;
    uint64_t passed = now - s->base_ns;
    uint64_t period = period_ns(s);
    uint64_t deadline = UINT64_MAX;
    if ((wanted & FLAG_PERIODIC) != 0 && period != 0)
        deadline = earlier(deadline, now + period - passed % period);
    if ((wanted & FLAG_UPDATE) != 0 && clock_runs(s))
        deadline = earlier(deadline, now + NS_PER_SECOND - passed % NS_PER_SECOND);
    int64_t present = seconds_at(s, now);
    int64_t alarm =
        (wanted & FLAG_ALARM) != 0 && clock_runs(s) ? next_alarm(s, present) : INT64_MAX;
    if (alarm != INT64_MAX) {
        uint64_t seconds = (uint64_t)(alarm - present);
        deadline = earlier(deadline, now + seconds * NS_PER_SECOND - passed % NS_PER_SECOND);
    }
    return deadline == UINT64_MAX ? 0 : deadline;
}

static void update_line(struct rtc *rtc, uint64_t now)
{
    const struct rtc_state *s = &rtc->state;
    bool interrupt = (s->flags & s->cmos[REGISTER_B] & FLAG_ANY) != 0;
    line_set(&rtc->line, interrupt);
    /* While one interrupt waits for register C to be read, no other can come. */
    uint64_t deadline = interrupt ? 0 : next_event(s, now);
    rtc->host->set_timer(rtc->host->owner, CHIPSET_TIMER_RTC, deadline);
}

void rtc_timer_expired(struct rtc *rtc)
{
    uint64_t now = host_now(rtc->host);
    catch_up(rtc, now);
    update_line(rtc, now);
}

static bool is_date(unsigned index)
{
    return index == REGISTER_CENTURY || (index >= 6 && index <= 9) || index == 0 || index == 2 ||
           index == 4;
}

static uint8_t read_a(const struct rtc_state *s, uint64_t now)
{
    uint64_t in_second = (now - s->base_ns) % NS_PER_SECOND;
    bool updating = clock_runs(s) && in_second >= NS_PER_SECOND - UPDATE_NS;
    return (uint8_t)(s->cmos[REGISTER_A] | (updating ? A_UPDATING : 0));
}

static uint8_t read_c(struct rtc *rtc, uint64_t now)
{
    struct rtc_state *s = &rtc->state;
    uint8_t value = s->flags;
    if ((value & s->cmos[REGISTER_B] & FLAG_ANY) != 0)
        value |= C_INTERRUPT;
    s->flags = 0;
    update_line(rtc, now);
    return value;
}

static uint8_t read_cmos(struct rtc *rtc)
{
    struct rtc_state *s = &rtc->state;
    uint64_t now = host_now(rtc->host);
    catch_up(rtc, now);
    if (is_date(s->index) && clock_runs(s))
        store_date(s, now);
    switch (s->index) {
    case REGISTER_A:
        return read_a(s, now);
    case REGISTER_C:
        return read_c(rtc, now);
    case REGISTER_D:
        return D_VALID;
    default:
        return s->cmos[s->index];
    }
}

/* Registers A and B start and stop the clock: the date goes into the registers and comes back. */
static void write_control(struct rtc_state *s, uint8_t value, uint64_t now)
{
    bool ran = clock_runs(s);
    bool divided = divider_runs(s);
    if (ran)
        store_date(s, now);
    if (s->index == REGISTER_A) {
        s->cmos[REGISTER_A] = value & (uint8_t)~A_UPDATING;
        /* A divider let go begins its first second half done, MC146818A "Divider control". */
        if (!divided && divider_runs(s))
            s->base_ns = s->seen_ns = now - NS_PER_SECOND / 2;
    } else {
        s->cmos[REGISTER_B] = value;
        if ((value & B_SET) != 0)
            s->cmos[REGISTER_B] &= (uint8_t)~FLAG_UPDATE; /* SET clears UIE */
        if (ran && clock_runs(s))
            store_date(s, now); /* BCD or binary, 12 or 24 hours may have changed */
    }
    if (!ran && clock_runs(s))
        adopt_date(s, now);
}

static void write_cmos(struct rtc *rtc, uint8_t value)
{
    struct rtc_state *s = &rtc->state;
    uint64_t now = host_now(rtc->host);
    catch_up(rtc, now);
    if (s->index == REGISTER_C || s->index == REGISTER_D)
        return;
    if (s->index == REGISTER_A || s->index == REGISTER_B) {
        write_control(s, value, now);
    } else if (is_date(s->index) && clock_runs(s)) {
        store_date(s, now);
        s->cmos[s->index] = value;
        adopt_date(s, now);
    } else {
        s->cmos[s->index] = value;
    }
    update_line(rtc, now);
}

static uint8_t read_port(void *device, unsigned offset)
{
    return offset == 1 ? read_cmos(device) : 0xff; /* the index is write-only */
}

static void write_port(void *device, unsigned offset, uint8_t value)
{
    struct rtc *rtc = device;
    if (offset == 1)
        write_cmos(rtc, value);
    else
        rtc->state.index = value & (CMOS_SIZE - 1); /* bit 7 masks NMIs, of which there are none */
}

static uint64_t rtc_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_port);
}

static void rtc_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_port);
}

int rtc_attach(struct rtc *rtc, struct bus *bus)
{
    static const struct bus_ops ops = {rtc_read, rtc_write};
    return bus_attach_ports(bus, 0x70, 2, &ops, rtc);
}

static void store_16(struct rtc_state *s, unsigned index, uint64_t value)
{
    uint64_t kept = value > UINT16_MAX ? UINT16_MAX : value;
    s->cmos[index] = (uint8_t)kept;
    s->cmos[index + 1] = (uint8_t)(kept >> 8);
}

/* Where PC firmware leaves the memory's size: KiB below 1 MiB and above, 64 KiB above 16 MiB. */
static void store_memory_size(struct rtc *rtc)
{
    const uint64_t mib = UINT64_C(1) << 20;
    uint64_t size = rtc->memory_below_4g;
    uint64_t above_1m = size > mib ? size - mib : 0;
    uint64_t above_16m = size > 16 * mib ? size - 16 * mib : 0;
    store_16(&rtc->state, 0x15, size >= mib ? 640 : size / 1024);
    store_16(&rtc->state, 0x17, above_1m / 1024);
    store_16(&rtc->state, 0x30, above_1m / 1024);
    store_16(&rtc->state, 0x34, above_16m / 65536);
}

void rtc_reset(struct rtc *rtc)
{
    struct rtc_state *s = &rtc->state;
    uint64_t now = host_now(rtc->host);
    /* RESET clears the enables and the flags; memory and date are the battery's. */
    s->cmos[REGISTER_B] &= (uint8_t) ~(FLAG_ANY | B_SQUARE_WAVE);
    s->flags = 0;
    s->index = 0;
    s->seen_ns = now;
    store_memory_size(rtc);
    update_line(rtc, now);
}

int rtc_create(const struct chipset_host *host, const struct line *line, uint64_t memory_below_4g,
               struct rtc **ret)
{
    struct rtc *rtc = calloc(1, sizeof(*rtc));
    if (rtc == NULL)
        return -ENOMEM;
    rtc->host = host;
    rtc->line = *line;
    rtc->memory_below_4g = memory_below_4g;
    rtc->state.cmos[REGISTER_A] = A_POWER_ON;
    rtc->state.cmos[REGISTER_B] = B_HOURS24;
    rtc->state.base_s = (int64_t)host->wall_clock_s(host->owner);
    rtc->state.base_ns = host_now(host);
    rtc_reset(rtc);
    *ret = rtc;
    return 0;
}

void rtc_destroy(struct rtc *rtc)
{
    free(rtc);
}

/*
 * Saved is how far the guest's time is from the wall clock, and the phase of its second: a
 * partition that is loaded later shows the date of then, as if the clock had run on.
 */
static void visit_time(struct rtc *rtc, struct state_visitor *v, struct rtc_state *s)
{
    uint64_t now = host_now(rtc->host);
    int64_t wall = (int64_t)rtc->host->wall_clock_s(rtc->host->owner);
    uint64_t offset = (uint64_t)seconds_at(s, now) - (uint64_t)wall;
    uint32_t phase = (uint32_t)((now - s->base_ns) % NS_PER_SECOND);
    state_u64(v, "offset-seconds", &offset);
    state_u32(v, "phase", &phase);
    s->base_s = (int64_t)((uint64_t)wall + offset);
    s->base_ns = s->seen_ns = now;
    s->base_ns -= phase;
    /* Registers full of ones are the year 25755; leave them time to run on. */
    const int64_t limit = INT64_C(40000) * 366 * 86400;
    if (phase >= NS_PER_SECOND || s->base_s > limit || s->base_s < -limit)
        state_fail(v, -EINVAL);
}

int rtc_visit_state(struct rtc *rtc, struct state_visitor *v)
{
    struct rtc_state s = rtc->state;
    if (clock_runs(&s))
        store_date(&s, host_now(rtc->host));
    state_begin(v, "rtc", 1);
    state_u8(v, "index", &s.index);
    state_u8(v, "flags", &s.flags);
    state_bytes(v, "cmos", s.cmos, sizeof(s.cmos));
    visit_time(rtc, v, &s);
    if (s.index >= CMOS_SIZE || (s.flags & ~FLAG_ANY) != 0 ||
        (s.cmos[REGISTER_A] & A_UPDATING) != 0)
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error != 0)
        return error;
    if (state_is_load(v)) {
        rtc->state = s;
        update_line(rtc, host_now(rtc->host));
    }
    return 0;
}
