/*
 * The ways a PC is restarted without ACPI: port 0xcf9, port 0x92, and the 8042 of a machine that
 * has no keyboard.
 */
#ifndef CHIPSET_RESET_H
#define CHIPSET_RESET_H

#include "chipset/device.h"
#include "chipset/pci.h"

struct reset;

/*
 * `host` must outlive the device; only its power verb is used. So must `pci`, whose ports lie
 * around 0xcf9; NULL: nobody answers there.
 */
int reset_create(const struct chipset_host *host, struct pci *pci, struct reset **ret);
void reset_destroy(struct reset *reset);
void reset_reset(struct reset *reset);
int reset_visit_state(struct reset *reset, struct state_visitor *visitor);
int reset_attach(struct reset *reset, struct bus *bus);

#endif
