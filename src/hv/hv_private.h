/*
 * The hypervisor interface as its own files see it.
 *
 * Locks. Letters behind fields say which guards them; no lock is taken while another is held.
 *   V  the VP's own lock
 *   P  hv.partition_lock
 *   R  hv.port_lock (readers: callbacks of ports; writer: connect and disconnect)
 *   C  constant after creation
 */
#ifndef HV_HV_PRIVATE_H
#define HV_HV_PRIVATE_H

#include <pthread.h>

#include "hv/hv.h"

struct state_visitor;

/* HV_PARTITION_PRIVILEGE_MASK: TLFS, "Partition Privilege Flags". */
#define HV_PRIVILEGE(bit) (UINT64_C(1) << (bit))
enum hv_privilege_bit {
    HV_VP_RUNTIME = 0,
    HV_REFERENCE_COUNTER = 1,
    HV_SYNIC = 2,
    HV_TIMERS = 3,
    HV_APIC = 4,
    HV_HYPERCALL = 5,
    HV_VP_INDEX = 6,
    HV_RESET = 7,
    HV_REFERENCE_TSC = 9,
    HV_GUEST_IDLE = 10,
    HV_FREQUENCY = 11,
    HV_TSC_INVARIANT = 15,
    HV_PARTITION_ID = 33,
    HV_POST_MESSAGES = 36,
    HV_SIGNAL_EVENTS = 37,
    HV_EXTENDED_HYPERCALLS = 52,
    HV_ALWAYS = 64, /* needs none */
};

/* MSRs: TLFS, "Synthetic MSRs". */
enum hv_msr_index {
    HV_MSR_GUEST_OS_ID = 0x40000000,
    HV_MSR_HYPERCALL = 0x40000001,
    HV_MSR_VP_INDEX = 0x40000002,
    HV_MSR_RESET = 0x40000003,
    HV_MSR_VP_RUNTIME = 0x40000010,
    HV_MSR_TIME_REF_COUNT = 0x40000020,
    HV_MSR_REFERENCE_TSC = 0x40000021,
    HV_MSR_TSC_FREQUENCY = 0x40000022,
    HV_MSR_APIC_FREQUENCY = 0x40000023,
    HV_MSR_EOI = 0x40000070,
    HV_MSR_ICR = 0x40000071,
    HV_MSR_TPR = 0x40000072,
    HV_MSR_VP_ASSIST_PAGE = 0x40000073,
    HV_MSR_SCONTROL = 0x40000080,
    HV_MSR_SVERSION = 0x40000081,
    HV_MSR_SIEFP = 0x40000082,
    HV_MSR_SIMP = 0x40000083,
    HV_MSR_EOM = 0x40000084,
    HV_MSR_SINT0 = 0x40000090,
    HV_MSR_STIMER0_CONFIG = 0x400000b0,
    HV_MSR_GUEST_IDLE = 0x400000f0,
    HV_MSR_CRASH_P0 = 0x40000100,
    HV_MSR_CRASH_CTL = 0x40000105,
    HV_MSR_TSC_INVARIANT_CONTROL = 0x40000118,
};

/* Of the MSRs that place a page: enabled, and its number in bits 63:12. */
enum { HV_PAGE_ENABLED = 1 };
#define HV_PAGE_ADDRESS (~(uint64_t)(MEM_PAGE_SIZE - 1))

/* ---- overlay.c ---- */

struct hv_overlay {
    bool placed;
    uint64_t gpa;
    uint8_t under[MEM_PAGE_SIZE]; /* what the guest's own page holds meanwhile */
};

/*
 * Put the overlay where the MSR's value says, or take it away; the overlay's bytes move along. A
 * page that was nowhere begins with `initial` (NULL: zeroes). -EFAULT: no RAM there.
 */
int overlay_place(struct hv *hv, struct hv_overlay *overlay, uint64_t msr, const uint8_t *initial);
/* A section of its own. */
int overlay_visit(struct hv_overlay *overlay, const char *section, struct state_visitor *visitor);

/* ---- a virtual processor ---- */

enum { HV_STIMER_COUNT = 4, HV_QUEUE_LENGTH = 64 };

struct hv_stimer {
    uint64_t config, count;
    uint64_t deadline; /* reference time; 0: not running */
    uint64_t
        not_before;   /* periodic, and behind: when the next expiration may be told, at soonest */
    bool message_due; /* it expired, and its message has found no room yet */
    uint64_t expired_at;
};

