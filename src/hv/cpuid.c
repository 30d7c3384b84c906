/* What the guest is told in CPUID: TLFS, "Feature and Interface Discovery". */
#include "hv/hv_private.h"

enum {
    LEAF_FIRST = 0x40000000,
    LEAF_INTERFACE,
    LEAF_VERSION,
    LEAF_FEATURES,
    LEAF_HINTS,
    LEAF_LIMITS,
    LEAF_HARDWARE,
    LEAF_NESTED = 0x4000000a,
};

enum {
    INTERFACE_HV1 = 0x31237648, /* "Hv#1" */
    BUILD = 20348,              /* of the host whose interface this is */
    VERSION = 10 << 16,
    /* LEAF_FEATURES, EDX */
    FEATURE_XMM_INPUT = 1 << 4,
    FEATURE_IDLE_STATE = 1 << 5,
    FEATURE_FREQUENCY_MSRS = 1 << 8,
    FEATURE_CRASH_MSRS = 1 << 10,
    FEATURE_DIRECT_TIMERS = 1 << 19,
    /* LEAF_HINTS, EAX */
    HINT_FLUSH_BY_HYPERCALL = 1 << 2,
    HINT_RELAXED_TIMING = 1 << 5,
    HINT_NO_AUTO_EOI = 1 << 9,
    HINT_CLUSTER_IPI = 1 << 10,
    HINT_EX_PROCESSOR_MASKS = 1 << 11,
};

static uint32_t features_edx(const struct hv *hv)
{
    uint32_t edx = FEATURE_CRASH_MSRS;
    if (hv_may(hv, HV_HYPERCALL))
        edx |= FEATURE_XMM_INPUT;
    if (hv_may(hv, HV_GUEST_IDLE))
        edx |= FEATURE_IDLE_STATE;
    if (hv_may(hv, HV_FREQUENCY))
        edx |= FEATURE_FREQUENCY_MSRS;
    if (hv_may(hv, HV_TIMERS))
        edx |= FEATURE_DIRECT_TIMERS;
    return edx;
}

/* Nothing is recommended that the guest may not do. */
static uint32_t hints(const struct hv *hv)
{
    uint32_t eax = HINT_RELAXED_TIMING;
    if (hv_may(hv, HV_HYPERCALL))
        eax |= HINT_FLUSH_BY_HYPERCALL | HINT_CLUSTER_IPI | HINT_EX_PROCESSOR_MASKS;
    if (hv_may(hv, HV_SYNIC))
        eax |= HINT_NO_AUTO_EOI;
    return eax;
}

static void put(struct hv *hv, struct engine_cpuid_leaf leaf)
{
    hv->leaves[hv->leaf_count++] = leaf;
}

void cpuid_fill(struct hv *hv)
{
    /* "Microsoft Hv" */
    put(hv,
        (struct engine_cpuid_leaf){LEAF_FIRST, LEAF_NESTED, 0x7263694d, 0x666f736f, 0x76482074});
    put(hv, (struct engine_cpuid_leaf){LEAF_INTERFACE, .eax = INTERFACE_HV1});
    put(hv, (struct engine_cpuid_leaf){LEAF_VERSION, .eax = BUILD, .ebx = VERSION});
    put(hv, (struct engine_cpuid_leaf){LEAF_FEATURES, .eax = (uint32_t)hv->privileges,
                                       .ebx = (uint32_t)(hv->privileges >> 32),
                                       .edx = features_edx(hv)});
    /* EBX: spinning is never to be told. */
    put(hv, (struct engine_cpuid_leaf){LEAF_HINTS, .eax = hints(hv), .ebx = UINT32_MAX});
    put(hv,
        (struct engine_cpuid_leaf){LEAF_LIMITS, .eax = ENGINE_MAX_VCPUS, .ebx = ENGINE_MAX_VCPUS});
    put(hv, (struct engine_cpuid_leaf){.leaf = LEAF_HARDWARE});
    for (uint32_t leaf = LEAF_HARDWARE + 1; leaf <= LEAF_NESTED; leaf++)
        put(hv, (struct engine_cpuid_leaf){.leaf = leaf});
}

const struct engine_cpuid_leaf *hv_cpuid(const struct hv *hv, size_t *ret_count)
{
    *ret_count = hv->leaf_count;
    return hv->leaves;
}
