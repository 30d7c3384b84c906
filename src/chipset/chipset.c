/* Makes the devices, wires them, and passes on what concerns all of them. */
#include "chipset/chipset.h"

#include <errno.h>
#include <stdlib.h>

#include "chipset/debug_exit.h"
#include "chipset/gsi.h"
#include "chipset/ioapic.h"
#include "chipset/pci.h"
#include "chipset/pic.h"
#include "chipset/pit.h"
#include "chipset/pm.h"
#include "chipset/reset.h"
#include "chipset/rtc.h"
#include "chipset/test_devices.h"
#include "chipset/uart.h"

enum { GSI_PIT = 0, GSI_COM1 = 4, GSI_RTC = 8 };

struct chipset {
    struct chipset_config config;
    struct bus *bus;
    struct gsi_router gsi;
    struct ioapic *ioapic;
    struct pic *pic;
    struct pit *pit;
    struct rtc *rtc;
    struct pm *pm;
    struct uart *uart;
    struct pci *pci; /* NULL unless there is video memory */
    struct reset *reset;
    struct test_devices *test_devices; /* NULL unless asked for */
};

static uint64_t memory_below_4g(const struct mem *mem)
{
    uint64_t size = 0;
    for (size_t i = 0; i < mem_range_count(mem); i++) {
        struct mem_range range = mem_range_at(mem, i);
        if (range.gpa < UINT64_C(1) << 32)
            size += range.size;
    }
    return size;
}

static int create_controllers(struct chipset *c)
{
    int error = bus_create(&c->bus);
    if (error == 0)
        error = ioapic_create(&c->config.host, &c->ioapic);
    if (error == 0)
        error = pic_create(&c->config.host, &c->pic);
    c->gsi.ioapic = c->ioapic;
    c->gsi.pic = c->pic;
    return error;
}

static int create_devices(struct chipset *c)
{
    const struct chipset_host *host = &c->config.host;
    struct line line = {gsi_set_from_device, &c->gsi, GSI_PIT};
    int error = pit_create(host, &line, &c->pit);
    line.pin = GSI_COM1;
    if (error == 0)
        error = uart_create(host, &line, &c->uart);
    line.pin = GSI_RTC;
    if (error == 0)
        error = rtc_create(host, &line, memory_below_4g(c->config.mem), &c->rtc);
    line.pin = CHIPSET_SCI_GSI;
    if (error == 0)
        error = pm_create(host, &line, &c->pm);
    if (error == 0 && c->config.video_memory != 0)
        error = pci_create(CHIPSET_VIDEO_GPA, c->config.video_memory, &c->pci);
    if (error == 0)
        error = reset_create(host, c->pci, &c->reset);
    return error;
}

static int create_test_devices(struct chipset *c)
{
    struct test_devices_config config = {
        .lines = {gsi_set_from_test, &c->gsi, 0},
        .memory_size = mem_size(c->config.mem),
        .cpu_count = (uint16_t)c->config.cpu_count,
    };
    int error = test_devices_create(&config, &c->test_devices);
    return error != 0 ? error : test_devices_attach(c->test_devices, c->bus);
}

static int attach_devices(struct chipset *c)
{
    int error = ioapic_attach(c->ioapic, c->bus, CHIPSET_IOAPIC_GPA);
    if (error == 0)
        error = pic_attach(c->pic, c->bus);
    if (error == 0)
        error = pit_attach(c->pit, c->bus);
    if (error == 0)
        error = uart_attach(c->uart, c->bus, UART_COM1_PORT);
    if (error == 0)
        error = rtc_attach(c->rtc, c->bus);
    if (error == 0)
        error = pm_attach(c->pm, c->bus);
    if (error == 0)
        error = reset_attach(c->reset, c->bus);
    if (error == 0 && c->config.debug_exit)
        error = debug_exit_attach(&c->config.host, c->bus);
    return error;
}

int chipset_create(const struct chipset_config *config, struct chipset **ret)
{
    struct chipset *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    c->config = *config;
    int error = create_controllers(c);
    if (error == 0)
        error = create_devices(c);
    if (error == 0)
        error = attach_devices(c);
    if (error == 0 && config->test_devices)
        error = create_test_devices(c);
    if (error != 0) {
        chipset_destroy(c);
        return error;
    }
    *ret = c;
    return 0;
}

