/*
 * The ways a PC is restarted without ACPI: port 0xcf9, port 0x92, and the 8042 of a machine that
 * has no keyboard.
 */
#ifndef CHIPSET_RESET_H
#define CHIPSET_RESET_H

#include "chipset/device.h"

struct reset;

/* `host` must outlive the device; only its power verb is used. */
int reset_create(const struct chipset_host *host, struct reset **ret);
void reset_destroy(struct reset *reset);
void reset_reset(struct reset *reset);
int reset_visit_state(struct reset *reset, struct state_visitor *visitor);
int reset_attach(struct reset *reset, struct bus *bus);

#endif
