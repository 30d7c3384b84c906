/*
 * The chipset of one partition: what a PC's kernel expects beside processors and memory.
 * chipset_create makes the devices, wires their interrupt lines and attaches them to the bus.
 *
 * Every function is called with the machine's chipset lock held (bus.h, invariant 2); callbacks in
 * chipset_host are made with it held and must not take it.
 */
#ifndef CHIPSET_CHIPSET_H
#define CHIPSET_CHIPSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chipset/bus.h"
#include "mem/mem.h"

struct chipset;
struct state_visitor;

enum chipset_power {
    CHIPSET_POWER_OFF,
    CHIPSET_POWER_RESET,
    CHIPSET_POWER_DEBUG_EXIT, /* port 0xf4 was written; code = (value << 1) | 1 */
};

/* An interrupt message as the IOAPIC sends it; same meaning as an MSI. */
struct chipset_interrupt {
    uint32_t destination;
    bool logical;
    bool level;
    uint8_t delivery_mode;
    uint8_t vector;
};

enum { CHIPSET_TIMER_COUNT = 4, CHIPSET_GSI_COUNT = 24 };

/* Fixed addresses of the machine, used by chipset and ACPI tables alike. */
enum {
    CHIPSET_PM1_EVENT_PORT = 0x600,   /* 4 bytes: status, enable */
    CHIPSET_PM1_CONTROL_PORT = 0x604, /* 2 bytes */
    CHIPSET_PM_TIMER_PORT = 0x608,    /* 4 bytes, 3.579545 MHz, 32 bits wide */
    CHIPSET_RESET_PORT = 0xcf9,       /* write 6 */
    CHIPSET_SCI_GSI = 9,
    CHIPSET_SLEEP_TYPE_S5 = 5,
};
#define CHIPSET_IOAPIC_GPA UINT64_C(0xfec00000)
#define CHIPSET_VIDEO_GPA  UINT64_C(0xf8000000) /* as Hyper-V has it */
#define CHIPSET_VIDEO_MOST UINT64_C(0x4000000)  /* the window that the ACPI tables tell of */

/* What the chipset asks of its surroundings. `owner` is passed back. */
struct chipset_host {
    void *owner;
    void (*interrupt)(void *owner, const struct chipset_interrupt *message);
    /* INTR of the 8259 pair changed. */
    void (*extint)(void *owner, bool asserted);
    void (*power)(void *owner, enum chipset_power kind, uint32_t code);
    /* Bytes of the UART for the outside. Never blocks. */
    void (*serial_output)(void *owner, const uint8_t *bytes, size_t length);
    /* Ask for chipset_timer_expired(timer) at `deadline_ns` of now_ns; 0 = never mind. */
    void (*set_timer)(void *owner, unsigned timer, uint64_t deadline_ns);
    uint64_t (*now_ns)(void *owner);       /* monotonic */
    uint64_t (*wall_clock_s)(void *owner); /* seconds since 1970, UTC */
};

struct chipset_config {
    struct chipset_host host;
    struct mem *mem;
    unsigned cpu_count;
    /* Bytes of memory at CHIPSET_VIDEO_GPA, a power of two: a PCI device has it. 0: no PCI. */
    uint64_t video_memory;
    bool debug_exit;   /* port 0xf4 */
    bool test_devices; /* what bare-metal test images expect; never by default */
};

int chipset_create(const struct chipset_config *config, struct chipset **ret);
void chipset_destroy(struct chipset *chipset);
/* Power-on state of all devices. */
void chipset_reset(struct chipset *chipset);
/* As a BIOS leaves it: vectors 08h and 70h of the 8259 pair, and the timer ticking at 18.2 Hz. */
void chipset_set_up_as_bios(struct chipset *chipset);
int chipset_visit_state(struct chipset *chipset, struct state_visitor *visitor);

struct bus *chipset_bus(struct chipset *chipset);
void chipset_timer_expired(struct chipset *chipset, unsigned timer);

/* Set the level of an interrupt line; goes to the IOAPIC and, below 16, to the 8259 pair. */
void chipset_set_gsi(struct chipset *chipset, unsigned gsi, bool level);
/* INTA cycle: the vector of the 8259 pair; the spurious one when nothing is pending. */
uint8_t chipset_acknowledge_extint(struct chipset *chipset);
/* A processor ended level-triggered interrupt `vector`. */
void chipset_end_of_interrupt(struct chipset *chipset, uint8_t vector);

/* Bytes from the outside into the UART: how many it takes now (0 while its FIFO is full). */
size_t chipset_serial_input(struct chipset *chipset, const uint8_t *bytes, size_t length);
/* Room in the UART's receive FIFO. */
size_t chipset_serial_room(const struct chipset *chipset);
/* ACPI power button: raises the SCI; false while the guest has not enabled it. */
bool chipset_press_power_button(struct chipset *chipset);

#endif
