/*
 * Intel 8254 timer at ports 0x40 to 0x43, and the port 0x61 that holds counter 2's gate and output.
 *
 * Counter 0 drives the line. The line falls and rises at each rising edge of the output, and is
 * otherwise high where the output may be low for a moment (modes 2 to 5): only its edges count.
 */
#ifndef CHIPSET_PIT_H
#define CHIPSET_PIT_H

#include "chipset/device.h"

struct pit;

/* `host` must outlive the device; its clock and CHIPSET_TIMER_PIT are used. */
int pit_create(const struct chipset_host *host, const struct line *line, struct pit **ret);
void pit_destroy(struct pit *pit);
void pit_reset(struct pit *pit);
int pit_visit_state(struct pit *pit, struct state_visitor *visitor);
int pit_attach(struct pit *pit, struct bus *bus);
void pit_timer_expired(struct pit *pit);

#endif