struct hv_queued {
    unsigned sint;
    struct hv_message message;
};

struct hv_vp {
    struct hv *hv;  /* C */
    unsigned index; /* C */
    pthread_mutex_t lock;
    uint64_t scontrol;                        /* V */
    uint64_t siefp, simp;                     /* V */
    uint64_t sint[HV_SINT_COUNT];             /* V */
    struct hv_overlay message_page;           /* V */
    struct hv_overlay event_page;             /* V */
    struct hv_queued queue[HV_QUEUE_LENGTH];  /* V: oldest first */
    unsigned queued;                          /* V */
    struct hv_stimer stimer[HV_STIMER_COUNT]; /* V */
    uint64_t assist;                          /* V */
    struct hv_overlay assist_page;            /* V */
};

struct hv_connection {
    uint32_t id;
    struct hv_port port;
};

enum { HV_MAX_LEAVES = 11 };

struct hv {
    struct hv_host host;      /* C */
    struct mem *mem;          /* C */
    unsigned vp_count;        /* C */
    uint64_t tsc_hz, apic_hz; /* C */
    uint64_t privileges;      /* C */
    uint64_t scale;           /* C: reference time = (guest TSC × scale) >> 64, + offset */
    struct engine_cpuid_leaf leaves[HV_MAX_LEAVES]; /* C */
    size_t leaf_count;                              /* C */
    int64_t tsc_offset, time_offset;                /* changed only while no VP runs */

    pthread_mutex_t partition_lock;
    uint64_t guest_os_id, hypercall, reference_tsc, tsc_invariant; /* P */
    struct hv_overlay hypercall_page, reference_page;              /* P */
    uint64_t crash[5];                                             /* P */

    pthread_rwlock_t port_lock;
    struct hv_connection *connections; /* R: by rising id */
    size_t connection_count;           /* R */

    struct hv_vp *vps; /* C */
};

static inline bool hv_may(const struct hv *hv, enum hv_privilege_bit bit)
{
    return bit == HV_ALWAYS || (hv->privileges >> bit & 1) != 0;
}

/* ---- cpuid.c ---- */

void cpuid_fill(struct hv *hv);

/* ---- refclock.c ---- */

/* What the guest's TSC page would say for this host TSC. */
uint64_t refclock_at(const struct hv *hv, uint64_t host_tsc);
uint64_t refclock_scale(uint64_t tsc_hz);
/* The reference TSC page: TLFS, "Partition Reference TSC Mechanism". */
void refclock_fill_page(const struct hv *hv, uint8_t page[MEM_PAGE_SIZE]);

/* ---- synic.c: the VP's lock is held by none of the callers ---- */

bool synic_write_control(struct hv_vp *vp, uint64_t value);
bool synic_write_siefp(struct hv_vp *vp, uint64_t value);
bool synic_write_simp(struct hv_vp *vp, uint64_t value);
bool synic_write_sint(struct hv_vp *vp, unsigned sint, uint64_t value);
void synic_end_of_message(struct hv_vp *vp);
void synic_reset(struct hv_vp *vp);
void synic_visit(struct hv_vp *vp, struct state_visitor *visitor);
/* With the VP's lock: put a message into its slot; false when it is taken, or no page is there. */
bool synic_deliver(struct hv_vp *vp, unsigned sint, const struct hv_message *message);

/* ---- stimer.c ---- */

void stimer_write_config(struct hv_vp *vp, unsigned timer, uint64_t value);
void stimer_write_count(struct hv_vp *vp, unsigned timer, uint64_t value);
/* With the VP's lock: messages that found no room before. */
void stimer_retry(struct hv_vp *vp);
void stimer_reset(struct hv_vp *vp);
void stimer_visit(struct hv_vp *vp, struct state_visitor *visitor);

/* ---- port.c ---- */

enum hv_status port_message(struct hv *hv, uint32_t connection, const struct hv_message *message);
enum hv_status port_event(struct hv *hv, uint32_t connection, uint16_t flag);

/* ---- crash.c ---- */

/* What CRASH_CTL can do: notify, with a text. */
#define HV_CRASH_NOTIFY (UINT64_C(1) << 63)
#define HV_CRASH_TEXT   (UINT64_C(1) << 62)
void crash_notify(struct hv *hv, unsigned vp, uint64_t control);

#endif
