/*
 * I/O APIC, Intel 82093AA with the EOI register of version 0x20.
 *
 * Every input is "asserted" or not; the polarity bit of an entry is kept and reads back, but does
 * not turn the input round: ACPI tells the guest one polarity and the board would have wired it so.
 */
#ifndef CHIPSET_IOAPIC_H
#define CHIPSET_IOAPIC_H

#include "chipset/device.h"

enum { IOAPIC_PIN_COUNT = 24, IOAPIC_MMIO_SIZE = 0x1000 };

struct ioapic;

/* `host` must outlive the device; only its interrupt verb is used. */
int ioapic_create(const struct chipset_host *host, struct ioapic **ret);
void ioapic_destroy(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);
int ioapic_visit_state(struct ioapic *ioapic, struct state_visitor *visitor);
int ioapic_attach(struct ioapic *ioapic, struct bus *bus, uint64_t gpa);

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level);
/* A processor ended `vector`: what is still asserted is sent again. */
void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector);

#endif
