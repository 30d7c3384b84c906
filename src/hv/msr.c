/*
 * The synthetic MSRs: one row a range. TLFS, "Synthetic MSRs"; a VP without the privilege of a row,
 * or that writes what can only be read, gets #GP.
 */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "hv/hv_private.h"

enum {
    OS_ID_NONE = 0,
    HYPERCALL_LOCKED = 1 << 1,
    UNIT_NS = 100,
    SYNIC_VERSION = 1,
    RESET_NOW = 1,
};

struct msr {
    uint32_t first, last;
    enum hv_privilege_bit privilege;
    bool (*read)(struct hv_vp *vp, unsigned offset, uint64_t *ret);
    bool (*write)(struct hv_vp *vp, unsigned offset, uint64_t value);
};

/* ---- the partition's ---- */

static uint64_t read_shared(struct hv *hv, const uint64_t *field)
{
    (void)pthread_mutex_lock(&hv->partition_lock);
    uint64_t value = *field;
    (void)pthread_mutex_unlock(&hv->partition_lock);
    return value;
}

static bool read_os_id(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = read_shared(vp->hv, &vp->hv->guest_os_id);
    return true;
}

/* Without an identity there is no hypercall page. */
static bool write_os_id(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    struct hv *hv = vp->hv;
    bool done = true;

    (void)offset;
    (void)pthread_mutex_lock(&hv->partition_lock);
    hv->guest_os_id = value;
    if (value == OS_ID_NONE) {
        hv->hypercall &= ~(uint64_t)HV_PAGE_ENABLED;
        done = overlay_place(hv, &hv->hypercall_page, 0, NULL) == 0;
    }
    (void)pthread_mutex_unlock(&hv->partition_lock);
    return done;
}

static bool read_hypercall(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = read_shared(vp->hv, &vp->hv->hypercall);
    return true;
}

/* VMCALL; RET: TLFS, "Establishing the Hypercall Interface". */
static const uint8_t hypercall_code[MEM_PAGE_SIZE] = {0x0f, 0x01, 0xc1, 0xc3};

static bool place_hypercall_page(struct hv *hv, uint64_t value)
{
    if ((hv->hypercall & HYPERCALL_LOCKED) != 0)
        return true;
    if (hv->guest_os_id == OS_ID_NONE)
        value &= ~(uint64_t)HV_PAGE_ENABLED;
    if (overlay_place(hv, &hv->hypercall_page, value, hypercall_code) < 0)
        return false;
    hv->hypercall = value;
    return true;
}

static bool write_hypercall(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    struct hv *hv = vp->hv;

    (void)offset;
    (void)pthread_mutex_lock(&hv->partition_lock);
    bool done = place_hypercall_page(hv, value);
    (void)pthread_mutex_unlock(&hv->partition_lock);
    return done;
}

static bool read_reference_tsc(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = read_shared(vp->hv, &vp->hv->reference_tsc);
    return true;
}

static bool write_reference_tsc(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    struct hv *hv = vp->hv;
    uint8_t page[MEM_PAGE_SIZE] = {0};

    (void)offset;
    refclock_fill_page(hv, page);
    (void)pthread_mutex_lock(&hv->partition_lock);
    bool done = overlay_place(hv, &hv->reference_page, value, page) == 0;
    if (done)
        hv->reference_tsc = value;
    (void)pthread_mutex_unlock(&hv->partition_lock);
    return done;
}

static bool read_tsc_invariant(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = read_shared(vp->hv, &vp->hv->tsc_invariant);
    return true;
}

static bool write_tsc_invariant(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    (void)offset;
    if ((value & ~UINT64_C(1)) != 0)
        return false;
    (void)pthread_mutex_lock(&vp->hv->partition_lock);
    vp->hv->tsc_invariant |= value;
    (void)pthread_mutex_unlock(&vp->hv->partition_lock);
    return true;
}

static bool read_zero(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)vp;
    (void)offset;
    *ret = 0;
    return true;
}

static bool write_reset(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    (void)offset;
    if (value & RESET_NOW)
        vp->hv->host.reset(vp->hv->host.owner);
    return true;
}

static bool read_reference_time(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = hv_reference_time(vp->hv);
    return true;
}

static bool read_frequency(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    *ret = offset == 0 ? vp->hv->tsc_hz : vp->hv->apic_hz;
    return true;
}

static bool read_crash(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    *ret = read_shared(vp->hv, &vp->hv->crash[offset]);
    return true;
}

static bool write_crash(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    (void)pthread_mutex_lock(&vp->hv->partition_lock);
    vp->hv->crash[offset] = value;
    (void)pthread_mutex_unlock(&vp->hv->partition_lock);
    return true;
}

static bool read_crash_control(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)vp;
    (void)offset;
    *ret = HV_CRASH_NOTIFY | HV_CRASH_TEXT;
    return true;
}

static bool write_crash_control(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    (void)offset;
    crash_notify(vp->hv, vp->index, value);
    return true;
}

/* ---- a VP's ---- */

static bool read_vp_index(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = vp->index;
    return true;
}

/* The VP's thread is the caller's. */
static bool read_runtime(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)vp;
    (void)offset;
    *ret = clock_ns(CLOCK_THREAD_CPUTIME_ID) / UNIT_NS;
    return true;
}

