#include "chipset/pm.h"

#include <errno.h>
#include <stdlib.h>

enum {
    STATUS_TIMER = 0x0001,
    STATUS_POWER_BUTTON = 0x0100,
    /* Timer, bus master, global lock, both buttons, RTC, PCIe wake, wake: write 1 to clear. */
    STATUS_WRITABLE = 0xc731,
    ENABLE_WRITABLE = 0x4721,
    /* Status bits that raise the SCI when enabled. */
    STATUS_EVENTS = 0x0721,

    CONTROL_SCI_ENABLE = 0x0001,
    CONTROL_WRITABLE = 0x1c02, /* BM_RLD and SLP_TYP; SLP_EN and GBL_RLS read as 0 */
    CONTROL_SLEEP_TYPE_SHIFT = 10,
    CONTROL_SLEEP_TYPE_MASK = 7,
    CONTROL_SLEEP_ENABLE = 0x2000,

    EVENT_PORTS = 6, /* status, enable, control */
    TIMER_PORTS = 4,
};

_Static_assert(CHIPSET_PM1_CONTROL_PORT == CHIPSET_PM1_EVENT_PORT + 4, "one range of ports");

/* The carry is told when the highest bit changes, ACPI 6.3 § 4.8.2.1. */
#define CARRY_TICKS (UINT64_C(1) << 31)

/* A century: what a timer of a running partition cannot have counted, only a damaged state. */
#define LONGEST_RUN_NS (UINT64_C(100) * 366 * 86400 * NS_PER_SECOND)

struct pm {
    const struct chipset_host *host;
    struct line sci;
    uint16_t status, enable, control;
    uint64_t base_ns; /* when the timer was 0 */
    uint64_t carries; /* changes of the timer's highest bit already told */
};

static uint64_t timer_ticks(const struct pm *pm)
{
    return ticks_from_ns(host_now(pm->host) - pm->base_ns, PM_TIMER_HZ);
}

static void catch_up(struct pm *pm)
{
    uint64_t carries = timer_ticks(pm) / CARRY_TICKS;
    if (carries != pm->carries)
        pm->status |= STATUS_TIMER;
    pm->carries = carries;
}

static void update(struct pm *pm)
{
    line_set(&pm->sci, (pm->status & pm->enable & STATUS_EVENTS) != 0);
    uint64_t deadline = 0;
    if ((pm->enable & STATUS_TIMER) != 0 && (pm->status & STATUS_TIMER) == 0)
        deadline = pm->base_ns + ns_from_ticks((pm->carries + 1) * CARRY_TICKS, PM_TIMER_HZ);
    pm->host->set_timer(pm->host->owner, CHIPSET_TIMER_PM, deadline);
}

void pm_timer_expired(struct pm *pm)
{
    catch_up(pm);
    update(pm);
}

bool pm_press_power_button(struct pm *pm)
{
    if ((pm->enable & STATUS_POWER_BUTTON) == 0)
        return false;
    pm->status |= STATUS_POWER_BUTTON;
    update(pm);
    return true;
}

static uint8_t read_event(void *device, unsigned offset)
{
    struct pm *pm = device;
    catch_up(pm);
    const uint16_t value[EVENT_PORTS / 2] = {pm->status, pm->enable, pm->control};
    return (uint8_t)(value[offset / 2] >> 8 * (offset % 2));
}

static void write_control(struct pm *pm, uint16_t value, uint16_t lane)
{
    pm->control = (pm->control & ~lane) | (value & lane & CONTROL_WRITABLE);
    pm->control |= CONTROL_SCI_ENABLE;
    unsigned type = pm->control >> CONTROL_SLEEP_TYPE_SHIFT & CONTROL_SLEEP_TYPE_MASK;
    if ((value & lane & CONTROL_SLEEP_ENABLE) != 0 && type == CHIPSET_SLEEP_TYPE_S5)
        pm->host->power(pm->host->owner, CHIPSET_POWER_OFF, 0);
}

static void write_event(void *device, unsigned offset, uint8_t byte)
{
    struct pm *pm = device;
    unsigned shift = 8 * (offset % 2);
    uint16_t lane = (uint16_t)(0xff << shift);
    uint16_t value = (uint16_t)(byte << shift);
    catch_up(pm);
    switch (offset / 2) {
    case 0:
        pm->status &= (uint16_t) ~(value & STATUS_WRITABLE);
        break;
    case 1:
        pm->enable = (uint16_t)((pm->enable & ~lane) | (value & ENABLE_WRITABLE));
        break;
    default:
        write_control(pm, value, lane);
        break;
    }
    update(pm);
}

static uint64_t event_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_event);
}

static void event_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_event);
}

/* One look at the clock an access: bytes of different moments would be no number. */
static uint64_t timer_read(void *device, uint64_t offset, unsigned size)
{
    (void)size;
    return (uint32_t)timer_ticks(device) >> 8 * offset;
}

static void timer_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)device;
    (void)offset;
    (void)size;
    (void)value;
}

int pm_attach(struct pm *pm, struct bus *bus)
{
    static const struct bus_ops event = {event_read, event_write};
    static const struct bus_ops timer = {timer_read, timer_write};
    int error = bus_attach_ports(bus, CHIPSET_PM1_EVENT_PORT, EVENT_PORTS, &event, pm);
    return error != 0 ? error
                      : bus_attach_ports(bus, CHIPSET_PM_TIMER_PORT, TIMER_PORTS, &timer, pm);
}

void pm_reset(struct pm *pm)
{
    pm->status = pm->enable = 0;
    pm->control = CONTROL_SCI_ENABLE;
    pm->base_ns = host_now(pm->host);
    pm->carries = 0;
    update(pm);
}

int pm_create(const struct chipset_host *host, const struct line *sci, struct pm **ret)
{
    struct pm *pm = calloc(1, sizeof(*pm));
    if (pm == NULL)
        return -ENOMEM;
    pm->host = host;
    pm->sci = *sci;
    pm_reset(pm);
    *ret = pm;
    return 0;
}

void pm_destroy(struct pm *pm)
{
    free(pm);
}

int pm_visit_state(struct pm *pm, struct state_visitor *v)
{
    struct pm loaded = *pm;
    state_begin(v, "pm", 1);
    state_u16(v, "status", &loaded.status);
    state_u16(v, "enable", &loaded.enable);
    state_u16(v, "control", &loaded.control);
    state_moment(v, "timer", host_now(pm->host), &loaded.base_ns);
    if (host_now(pm->host) - loaded.base_ns > LONGEST_RUN_NS)
        state_fail(v, -EINVAL);
    if ((loaded.status & ~STATUS_WRITABLE) != 0 || (loaded.enable & ~ENABLE_WRITABLE) != 0 ||
        (loaded.control & ~CONTROL_WRITABLE) != CONTROL_SCI_ENABLE)
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error != 0)
        return error;
    *pm = loaded;
    pm->carries = timer_ticks(pm) / CARRY_TICKS; /* a carry that was due is in the status */
    update(pm);
    return 0;
}
