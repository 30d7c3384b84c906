/* Bytes from a descriptor to the guest, at the pace at which the guest takes them. Loop thread. */
#ifndef WORKER_SERIAL_INPUT_H
#define WORKER_SERIAL_INPUT_H

#include <stdbool.h>

#include "base/loop.h"
#include "worker/serial.h"

struct serial_input;

/* `terminal`: ^] is watched for, even while the guest takes nothing. The descriptor stays yours. */
int serial_input_create(struct loop *loop, int fd, bool terminal, const struct serial_host *host,
                        struct serial_input **ret);
/* The guest has room again; any thread. */
void serial_input_ready(struct serial_input *input);
void serial_input_destroy(struct serial_input *input);

#endif
