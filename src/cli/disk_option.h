/* The value of --disk and --dvd: "FILE[,ro][,at=CONTROLLER:LUN][,serial=TEXT]". */
#ifndef CLI_DISK_OPTION_H
#define CLI_DISK_OPTION_H

#include "worker/worker.h"

/*
 * Cut `words`, which must outlive `ret`, at its commas and fill `ret`. False with `reason` filled:
 * what is wrong with it.
 */
bool disk_option_parse(char *words, bool dvd, struct worker_disk *ret, struct reason *reason);

#endif
