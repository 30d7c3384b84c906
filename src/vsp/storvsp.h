/*
 * Storage service: one SCSI controller on VMBus, the host's side of storvsc.
 *
 * Threads: the loop's. Disks and targets stay the caller's; a target may be taken away while the
 * guest runs (storvsp_remove), which ends its commands first.
 */
#ifndef VSP_STORVSP_H
#define VSP_STORVSP_H

#include "base/reason.h"
#include "mem/mem.h"
#include "scsi/scsi.h"
#include "vmbus/vmbus.h"

struct storvsp;

enum { STORVSP_MAX_LUNS = 64, STORVSP_MAX_CONTROLLERS = 4 };

struct storvsp_config {
    struct vmbus *vmbus;
    struct mem *mem;
    unsigned controller;      /* 0 to 3: part of the instance id, so it lasts over restarts */
    unsigned max_subchannels; /* offered to the guest; 0 to vp_count - 1 */
};

int storvsp_create(const struct storvsp_config *config, struct storvsp **ret,
                   struct reason *reason);
/* The guest's channels are withdrawn; commands in flight end first. NULL is accepted. */
void storvsp_destroy(struct storvsp *storvsp);
/* Plug in while off or running; the guest is told (ENUMERATE_BUS). -EEXIST, -EINVAL. */
int storvsp_add(struct storvsp *storvsp, unsigned lun, struct scsi_target *target);
/* Take it away: `removed` is called once no command uses the target. -ENOENT. */
int storvsp_remove(struct storvsp *storvsp, unsigned lun,
                   void (*removed)(void *owner, struct scsi_target *target), void *owner);
int storvsp_visit_state(struct storvsp *storvsp, struct state_visitor *visitor);

#endif
