/* The verbs of the integration services, but those of the key-value exchange (verbs.h). */
#include "vsp/integration.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "worker/verbs.h"

/* NULL: refused, for a partition without Hyper-V. */
static struct integration *find_services(const struct verbs *verbs, struct serve_call *call)
{
    struct integration *services = machine_integration(verbs->machine);

    if (services == NULL)
        serve_refuse(call, -EOPNOTSUPP, "a partition without Hyper-V has no integration services");
    return services;
}

static void answer_with(struct serve_call *call, json_t *result)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_RESULT, .result = result};

    if (result == NULL)
        serve_refuse(call, -ENOMEM, "out of memory");
    else
        serve_answer(call, &reply);
    control_reply_release(&reply);
}

/* For what answers by an error and why, or by nothing. */
static void order_ended(void *owner, int error, const struct reason *reason)
{
    struct serve_call *call = owner;

    if (error < 0)
        serve_refuse(call, error, "%s", reason->text);
    else
        serve_confirm(call);
}

/* ---- report ---- */

static json_t *version_text(uint32_t version)
{
    return version != 0 ? json_sprintf("%u.%u", version >> 16, version & 0xffff) : json_null();
}

static json_t *service_object(const struct ic_report *report)
{
    json_t *contact = report->contact_ns != UINT64_MAX
                          ? json_integer((json_int_t)report->contact_ns)
                          : json_null();
    return json_pack("{s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:s}", "service",
                     report->name, "enabled", (int)report->enabled, "state",
                     ic_state_name(report->state), "framework", version_text(report->framework),
                     "version", version_text(report->version), "newest",
                     version_text(report->newest), "contact_ns", contact, "requests",
                     (json_int_t)report->requests, "answers", (json_int_t)report->answers,
                     "silences", (json_int_t)report->silences, "oddities",
                     (json_int_t)report->oddities, "advice", report->advice);
}

void perform_integration(void *owner, const struct control_request *request,
                         struct serve_call *call)
{
    const struct integration *services = find_services(owner, call);

    (void)request;
    if (services == NULL)
        return;
    json_t *array = json_array();
    for (unsigned i = 0; i < INTEGRATION_COUNT; i++) {
        struct ic_report report;
        ic_describe(services->ic[i], &report);
        (void)json_array_append_new(array, service_object(&report));
    }
    answer_with(call, array);
}

void describe_heartbeat(const struct verbs *verbs, char *ret, size_t size)
{
    const struct integration *services = machine_integration(verbs->machine);
    struct ic_report report;

    ret[0] = '\0';
    if (services == NULL)
        return;
    ic_describe(services->ic[INTEGRATION_HEARTBEAT], &report);
    (void)snprintf(ret, size, "%s", ic_state_name(report.state));
}

void perform_integration_set(void *owner, const struct control_request *request,
                             struct serve_call *call)
{
    struct integration *services = find_services(owner, call);
    enum integration_service service = INTEGRATION_COUNT;
    struct reason reason = {""};

    if (services == NULL)
        return;
    if (!integration_find(request->service, &service))
        serve_refuse(call, -EINVAL, "no integration service '%s'", request->service);
    else
        order_ended(call, integration_enable(services, service, request->enabled, &reason),
                    &reason);
}

/* ---- shutdown ---- */

static const char *why_no_service(const struct integration *services)
{
    struct ic_report report;

    if (services == NULL)
        return "a guest without Hyper-V has no shutdown service";
    ic_describe(services->ic[INTEGRATION_SHUTDOWN], &report);
    return report.enabled ? "the guest has not opened its shutdown service, or not yet"
                          : "the shutdown service is disabled";
}

static void press_power_button(const struct verbs *verbs, struct serve_call *call)
{
    if (machine_press_power_button(verbs->machine))
        answer_with(call, json_pack("{s:s}", "by", "power button"));
    else
        serve_refuse(call, -EAGAIN, "%s; nor does the guest listen to its power button",
                     why_no_service(machine_integration(verbs->machine)));
}

static void shutdown_answered(void *owner, int error, const struct reason *reason)
{
    if (error < 0)
        order_ended(owner, error, reason);
    else
        answer_with(owner, json_pack("{s:s}", "by", "service"));
}

