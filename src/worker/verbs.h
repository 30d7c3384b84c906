/* What a partition does when its manager asks: the verbs of the control socket. */
#ifndef WORKER_VERBS_H
#define WORKER_VERBS_H

#include "machine/machine.h"
#include "worker/cards.h"
#include "worker/copy.h"
#include "worker/disks.h"
#include "worker/memory.h"
#include "worker/serve.h"

/* The `owner` of the verbs, which lives as long as their server. Loop thread. */
struct verbs {
    struct machine *machine;
    struct disks *disks;
    const struct cards *cards;
    struct memory *memory;
    struct loop *loop;
    struct copy *copy; /* NULL: no file was copied yet */
    unsigned copy_id;
    const struct machine_config *config;
    uint64_t started_ns;        /* on CLOCK_MONOTONIC */
    void (*stop)(void *worker); /* end the partition at once */
    void *worker;
};

extern const struct serve_verbs worker_verbs;

/* ---- integration.c: the verbs of the integration services ---- */

void perform_integration(void *owner, const struct control_request *request,
                         struct serve_call *call);
void perform_integration_set(void *owner, const struct control_request *request,
                             struct serve_call *call);
void perform_shutdown(void *owner, const struct control_request *request, struct serve_call *call);
void perform_freeze(void *owner, const struct control_request *request, struct serve_call *call);
void perform_thaw(void *owner, const struct control_request *request, struct serve_call *call);
void perform_copy(void *owner, const struct control_request *request, struct serve_call *call);
void perform_copy_status(void *owner, const struct control_request *request,
                         struct serve_call *call);
void perform_copy_cancel(void *owner, const struct control_request *request,
                         struct serve_call *call);
/* As the guest's heartbeat has it; empty without one. */
void describe_heartbeat(const struct verbs *verbs, char *ret, size_t size);

/* ---- input.c: keyboard and mouse ---- */

void perform_keys(void *owner, const struct control_request *request, struct serve_call *call);
void perform_type(void *owner, const struct control_request *request, struct serve_call *call);
void perform_pointer(void *owner, const struct control_request *request, struct serve_call *call);

/* ---- pairs.c: key-value exchange ---- */

void perform_kvp(void *owner, const struct control_request *request, struct serve_call *call);
void perform_kvp_list(void *owner, const struct control_request *request, struct serve_call *call);
void perform_ip(void *owner, const struct control_request *request, struct serve_call *call);

#endif