static bool read_apic(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    const struct hv_host *host = &vp->hv->host;
    return host->apic(host->owner, vp->index, (enum engine_apic_register)offset, false, ret);
}

static bool write_apic(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    const struct hv_host *host = &vp->hv->host;
    return host->apic(host->owner, vp->index, (enum engine_apic_register)offset, true, &value);
}

static bool read_assist(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    (void)offset;
    *ret = vp->assist;
    return true;
}

static bool write_assist(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    (void)offset;
    if (overlay_place(vp->hv, &vp->assist_page, value, NULL) < 0)
        return false;
    vp->assist = value;
    return true;
}

/* SCONTROL, SVERSION, SIEFP, SIMP, EOM. */
static bool read_synic(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    const uint64_t values[] = {vp->scontrol, SYNIC_VERSION, vp->siefp, vp->simp, 0};
    *ret = values[offset];
    return true;
}

static bool write_synic(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    switch (offset + HV_MSR_SCONTROL) {
    case HV_MSR_SCONTROL:
        return synic_write_control(vp, value);
    case HV_MSR_SIEFP:
        return synic_write_siefp(vp, value);
    case HV_MSR_SIMP:
        return synic_write_simp(vp, value);
    case HV_MSR_EOM:
        synic_end_of_message(vp);
        return true;
    default:
        return false; /* the version */
    }
}

static bool read_sint(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    *ret = vp->sint[offset];
    return true;
}

static bool write_sint(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    return synic_write_sint(vp, offset, value);
}

static bool read_stimer(struct hv_vp *vp, unsigned offset, uint64_t *ret)
{
    const struct hv_stimer *timer = &vp->stimer[offset / 2];

    (void)pthread_mutex_lock(&vp->lock);
    *ret = offset % 2 == 0 ? timer->config : timer->count;
    (void)pthread_mutex_unlock(&vp->lock);
    return true;
}

static bool write_stimer(struct hv_vp *vp, unsigned offset, uint64_t value)
{
    if (offset % 2 == 0)
        stimer_write_config(vp, offset / 2, value);
    else
        stimer_write_count(vp, offset / 2, value);
    return true;
}

/* ---- all of them ---- */

#define ONE(index) (index), (index)

static const struct msr msrs[] = {
    {ONE(HV_MSR_GUEST_OS_ID), HV_HYPERCALL, read_os_id, write_os_id},
    {ONE(HV_MSR_HYPERCALL), HV_HYPERCALL, read_hypercall, write_hypercall},
    {ONE(HV_MSR_VP_INDEX), HV_VP_INDEX, read_vp_index, NULL},
    {ONE(HV_MSR_RESET), HV_RESET, read_zero, write_reset},
    {ONE(HV_MSR_VP_RUNTIME), HV_VP_RUNTIME, read_runtime, NULL},
    {ONE(HV_MSR_TIME_REF_COUNT), HV_REFERENCE_COUNTER, read_reference_time, NULL},
    {ONE(HV_MSR_REFERENCE_TSC), HV_REFERENCE_TSC, read_reference_tsc, write_reference_tsc},
    {HV_MSR_TSC_FREQUENCY, HV_MSR_APIC_FREQUENCY, HV_FREQUENCY, read_frequency, NULL},
    {HV_MSR_EOI, HV_MSR_TPR, HV_APIC, read_apic, write_apic},
    {ONE(HV_MSR_VP_ASSIST_PAGE), HV_APIC, read_assist, write_assist},
    {HV_MSR_SCONTROL, HV_MSR_EOM, HV_SYNIC, read_synic, write_synic},
    {HV_MSR_SINT0, HV_MSR_SINT0 + HV_SINT_COUNT - 1, HV_SYNIC, read_sint, write_sint},
    {HV_MSR_STIMER0_CONFIG, HV_MSR_STIMER0_CONFIG + 2 * HV_STIMER_COUNT - 1, HV_TIMERS, read_stimer,
     write_stimer},
    {ONE(HV_MSR_GUEST_IDLE), HV_GUEST_IDLE, read_zero, NULL},
    {HV_MSR_CRASH_P0, HV_MSR_CRASH_CTL - 1, HV_ALWAYS, read_crash, write_crash},
    {ONE(HV_MSR_CRASH_CTL), HV_ALWAYS, read_crash_control, write_crash_control},
    {ONE(HV_MSR_TSC_INVARIANT_CONTROL), HV_TSC_INVARIANT, read_tsc_invariant, write_tsc_invariant},
};

static const struct msr *find(const struct hv *hv, uint32_t index)
{
    for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        if (index >= msrs[i].first && index <= msrs[i].last)
            return hv_may(hv, msrs[i].privilege) ? &msrs[i] : NULL;
    }
    return NULL;
}

bool hv_read_msr(struct hv *hv, unsigned vp, uint32_t index, uint64_t *ret, bool *ret_halt)
{
    const struct msr *msr = find(hv, index);

    *ret_halt = index == HV_MSR_GUEST_IDLE;
    return msr != NULL && msr->read != NULL && msr->read(&hv->vps[vp], index - msr->first, ret);
}

bool hv_write_msr(struct hv *hv, unsigned vp, uint32_t index, uint64_t value)
{
    const struct msr *msr = find(hv, index);

    return msr != NULL && msr->write != NULL && msr->write(&hv->vps[vp], index - msr->first, value);
}
