/*
 * ACPI fixed hardware (ACPI 6.3 § 4.8): PM1 event and control registers with power button and soft
 * off, and the 32-bit power management timer. The machine has no legacy mode: SCI_EN is always set.
 */
#ifndef CHIPSET_PM_H
#define CHIPSET_PM_H

#include "chipset/device.h"

enum { PM_TIMER_HZ = 3579545 };

struct pm;

/* `host` must outlive the device; its clock, power verb and CHIPSET_TIMER_PM are used. */
int pm_create(const struct chipset_host *host, const struct line *sci, struct pm **ret);
void pm_destroy(struct pm *pm);
void pm_reset(struct pm *pm);
int pm_visit_state(struct pm *pm, struct state_visitor *visitor);
int pm_attach(struct pm *pm, struct bus *bus);
void pm_timer_expired(struct pm *pm);

/* False while the guest has not enabled the button. */
bool pm_press_power_button(struct pm *pm);

#endif
