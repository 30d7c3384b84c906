/*
 * ACPI 6.3 tables for a partition: RSDP (revision 2) in 0xE0000–0xFFFFF, XSDT, FADT, FACS, MADT and
 * a DSDT that offers _S5 and no _S4, the serial port, the RTC and the processors' bus; and, if it
 * is wanted, a table with the device of VMBus, and one with a PCI bus.
 */
#ifndef FIRMWARE_ACPI_H
#define FIRMWARE_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/reason.h"
#include "mem/mem.h"

struct acpi_config {
    unsigned cpu_count;
    uint64_t ioapic_gpa;
    uint16_t pm1_event_port, pm1_control_port, pm_timer_port, reset_port;
    uint8_t reset_value;
    uint8_t sci_gsi;
    bool vmbus, pci; /* pci: a root bridge, whose window is at 0xf8000000 */
};

int acpi_build(struct mem *mem, const struct acpi_config *config, uint64_t *ret_rsdp_gpa,
               struct reason *reason);

#endif
