/* Options of memory: their values, and what they say together. */
#ifndef CLI_MEMORY_OPTION_H
#define CLI_MEMORY_OPTION_H

#include "base/reason.h"
#include "worker/worker.h"

/* A multiple of 1 MiB that this host could give; -EINVAL, or -ERANGE: it could not; and why. */
int memory_option_size(const char *value, uint64_t *ret, struct reason *reason);
/* -EINVAL, and why. */
int memory_option_buffer(const char *value, unsigned *ret, struct reason *reason);
int memory_option_weight(const char *value, unsigned *ret, struct reason *reason);
/*
 * What was not given, after all options; 0 is not given. Memory is dynamic when a minimum or a
 * maximum is. -EINVAL, and why.
 */
int memory_option_complete(struct worker_config *config, struct reason *reason);

#endif
