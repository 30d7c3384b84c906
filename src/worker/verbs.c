#include "worker/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

static void perform_status(void *owner, const struct control_request *request,
                           struct serve_call *call)
{
    const struct verbs *verbs = owner;
    const struct machine_config *config = verbs->config;
    struct control_reply reply = {
        .kind = CONTROL_REPLY_STATUS,
        .status =
            {
                .state = "running",
                .pid = (uint64_t)getpid(),
                .uptime_ns = clock_monotonic_ns() - verbs->started_ns,
                .memory = config->memory_size,
                .assigned = memory_assigned(verbs->memory),
                .cpus = config->vcpu_count,
            },
    };

    struct machine_bus bus;

    (void)request;
    (void)snprintf(reply.status.engine, sizeof(reply.status.engine), "%s", config->engine->name);
    machine_describe_bus(verbs->machine, &bus);
    if (bus.major != 0)
        (void)snprintf(reply.status.vmbus, sizeof(reply.status.vmbus), "%u.%u", bus.major,
                       bus.minor);
    reply.status.channels = bus.open_channels;
    cards_describe(verbs->cards, verbs->machine, &reply.status);
    describe_heartbeat(verbs, reply.status.heartbeat, sizeof(reply.status.heartbeat));
    int error = disks_describe(verbs->disks, &reply.status);
    if (error == 0)
        serve_answer(call, &reply);
    else
        serve_refuse(call, error, "out of memory");
    control_reply_release(&reply);
}

/* ---- disks ---- */

static void perform_attach(void *owner, const struct control_request *request,
                           struct serve_call *call)
{
    const struct verbs *verbs = owner;
    const struct worker_disk disk = {
        .path = request->path[0] != '\0' ? request->path : NULL,
        .read_only = request->read_only,
        .dvd = request->dvd,
        .placed = request->placed,
        .controller = request->controller,
        .lun = request->lun,
    };
    struct control_reply reply = {.kind = CONTROL_REPLY_PLACE};

    reply.error = disks_attach(verbs->disks, &disk, &reply.controller, &reply.lun, &reply.reason);
    serve_answer(call, &reply);
}

static void order_ended(void *owner, int error, const struct reason *reason)
{
    struct serve_call *call = owner;

    if (error < 0)
        serve_refuse(call, error, "%s", reason->text);
    else
        serve_confirm(call);
}

static void perform_detach(void *owner, const struct control_request *request,
                           struct serve_call *call)
{
    const struct verbs *verbs = owner;
    const struct disks_answer answer = {order_ended, call};

    disks_detach(verbs->disks, request->controller, request->lun, &answer);
}

static void perform_insert(void *owner, const struct control_request *request,
                           struct serve_call *call)
{
    const struct verbs *verbs = owner;
    const struct disks_answer answer = {order_ended, call};

    disks_change_disc(verbs->disks, request->controller, request->lun, request->path, &answer);
}

static void perform_eject(void *owner, const struct control_request *request,
                          struct serve_call *call)
{
    const struct verbs *verbs = owner;
    const struct disks_answer answer = {order_ended, call};

    disks_change_disc(verbs->disks, request->controller, request->lun, NULL, &answer);
}

/* ---- cards ---- */

static void perform_link(void *owner, const struct control_request *request,
                         struct serve_call *call)
{
    const struct verbs *verbs = owner;

    if (machine_set_card_link(verbs->machine, request->card, request->up) < 0)
        serve_refuse(call, -ENOENT, "no network card %u", request->card);
    else
        serve_confirm(call);
}

/* ---- memory ---- */

static void perform_memory(void *owner, const struct control_request *request,
                           struct serve_call *call)
{
    const struct verbs *verbs = owner;
    struct control_reply reply = {.kind = CONTROL_REPLY_RESULT,
                                  .result = memory_describe(verbs->memory)};

    (void)request;
    if (reply.result == NULL)
        serve_refuse(call, -ENOMEM, "out of memory");
    else
        serve_answer(call, &reply);
    control_reply_release(&reply);
}

static void perform_memory_set(void *owner, const struct control_request *request,
                               struct serve_call *call)
{
    const struct verbs *verbs = owner;
    struct reason reason = {""};

    order_ended(call, memory_set(verbs->memory, request, &reason), &reason);
}

/* ---- power ---- */

static void perform_power_button(void *owner, const struct control_request *request,
                                 struct serve_call *call)
{
    const struct verbs *verbs = owner;

    (void)request;
    if (machine_press_power_button(verbs->machine))
        serve_confirm(call);
    else
        serve_refuse(call, -EAGAIN, "the guest does not listen to its power button");
}

static void perform_stop(void *owner, const struct control_request *request,
                         struct serve_call *call)
{
    const struct verbs *verbs = owner;

    (void)request;
    serve_confirm(call);
    verbs->stop(verbs->worker);
}

const struct serve_verbs worker_verbs = {
    .perform =
        {
            [CONTROL_STATUS] = perform_status,
            [CONTROL_ATTACH] = perform_attach,
            [CONTROL_DETACH] = perform_detach,
            [CONTROL_INSERT] = perform_insert,
            [CONTROL_EJECT] = perform_eject,
            [CONTROL_LINK] = perform_link,
            [CONTROL_POWER_BUTTON] = perform_power_button,
            [CONTROL_STOP] = perform_stop,
            [CONTROL_INTEGRATION] = perform_integration,
            [CONTROL_INTEGRATION_SET] = perform_integration_set,
            [CONTROL_SHUTDOWN] = perform_shutdown,
            [CONTROL_KVP_GET] = perform_kvp,
            [CONTROL_KVP_SET] = perform_kvp,
            [CONTROL_KVP_DELETE] = perform_kvp,
            [CONTROL_KVP_LIST] = perform_kvp_list,
            [CONTROL_IP_GET] = perform_ip,
            [CONTROL_IP_SET] = perform_ip,
            [CONTROL_FREEZE] = perform_freeze,
            [CONTROL_THAW] = perform_thaw,
            [CONTROL_COPY] = perform_copy,
            [CONTROL_COPY_STATUS] = perform_copy_status,
            [CONTROL_COPY_CANCEL] = perform_copy_cancel,
            [CONTROL_MEMORY] = perform_memory,
            [CONTROL_MEMORY_SET] = perform_memory_set,
            [CONTROL_KEYS] = perform_keys,
            [CONTROL_TYPE] = perform_type,
            [CONTROL_POINTER] = perform_pointer,
        },
};
