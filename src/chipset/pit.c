/* Counters by the 8254 datasheet (Intel 231164), port 0x61 by the 82371AB datasheet § 4.2.5. */
#include "chipset/pit.h"

#include <errno.h>
#include <stdlib.h>

#include "chipset/pit_counter.h"

enum {
    COUNTERS = 3,
    SPEAKER_COUNTER = 2,
    CONTROL_OFFSET = 3,
    READ_BACK = 3, /* bits 7 and 6 of the control word */

    SPEAKER_GATE = 0x01,
    SPEAKER_WRITABLE = 0x0f,
    SPEAKER_REFRESH = 0x10,
    SPEAKER_OUTPUT = 0x20,

    REFRESH_NS = 15085, /* one refresh of DRAM: 18 ticks */
    /* A guest may ask for an interrupt every two ticks; the host does not work that for it. */
    SHORTEST_PERIOD_NS = 100000,
};

struct pit {
    const struct chipset_host *host;
    struct line line;
    struct pit_counter counter[COUNTERS];
    uint8_t speaker;
    uint64_t event; /* counter 0's next, in ticks */
    bool event_rises;
    uint64_t edge_ns; /* when the last edge was driven */
};

static uint64_t now_ticks(const struct pit *pit)
{
    return ticks_from_ns(host_now(pit->host), PIT_HZ);
}

static void arm(struct pit *pit)
{
    pit->event = pit_counter_next_event(&pit->counter[0], now_ticks(pit), &pit->event_rises);
    uint64_t deadline = 0;
    if (pit->event != PIT_NEVER) {
        deadline = ns_from_ticks(pit->event, PIT_HZ);
        uint64_t earliest = pit->edge_ns + SHORTEST_PERIOD_NS;
        if (pit->edge_ns != 0 && deadline < earliest)
            deadline = earliest;
    }
    pit->host->set_timer(pit->host->owner, CHIPSET_TIMER_PIT, deadline);
}

/* Drive the edge that is due. Edges that the host was too late for are one edge. */
static void catch_up(struct pit *pit)
{
    if (pit->event == PIT_NEVER || now_ticks(pit) < pit->event)
        return;
    if (pit->event_rises) {
        line_set(&pit->line, false);
        line_set(&pit->line, true);
        pit->edge_ns = host_now(pit->host);
    }
    pit->event = PIT_NEVER;
}

static void drive_level(struct pit *pit)
{
    bool output = pit_counter_output(&pit->counter[0], now_ticks(pit));
    line_set(&pit->line, output || pit->counter[0].mode >= 2);
}

void pit_timer_expired(struct pit *pit)
{
    catch_up(pit);
    arm(pit);
}

static void read_back(struct pit *pit, uint8_t command)
{
    uint64_t now = now_ticks(pit);
    for (unsigned i = 0; i < COUNTERS; i++) {
        if ((command >> (i + 1) & 1) == 0)
            continue;
        if ((command & 0x20) == 0)
            pit_counter_latch_count(&pit->counter[i], now);
        if ((command & 0x10) == 0)
            pit_counter_latch_status(&pit->counter[i], now);
    }
}

static void write_control(struct pit *pit, uint8_t value)
{
    unsigned number = value >> 6;
    if (number == READ_BACK)
        read_back(pit, value);
    else if ((value >> 4 & 3) == 0)
        pit_counter_latch_count(&pit->counter[number], now_ticks(pit));
    else
        pit_counter_control(&pit->counter[number], value);
}

static uint8_t read_port(void *device, unsigned offset)
{
    struct pit *pit = device;
    if (offset == CONTROL_OFFSET)
        return 0xff; /* write-only */
    return pit_counter_read(&pit->counter[offset], now_ticks(pit));
}

static void write_port(void *device, unsigned offset, uint8_t value)
{
    struct pit *pit = device;
    catch_up(pit);
    if (offset == CONTROL_OFFSET)
        write_control(pit, value);
    else
        pit_counter_write(&pit->counter[offset], now_ticks(pit), value);
    drive_level(pit);
    arm(pit);
}

static uint8_t read_speaker(void *device, unsigned offset)
{
    struct pit *pit = device;
    (void)offset;
    uint8_t value = pit->speaker;
    if ((host_now(pit->host) / REFRESH_NS & 1) != 0)
        value |= SPEAKER_REFRESH;
    if (pit_counter_output(&pit->counter[SPEAKER_COUNTER], now_ticks(pit)))
        value |= SPEAKER_OUTPUT;
    return value;
}

static void write_speaker(void *device, unsigned offset, uint8_t value)
{
    struct pit *pit = device;
    (void)offset;
    pit->speaker = value & SPEAKER_WRITABLE;
    pit_counter_set_gate(&pit->counter[SPEAKER_COUNTER], now_ticks(pit),
                         (value & SPEAKER_GATE) != 0);
}

static uint64_t pit_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_port);
}

static void pit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_port);
}

static uint64_t speaker_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_speaker);
}

static void speaker_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_speaker);
}

int pit_attach(struct pit *pit, struct bus *bus)
{
    static const struct bus_ops counters = {pit_read, pit_write};
    static const struct bus_ops speaker = {speaker_read, speaker_write};
    int error = bus_attach_ports(bus, 0x40, 4, &counters, pit);
    return error != 0 ? error : bus_attach_ports(bus, 0x61, 1, &speaker, pit);
}

void pit_reset(struct pit *pit)
{
    for (unsigned i = 0; i < COUNTERS; i++) {
        pit->counter[i].gate = i != SPEAKER_COUNTER;
        pit_counter_reset(&pit->counter[i]);
    }
    pit->speaker = 0;
    pit->edge_ns = 0;
    drive_level(pit);
    arm(pit);
}

int pit_create(const struct chipset_host *host, const struct line *line, struct pit **ret)
{
    struct pit *pit = calloc(1, sizeof(*pit));
    if (pit == NULL)
        return -ENOMEM;
    pit->host = host;
    pit->line = *line;
    pit_reset(pit);
    *ret = pit;
    return 0;
}

void pit_destroy(struct pit *pit)
{
    free(pit);
}

int pit_visit_state(struct pit *pit, struct state_visitor *v)
{
    uint8_t speaker = pit->speaker;
    state_begin(v, "pit-speaker", 1);
    state_u8(v, "control", &speaker);
    if ((speaker & ~SPEAKER_WRITABLE) != 0)
        state_fail(v, -EINVAL);
    int error = state_end(v);
    for (unsigned i = 0; i < COUNTERS && error == 0; i++)
        error = pit_counter_visit(&pit->counter[i], v, i, now_ticks(pit));
    if (error == 0) {
        pit->speaker = speaker;
        arm(pit);
    }
    return error;
}