void chipset_destroy(struct chipset *c)
{
    if (c == NULL)
        return;
    test_devices_destroy(c->test_devices);
    reset_destroy(c->reset);
    pci_destroy(c->pci);
    pm_destroy(c->pm);
    rtc_destroy(c->rtc);
    uart_destroy(c->uart);
    pit_destroy(c->pit);
    pic_destroy(c->pic);
    ioapic_destroy(c->ioapic);
    bus_destroy(c->bus);
    free(c);
}

void chipset_reset(struct chipset *c)
{
    /* Controllers first: a device that lets its line go then interrupts nobody. */
    gsi_reset(&c->gsi);
    ioapic_reset(c->ioapic);
    pic_reset(c->pic);
    pit_reset(c->pit);
    uart_reset(c->uart);
    rtc_reset(c->rtc);
    pm_reset(c->pm);
    reset_reset(c->reset);
    if (c->pci != NULL)
        pci_reset(c->pci);
    if (c->test_devices != NULL)
        test_devices_reset(c->test_devices);
}

void chipset_set_up_as_bios(struct chipset *c)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } writes[] = {
        {0x43, 0x36}, {0x40, 0x00}, {0x40, 0x00},               /* square wave, 65536 */
        {0x20, 0x11}, {0x21, 0x08}, {0x21, 0x04}, {0x21, 0x01}, /* ICW1 to ICW4: no edge is kept */
        {0xa0, 0x11}, {0xa1, 0x70}, {0xa1, 0x02}, {0xa1, 0x01},
        {0x21, 0xb8}, {0xa1, 0x8f}, /* open: 0, 1, 2, 6, 12, 13, 14 */
    };
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        bus_port_write(c->bus, writes[i].port, 1, writes[i].value);
}

struct bus *chipset_bus(struct chipset *c)
{
    return c->bus;
}

void chipset_timer_expired(struct chipset *c, unsigned timer)
{
    switch (timer) {
    case CHIPSET_TIMER_PIT:
        pit_timer_expired(c->pit);
        break;
    case CHIPSET_TIMER_RTC:
        rtc_timer_expired(c->rtc);
        break;
    case CHIPSET_TIMER_PM:
        pm_timer_expired(c->pm);
        break;
    case CHIPSET_TIMER_UART:
        uart_timer_expired(c->uart);
        break;
    default:
        break;
    }
}

static int visit_all(struct chipset *c, struct state_visitor *v)
{
    int error = gsi_visit_state(&c->gsi, v);
    if (error == 0)
        error = ioapic_visit_state(c->ioapic, v);
    if (error == 0)
        error = pic_visit_state(c->pic, v);
    if (error == 0)
        error = pit_visit_state(c->pit, v);
    if (error == 0)
        error = uart_visit_state(c->uart, v);
    if (error == 0)
        error = rtc_visit_state(c->rtc, v);
    if (error == 0)
        error = pm_visit_state(c->pm, v);
    if (error == 0)
        error = reset_visit_state(c->reset, v);
    if (error == 0 && c->pci != NULL)
        error = pci_visit_state(c->pci, v);
    if (error == 0 && c->test_devices != NULL)
        error = test_devices_visit_state(c->test_devices, v);
    return error;
}

int chipset_visit_state(struct chipset *c, struct state_visitor *v)
{
    if (!state_is_load(v)) {
        for (unsigned timer = 0; timer < CHIPSET_TIMER_COUNT; timer++)
            chipset_timer_expired(c, timer);
    }
    int error = visit_all(c, v);
    if (error != 0 && state_is_load(v))
        chipset_reset(c); /* half of one state and half of another would be neither */
    return error;
}

void chipset_set_gsi(struct chipset *c, unsigned gsi, bool level)
{
    gsi_set(&c->gsi, GSI_FROM_MACHINE, gsi, level);
}

uint8_t chipset_acknowledge_extint(struct chipset *c)
{
    return pic_acknowledge(c->pic);
}

void chipset_end_of_interrupt(struct chipset *c, uint8_t vector)
{
    ioapic_end_of_interrupt(c->ioapic, vector);
}

size_t chipset_serial_input(struct chipset *c, const uint8_t *bytes, size_t length)
{
    return uart_input(c->uart, bytes, length);
}

size_t chipset_serial_room(const struct chipset *c)
{
    return uart_room(c->uart);
}

bool chipset_press_power_button(struct chipset *c)
{
    return pm_press_power_button(c->pm);
}
