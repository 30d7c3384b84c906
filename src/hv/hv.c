/* Life of the hypervisor interface of a partition. */
#include "hv/hv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/hv_private.h"
#include "state/state.h"

/*
 * All that the parent's side needs of a guest that is well. Not the invariant TSC: Linux would then
 * prefer the bare TSC to the reference page, which is what lasts over a move to another host. Not
 * the partition's id: Linux takes it for the mark of a root partition.
 */
uint64_t hv_default_privileges(void)
{
    return HV_PRIVILEGE(HV_VP_RUNTIME) | HV_PRIVILEGE(HV_REFERENCE_COUNTER) |
           HV_PRIVILEGE(HV_SYNIC) | HV_PRIVILEGE(HV_TIMERS) | HV_PRIVILEGE(HV_APIC) |
           HV_PRIVILEGE(HV_HYPERCALL) | HV_PRIVILEGE(HV_VP_INDEX) | HV_PRIVILEGE(HV_RESET) |
           HV_PRIVILEGE(HV_REFERENCE_TSC) | HV_PRIVILEGE(HV_GUEST_IDLE) |
           HV_PRIVILEGE(HV_FREQUENCY) | HV_PRIVILEGE(HV_POST_MESSAGES) |
           HV_PRIVILEGE(HV_SIGNAL_EVENTS);
}

static void reset_vp(struct hv_vp *vp)
{
    synic_reset(vp);
    stimer_reset(vp);
    vp->assist = 0;
    vp->assist_page.placed = false;
}

static void fill(struct hv *hv, const struct hv_config *config)
{
    hv->host = config->host;
    hv->mem = config->mem;
    hv->vp_count = config->vp_count;
    hv->tsc_hz = config->tsc_hz;
    hv->apic_hz = config->apic_hz;
    hv->tsc_offset = config->tsc_offset;
    hv->scale = refclock_scale(config->tsc_hz);
    hv->privileges = config->privileges != 0 ? config->privileges : hv_default_privileges();
    if (config->privileges == 0 && config->host.discard != NULL)
        hv->privileges |= HV_PRIVILEGE(HV_EXTENDED_HYPERCALLS);
    (void)pthread_mutex_init(&hv->partition_lock, NULL);
    (void)pthread_rwlock_init(&hv->port_lock, NULL);
    cpuid_fill(hv);
}

int hv_create(const struct hv_config *config, struct hv **ret, struct reason *reason)
{
    if (config->vp_count < 1 || config->vp_count > ENGINE_MAX_VCPUS)
        return reason_set(reason, -EINVAL, "%u virtual processors", config->vp_count);
    struct hv *hv = calloc(1, sizeof(*hv));
    struct hv_vp *vps = calloc(config->vp_count, sizeof(*vps));
    if (hv == NULL || vps == NULL) {
        free(hv);
        free(vps);
        return reason_set(reason, -ENOMEM, "no memory for the hypervisor interface");
    }
    fill(hv, config);
    hv->vps = vps;
    for (unsigned i = 0; i < hv->vp_count; i++) {
        vps[i].hv = hv;
        vps[i].index = i;
        (void)pthread_mutex_init(&vps[i].lock, NULL);
        reset_vp(&vps[i]);
    }
    *ret = hv;
    return 0;
}

void hv_destroy(struct hv *hv)
{
    if (hv == NULL)
        return;
    for (unsigned i = 0; i < hv->vp_count; i++)
        (void)pthread_mutex_destroy(&hv->vps[i].lock);
    (void)pthread_rwlock_destroy(&hv->port_lock);
    (void)pthread_mutex_destroy(&hv->partition_lock);
    free(hv->connections);
    free(hv->vps);
    free(hv);
}

void hv_reset(struct hv *hv, int64_t tsc_offset)
{
    hv->tsc_offset = tsc_offset;
    hv->time_offset = 0;
    hv->guest_os_id = 0;
    hv->hypercall = 0;
    hv->reference_tsc = 0;
    hv->tsc_invariant = 0;
    hv->hypercall_page.placed = false;
    hv->reference_page.placed = false;
    for (unsigned i = 0; i < 5; i++)
        hv->crash[i] = 0;
    for (unsigned i = 0; i < hv->vp_count; i++)
        reset_vp(&hv->vps[i]);
}

/* ---- saved state ---- */

static int visit_vp(struct hv_vp *vp, struct state_visitor *visitor)
{
    char section[32];

    (void)snprintf(section, sizeof(section), "hv-vp%u", vp->index);
    state_begin(visitor, section, 2); /* 2: stimers-not-before */
    synic_visit(vp, visitor);
    stimer_visit(vp, visitor);
    state_u64(visitor, "assist", &vp->assist);
    int error = state_end(visitor);
    struct hv_overlay *const pages[] = {&vp->message_page, &vp->event_page, &vp->assist_page};
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(section, sizeof(section), "hv-vp%u-page%u", vp->index, i);
        int failed = overlay_visit(pages[i], section, visitor);
        error = error < 0 ? error : failed;
    }
    return error;
}

/* Time goes on from where it was, whatever the TSC of this host says. */
static void visit_time(struct hv *hv, struct state_visitor *visitor)
{
    uint64_t now = hv_reference_time(hv);

    state_u64(visitor, "time", &now);
    if (!state_is_load(visitor))
        return;
    hv->time_offset = 0;
    hv->time_offset = (int64_t)(now - hv_reference_time(hv));
}

/* What the reference page says of this host's TSC; after a load it is another than it was. */
static int renew_reference_page(struct hv *hv)
{
    uint8_t page[MEM_PAGE_SIZE] = {0};

    if (!hv->reference_page.placed)
        return 0;
    refclock_fill_page(hv, page);
    return mem_write(hv->mem, hv->reference_page.gpa, page, sizeof(page));
}

int hv_visit_state(struct hv *hv, struct state_visitor *visitor)
{
    state_begin(visitor, "hv", 1);
    visit_time(hv, visitor);
    state_u64(visitor, "guest-os-id", &hv->guest_os_id);
    state_u64(visitor, "hypercall", &hv->hypercall);
    state_u64(visitor, "reference-tsc", &hv->reference_tsc);
    state_u64(visitor, "tsc-invariant", &hv->tsc_invariant);
    state_bytes(visitor, "crash", hv->crash, sizeof(hv->crash));
    int error = state_end(visitor);
    int failed = overlay_visit(&hv->hypercall_page, "hv-hypercall-page", visitor);
    error = error < 0 ? error : failed;
    failed = overlay_visit(&hv->reference_page, "hv-reference-page", visitor);
    error = error < 0 ? error : failed;
    for (unsigned i = 0; i < hv->vp_count; i++) {
        failed = visit_vp(&hv->vps[i], visitor);
        error = error < 0 ? error : failed;
    }
    if (error == 0 && state_is_load(visitor))
        error = renew_reference_page(hv);
    return error;
}
