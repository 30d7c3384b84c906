/*
 * Storage service: one SCSI controller on VMBus, the host's side of storvsc.
 *
 * Threads: the loop's. Disks and targets stay the caller's; a target may be taken away while the
 * guest runs (storvsp_remove), which ends its commands first.
 * A disk may hold on to commands of a guest that closed the channel or was reset; their answers are
 * dropped when they end, but until then they may still write into guest memory. Whoever resets or
 * saves a machine therefore pauses first.
 */
#ifndef VSP_STORVSP_H
#define VSP_STORVSP_H

#include "base/reason.h"
#include "mem/mem.h"
#include "scsi/scsi.h"
#include "vmbus/vmbus.h"

struct storvsp;

enum { STORVSP_MAX_LUNS = 64, STORVSP_MAX_CONTROLLERS = 4, STORVSP_MAX_SUBCHANNELS = 63 };

struct storvsp_config {
    struct vmbus *vmbus;
    struct mem *mem;
    unsigned controller;      /* 0 to 3: part of the instance id, so it lasts over restarts */
    unsigned max_subchannels; /* offered to the guest; 0 to vp_count - 1 */
};

/* -EINVAL, -ENOMEM, or what vmbus_offer said. */
int storvsp_create(const struct storvsp_config *config, struct storvsp **ret,
                   struct reason *reason);
/*
 * The guest's channels are withdrawn, and targets are not used any more but by commands that are in
 * flight: pause first, or the disks must end them before targets and disks go. NULL is accepted.
 */
void storvsp_destroy(struct storvsp *storvsp);
/*
 * Plug in while off or running; the guest is told (ENUMERATE_BUS). -EEXIST: taken, or what was
 * removed there has still commands in flight; -EINVAL.
 */
int storvsp_add(struct storvsp *storvsp, unsigned lun, struct scsi_target *target);
/* Take it away: `removed` is called once no command uses the target, perhaps at once. -ENOENT. */
int storvsp_remove(struct storvsp *storvsp, unsigned lun,
                   void (*removed)(void *owner, struct scsi_target *target), void *owner);
/*
 * Take no more packets of the guest; `paused` is called once no command is in flight, perhaps at
 * once. Resume also takes back a pause that has not come about.
 */
void storvsp_pause(struct storvsp *storvsp, void (*paused)(void *owner), void *owner);
void storvsp_resume(struct storvsp *storvsp);
/*
 * While paused. To load, before the VMBus state is loaded and with the same targets added: the
 * sub-channels that the guest had are offered, and channels that VMBus opens then go on.
 */
int storvsp_visit_state(struct storvsp *storvsp, struct state_visitor *visitor);

#endif
