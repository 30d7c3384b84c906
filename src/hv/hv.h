/*
 * The hypervisor interface that a guest of Hyper-V expects: CPUID leaves, synthetic MSRs,
 * hypercalls, SynIC, reference time and synthetic timers. Source: the Hypervisor Top Level
 * Functional Specification (TLFS), cited at the line.
 *
 * One implementation for all engines: it knows no engine, only memory and struct hv_host.
 *
 * Threads. hv_read_msr, hv_write_msr and hv_hypercall are called on the VP's own thread while it is
 * out of the engine. hv_post_message, hv_signal_event and hv_timer_expired may come from any
 * thread. Everything else is called while no VP runs. Callbacks of struct hv_host are made on the
 * thread that called in, with no lock that they could need, and must not call back into hv.
 * Who owns. The caller owns memory and host; hv owns what it creates until hv_destroy.
 * Overlay pages (TLFS § 5.2.1, "GPA overlay pages"): what the guest's page held is kept aside while
 * the overlay lies there and comes back when it moves; the overlay's bytes are in guest RAM itself.
 */
#ifndef HV_HV_H
#define HV_HV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"
#include "engine/engine.h"
#include "mem/mem.h"

struct hv;
struct state_visitor;

enum {
    HV_MSR_FIRST = 0x40000000, /* the range that must leave the engine */
    HV_MSR_LAST = 0x400001ff,
    HV_MESSAGE_PAYLOAD = 240, /* bytes, TLFS § 11.5 */
    HV_EVENT_FLAGS = 2048,    /* flags of one SINT, TLFS § 11.6 */
    HV_SINT_COUNT = 16,
};

/* TLFS appendix B, "hypercall status codes": the low 16 bits of a hypercall's result. */
enum hv_status {
    HV_STATUS_SUCCESS = 0x0,
    HV_STATUS_INVALID_HYPERCALL_CODE = 0x2,
    HV_STATUS_INVALID_HYPERCALL_INPUT = 0x3,
    HV_STATUS_INVALID_ALIGNMENT = 0x4,
    HV_STATUS_INVALID_PARAMETER = 0x5,
    HV_STATUS_ACCESS_DENIED = 0x6,
    HV_STATUS_INVALID_VP_INDEX = 0xe,
    HV_STATUS_INVALID_PORT_ID = 0x11,
    HV_STATUS_INVALID_CONNECTION_ID = 0x12,
    HV_STATUS_INSUFFICIENT_BUFFERS = 0x13,
    HV_STATUS_INVALID_SYNIC_STATE = 0x18,
};

struct hv_message {
    uint32_t type; /* never 0, which marks a free slot */
    uint8_t length;
    uint8_t payload[HV_MESSAGE_PAYLOAD];
};

/* What the guest says of its own end in the crash MSRs, TLFS § 3.9 and "HV_CRASH_CTL". */
struct hv_crash {
    uint64_t parameter[5];
    size_t text_length; /* 0: none; bytes as the guest gave them, hostile */
    char text[4096];
};

/* What hv asks of its surroundings. `owner` is passed back. */
struct hv_host {
    void *owner;
    /*
     * A fixed, edge-triggered interrupt to the local APIC of `vp`; with `auto_eoi` the guest does
     * not end it. Any thread.
     */
    void (*interrupt)(void *owner, unsigned vp, uint8_t vector, bool auto_eoi);
    /* Ask for hv_timer_expired(vp) at `deadline_ns` of CLOCK_MONOTONIC; 0 = never mind. */
    void (*set_timer)(void *owner, unsigned vp, uint64_t deadline_ns);
    /* The APIC MSRs of TLFS § 10.2.2: EOI (write), ICR, TPR. On the VP's thread. False = #GP. */
    bool (*apic)(void *owner, unsigned vp, enum engine_apic_register which, bool write,
                 uint64_t *value);
    /* Translations made before are not used any more by the VPs of the set when it returns. */
    void (*flush_tlb)(void *owner, uint64_t vp_set);
    void (*crash)(void *owner, unsigned vp, const struct hv_crash *crash);
    void (*reset)(void *owner); /* the reset MSR; the partition starts anew soon */
    /*
     * RAM, whole pages, whose bytes the guest does not need any more: they may read as zero. On a
     * VP's thread. NULL: the guest is not told that it may say so.
     */
    void (*discard)(void *owner, uint64_t gpa, uint64_t length);
};

