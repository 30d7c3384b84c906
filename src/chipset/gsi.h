/*
 * Interrupt lines of the board: each GSI is the OR of its sources and goes to the I/O APIC and,
 * below 16, to the 8259 pair. The timer is input 0 of the 8259 and pin 2 of the I/O APIC (the
 * override that the MADT declares); GSI 2 itself is the cascade and has no line.
 */
#ifndef CHIPSET_GSI_H
#define CHIPSET_GSI_H

#include "chipset/device.h"
#include "chipset/ioapic.h"
#include "chipset/pic.h"

enum gsi_source { GSI_FROM_DEVICE, GSI_FROM_MACHINE, GSI_FROM_TEST, GSI_SOURCE_COUNT };

struct gsi_router {
    struct ioapic *ioapic;
    struct pic *pic;
    uint32_t asserted[GSI_SOURCE_COUNT]; /* a bit a GSI */
};

void gsi_set(struct gsi_router *router, enum gsi_source source, unsigned gsi, bool level);
void gsi_reset(struct gsi_router *router);
int gsi_visit_state(struct gsi_router *router, struct state_visitor *visitor);

/* For struct line: `owner` is the router, `pin` the GSI. */
void gsi_set_from_device(void *owner, unsigned pin, bool level);
void gsi_set_from_test(void *owner, unsigned pin, bool level);

#endif
