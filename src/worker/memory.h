/* A partition's dynamic memory: how much it is to have, decided anew with each of its reports. */
#ifndef WORKER_MEMORY_H
#define WORKER_MEMORY_H

#include <stdint.h>

#include "worker/worker.h"

struct memory;
struct control_request;

/* With a machine whose memory is fixed it has nothing to do. -ENOMEM. */
int memory_create(const struct worker_config *config, struct machine *machine, struct memory **ret);
/* Before the machine. NULL is accepted. */
void memory_destroy(struct memory *memory);
/* What a request names is set, all of it or nothing: -EINVAL, -EOPNOTSUPP, and a reason. */
int memory_set(struct memory *memory, const struct control_request *request, struct reason *reason);
/* Bytes that the guest has now. */
uint64_t memory_assigned(const struct memory *memory);
/* A JSON object, the caller's; NULL: out of memory. */
struct json_t *memory_describe(const struct memory *memory);

#endif