struct hv_config {
    struct hv_host host;
    struct mem *mem;
    unsigned vp_count;  /* 1 to ENGINE_MAX_VCPUS */
    uint64_t tsc_hz;    /* of the guest's TSC, engine_tsc_hz() */
    int64_t tsc_offset; /* guest TSC = host TSC + this, as engine_config has it */
    uint64_t apic_hz;   /* of the APIC timer, for HV_X64_MSR_APIC_FREQUENCY */
    /*
     * HV_PARTITION_PRIVILEGE_MASK, TLFS § 4.2.2: gates each MSR and hypercall, and is what leaf
     * 0x40000003 shows. 0 means hv_default_privileges(), and extended hypercalls when the host has
     * one.
     */
    uint64_t privileges;
};

uint64_t hv_default_privileges(void);

int hv_create(const struct hv_config *config, struct hv **ret, struct reason *reason);
void hv_destroy(struct hv *hv);
/* State of a new partition; ports stay connected. Overlays are dropped, memory is not touched. */
void hv_reset(struct hv *hv, int64_t tsc_offset);
int hv_visit_state(struct hv *hv, struct state_visitor *visitor);

/* The leaves for engine_config; hv's, constant for its life. */
const struct engine_cpuid_leaf *hv_cpuid(const struct hv *hv, size_t *ret_count);

/* False: the guest gets #GP(0). `*ret_halt`: the VP waits for an interrupt (guest idle MSR). */
bool hv_read_msr(struct hv *hv, unsigned vp, uint32_t index, uint64_t *ret, bool *ret_halt);
bool hv_write_msr(struct hv *hv, unsigned vp, uint32_t index, uint64_t value);

/* A hypercall's registers, TLFS § 3.7: in 64-bit mode rcx, rdx, r8; else edx:eax, ebx:ecx, edi:esi.
 */
struct hv_call {
    bool long_mode;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, r8;
    uint8_t xmm[6][16]; /* only filled when hv_call_uses_xmm() said so; written back likewise */
};

bool hv_call_uses_xmm(const struct hv *hv, const struct hv_call *call);
/* Serve it; the result is in rax (64 bit) or edx:eax. */
void hv_hypercall(struct hv *hv, unsigned vp, struct hv_call *call);

/* Reference time: 100 ns units since the partition was made, TLFS § 12.4. Any thread. */
uint64_t hv_reference_time(const struct hv *hv);
void hv_timer_expired(struct hv *hv, unsigned vp);

/* ---- the parent's side of messages and events, for vmbus ---- */

/*
 * What HvPostMessage and HvSignalEvent on a connection id lead to. On a VP's thread, several at a
 * time; must not block nor connect or disconnect ports. The status is the hypercall's.
 */
struct hv_port {
    enum hv_status (*message)(void *owner,
                              const struct hv_message *message); /* NULL: no messages */
    enum hv_status (*event)(void *owner, uint16_t flag);         /* NULL: no events */
    void *owner;
};

/* 0, -EEXIST, -ENOMEM. Any thread but from within a port's callback. */
int hv_port_connect(struct hv *hv, uint32_t connection_id, const struct hv_port *port);
/* When it returns no callback of the port runs and none will. */
void hv_port_disconnect(struct hv *hv, uint32_t connection_id);

/*
 * Queue a message for a SINT of a VP; it goes into the slot in order as the guest frees it.
 * -ENOBUFS when the queue of that SINT is full (try again when it drained), -EINVAL.
 */
int hv_post_message(struct hv *hv, unsigned vp, unsigned sint, const struct hv_message *message);
/*
 * Set an event flag and raise the SINT when the flag was clear. -EAGAIN when the guest has not
 * switched on SynIC, its event page or the SINT; nothing is kept then.
 */
int hv_signal_event(struct hv *hv, unsigned vp, unsigned sint, unsigned flag);
/* The interrupt of a SINT alone, unless the guest has masked it; a VP or SINT that is none:
 * nothing.
 */
void hv_raise_sint(struct hv *hv, unsigned vp, unsigned sint);

#endif
