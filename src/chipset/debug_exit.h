/* Port 0xf4: a write ends the machine with code (value << 1) | 1. Never there unless asked for. */
#ifndef CHIPSET_DEBUG_EXIT_H
#define CHIPSET_DEBUG_EXIT_H

#include "chipset/device.h"

/* Has no state. `host` must outlive the bus; only its power verb is used. */
int debug_exit_attach(struct chipset_host *host, struct bus *bus);

#endif