void perform_shutdown(void *owner, const struct control_request *request, struct serve_call *call)
{
    static const char *const ways[] = {"power-off", "reboot", "hibernate"};
    const struct verbs *verbs = owner;
    const struct integration *services = machine_integration(verbs->machine);
    struct reason reason = {"a guest without Hyper-V cannot be told to"};
    unsigned way = 0;

    while (way < 3 && strcmp(ways[way], request->way) != 0)
        way++;
    if (way == 3) {
        serve_refuse(call, -EINVAL, "no way to shut down '%s'", request->way);
        return;
    }
    int error = services == NULL ? -ENOTCONN
                                 : shutdown_request(services->shutdown, (enum shutdown_way)way,
                                                    shutdown_answered, call, &reason);
    if (error == -ENOTCONN && way == SHUTDOWN_POWER_OFF)
        press_power_button(verbs, call);
    else if (error < 0)
        serve_refuse(call, error, "%s", reason.text);
}

/* ---- freeze and thaw ---- */

void perform_freeze(void *owner, const struct control_request *request, struct serve_call *call)
{
    const struct integration *services = find_services(owner, call);
    struct reason reason = {""};

    (void)request;
    if (services == NULL)
        return;
    int error = vss_freeze(services->vss, order_ended, call, &reason);
    if (error < 0)
        serve_refuse(call, error, "%s", reason.text);
}

void perform_thaw(void *owner, const struct control_request *request, struct serve_call *call)
{
    const struct integration *services = find_services(owner, call);
    struct reason reason = {""};

    (void)request;
    if (services == NULL)
        return;
    int error = vss_thaw(services->vss, order_ended, call, &reason);
    if (error < 0)
        serve_refuse(call, error, "%s", reason.text);
}

/* ---- file copy ---- */

static bool is_busy(const struct verbs *verbs)
{
    uint64_t done;
    uint64_t size;
    return verbs->copy != NULL && copy_is_running(verbs->copy, &done, &size);
}

void perform_copy(void *owner, const struct control_request *request, struct serve_call *call)
{
    struct verbs *verbs = owner;
    const struct integration *services = find_services(verbs, call);
    const struct copy_config config = {
        .path = request->path,
        .destination = request->destination,
        .overwrite = request->overwrite,
        .make_folders = request->make_folders,
    };
    struct reason reason = {""};

    if (services == NULL)
        return;
    if (is_busy(verbs)) {
        serve_refuse(call, -EBUSY, "another file is being copied");
        return;
    }
    copy_destroy(verbs->copy);
    verbs->copy = NULL;
    int error = copy_start(verbs->loop, services->fcopy, &config, &verbs->copy, &reason);
    if (error < 0)
        serve_refuse(call, error, "%s", reason.text);
    else
        answer_with(call, json_pack("{s:i}", "id", (int)++verbs->copy_id));
}

static bool is_asked_for(const struct verbs *verbs, const struct control_request *request,
                         struct serve_call *call)
{
    bool known = verbs->copy != NULL && verbs->copy_id == request->id;

    if (!known)
        serve_refuse(call, -ENOENT, "no copy of that number");
    return known;
}

void perform_copy_status(void *owner, const struct control_request *request,
                         struct serve_call *call)
{
    const struct verbs *verbs = owner;
    struct reason reason = {""};
    uint64_t done = 0;
    uint64_t size = 0;

    if (!is_asked_for(verbs, request, call))
        return;
    bool running = copy_is_running(verbs->copy, &done, &size);
    int error = running ? 0 : copy_result(verbs->copy, &reason);
    if (error < 0)
        serve_refuse(call, error, "%s", reason.text);
    else
        answer_with(call, json_pack("{s:b, s:I, s:I}", "running", (int)running, "done",
                                    (json_int_t)done, "size", (json_int_t)size));
}

void perform_copy_cancel(void *owner, const struct control_request *request,
                         struct serve_call *call)
{
    const struct verbs *verbs = owner;

    if (!is_asked_for(verbs, request, call))
        return;
    copy_cancel(verbs->copy);
    serve_confirm(call);
}
