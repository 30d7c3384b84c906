/*
 * The machine as its own files see it.
 *
 * Locks, outer first: output_lock, chipset_lock, phase_lock. Letters behind fields say which:
 *   C  chipset_lock    P  phase_lock    O  output_lock
 *   S  set before the vCPU threads start, or changed by the loop thread while all of them wait in a
 *      meeting
 */
#ifndef MACHINE_MACHINE_PRIVATE_H
#define MACHINE_MACHINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/loop.h"
#include "chipset/chipset.h"
#include "hv/hv.h"
#include "machine/machine.h"
#include "vmbus/vmbus.h"
#include "vsp/balloon.h"
#include "vsp/hvsock.h"
#include "vsp/integration.h"
#include "vsp/keyboard.h"
#include "vsp/mouse.h"
#include "vsp/netvsp.h"
#include "vsp/storvsp.h"
#include "vsp/video.h"

enum {
    /* One access makes a byte or two; timers and other vCPUs may add while a batch is delivered. */
    MACHINE_OUTPUT_BATCH = 4096,
};

/* RAM ends here below 4 GiB; above come the devices: IOAPIC, local APIC, later PCI. */
#define MACHINE_HOLE_START UINT64_C(0xc0000000)

struct machine_vcpu {
    struct machine *machine;
    unsigned index;
    struct engine_vcpu *engine; /* S */
    pthread_t thread;
    bool thread_started; /* owner thread */
};

/* Wakes a virtual processor's synthetic timers. */
struct machine_vp_timer {
    struct machine *machine;
    unsigned vp;
    struct loop_timer *loop_timer;
};

/* What is plugged in: a row of a controller. */
struct machine_slot {
    struct scsi_target *target; /* NULL: empty */
    struct disk *disk;
    void (*removed)(void *owner, struct disk *disk);
    void *removed_owner;
};

struct machine_timer {
    struct machine *machine;
    unsigned index;
    struct loop_timer *loop_timer;
};

enum machine_phase {
    MACHINE_RUNNING,
    MACHINE_RESETTING, /* every vCPU comes to the meeting; the last one resets */
    MACHINE_ENDING,    /* every vCPU thread leaves */
};

struct machine {
    struct machine_config config;
    uint8_t uuid[16];
    struct mem *mem;
    struct chipset *chipset;            /* C */
    struct engine_partition *partition; /* S */
    struct machine_vcpu vcpus[ENGINE_MAX_VCPUS];
    struct machine_timer timers[CHIPSET_TIMER_COUNT];
    struct boot_state boot; /* S */
    int64_t tsc_offset;     /* S: guest TSC = host TSC + this */

    struct hv *hv; /* NULL: the guest sees no Hyper-V */
    struct machine_vp_timer vp_timers[ENGINE_MAX_VCPUS];
    struct test_ports *test_ports;                                        /* C; NULL: none */
    struct vmbus *vmbus;                                                  /* loop thread */
    struct storvsp *controllers[MACHINE_MAX_CONTROLLERS];                 /* loop thread */
    struct machine_slot slots[MACHINE_MAX_CONTROLLERS][MACHINE_MAX_LUNS]; /* loop thread */
    struct netvsp *cards[MACHINE_MAX_CARDS];                              /* loop thread */
    bool storage_pauses;             /* loop thread: the controllers take no packets */
    unsigned controllers_at_work;    /* loop thread: that have not come to rest since then */
    struct integration *integration; /* loop thread; NULL: the guest sees no Hyper-V */
    struct balloon *balloon;         /* loop thread; NULL: memory is fixed */
    struct keyboard *keyboard;       /* loop thread; NULL: the guest has none, as the next */
    struct mouse *mouse;             /* loop thread */
    struct video *video;             /* loop thread */
    struct hvsock *sockets;          /* loop thread; NULL: nobody serves them */
    struct loop_timer *reset_timer;  /* brings a reset to the loop thread */
    struct loop_timer *trim_timer;   /* NULL: the engine has nothing to give back */
    uint64_t trim_used_ns;           /* loop thread: processor time when it last fired */

    pthread_mutex_t chipset_lock;
    uint8_t output[MACHINE_OUTPUT_BATCH]; /* C */
    size_t output_length;                 /* C */
    bool input_refused;                   /* C: serial_ready is owed */
    pthread_mutex_t output_lock;          /* held while serial_output is called: keeps the order */

    pthread_mutex_t phase_lock;
    pthread_cond_t phase_changed;
    _Atomic enum machine_phase phase; /* P to write; read without in the vCPU loop */
    bool vcpus_alive;                 /* P: engine vCPUs exist and may be kicked */
    unsigned in_meeting;              /* P */
    uint64_t resets;                  /* P: meetings that ended */
    bool ended;                       /* P: end is filled */
    struct machine_end end;           /* P */
};

/* ---- power.c: phases ---- */

/* Wish for an end; the first wish counts. Any thread, chipset_lock may be held. */
void machine_end(struct machine *machine, const struct machine_end *end);
void machine_fail(struct machine *machine, const struct reason *reason);
void machine_request_reset(struct machine *machine);
/*
 * On the loop thread, when the last vCPU has come to the meeting, and again when the disks rest.
 * `owner` is the machine.
 */
void machine_hold_meeting(void *owner);
/* Called by a vCPU thread that saw another phase than RUNNING: false when it must leave. */
bool machine_meet(struct machine_vcpu *vcpu);

/* ---- assemble.c: parts ---- */

/* Engine partition and vCPUs, as at power-on. */
int machine_create_processors(struct machine *machine, struct reason *reason);
void machine_destroy_processors(struct machine *machine);
/* Tables and boot images into zeroed RAM. */
int machine_load_images(struct machine *machine, struct reason *reason);
/* What a boot image finds of the chipset, beyond its state after reset; the processors are there.
 */
void machine_prepare_chipset(struct machine *machine, struct chipset *chipset);
int machine_create_chipset(struct machine *machine, struct reason *reason);
/* Guest reboot: called while every vCPU thread is in the meeting. */
int machine_reset(struct machine *machine, struct reason *reason);

/* ---- chipset_access.c ---- */

/*
 * Take the chipset; on leaving, what it had to say to the outside is passed on with the chipset
 * unlocked. A vCPU thread waits its turn, so that a slow terminal slows the guest down; any other
 * thread (`wait` false) leaves its bytes to whoever is at it.
 */
struct chipset *machine_enter_chipset(struct machine *machine);
void machine_leave_chipset(struct machine *machine, bool wait);
/* What the chipset calls; `owner` is the machine. */
struct chipset_host machine_chipset_host(struct machine *machine);

/* ---- hyperv.c: a machine without it refuses all MSRs, and ignores the rest ---- */

int machine_create_hyperv(struct machine *machine, struct reason *reason);
void machine_destroy_hyperv(struct machine *machine);
/* Within a reset: the guest has forgotten all of it. */
void machine_reset_hyperv(struct machine *machine);
void machine_read_msr(struct machine_vcpu *vcpu, struct engine_exit *exit);
void machine_write_msr(struct machine_vcpu *vcpu, struct engine_exit *exit);
void machine_hypercall(struct machine_vcpu *vcpu, struct engine_exit *exit);

/* ---- test_ports.c: only when test devices and Hyper-V are wanted ---- */

int machine_create_test_ports(struct machine *machine, struct reason *reason);
void machine_destroy_test_ports(struct machine *machine);
void machine_reset_test_ports(struct machine *machine);

/* ---- storage.c ---- */

/* The disks of the configuration, behind their controllers. */
int machine_create_storage(struct machine *machine, struct reason *reason);
void machine_destroy_storage(struct machine *machine);
/* Take no more requests. True: none is in flight; else the reset timer fires when that is so. */
bool machine_pause_storage(struct machine *machine);
void machine_resume_storage(struct machine *machine);

/* ---- network.c ---- */

int machine_create_network(struct machine *machine, struct reason *reason);
void machine_destroy_network(struct machine *machine);

/* ---- trim.c ---- */

int machine_create_trim(struct machine *machine, struct reason *reason);
/* The engine's partition must still be there. */
void machine_destroy_trim(struct machine *machine);

/* ---- integration.c ---- */

int machine_create_integration(struct machine *machine, struct reason *reason);
void machine_destroy_integration(struct machine *machine);

/* ---- input.c ---- */

int machine_create_input(struct machine *machine, struct reason *reason);
void machine_destroy_input(struct machine *machine);

/* ---- video.c ---- */

int machine_create_video(struct machine *machine, struct reason *reason);
void machine_destroy_video(struct machine *machine);
/* Bytes of video memory, at CHIPSET_VIDEO_GPA; 0: none. */
uint64_t machine_video_memory(const struct machine_config *config);

/* ---- memory.c ---- */

/* Guest memory, and room for what it may grow to. */
int machine_create_memory(struct machine *machine, struct reason *reason);
/* Only when it is dynamic. */
int machine_create_balloon(struct machine *machine, struct reason *reason);
void machine_destroy_balloon(struct machine *machine);
/* As at power-on: without what was added, and zero. */
int machine_reset_memory(struct machine *machine, struct reason *reason);
/* For struct hv_host, of a machine with dynamic memory. */
void machine_discard_memory(void *owner, uint64_t gpa, uint64_t length);

/* ---- vcpu.c ---- */

/* `argument` is the struct machine_vcpu. */
void *machine_vcpu_thread(void *argument);

/* ---- boot_registers.c ---- */

/* The state after reset, Intel SDM vol. 3A § 9.1.1; RDX stays, and tsc 0 lets the TSC run on. */
void registers_after_reset(struct engine_registers *registers);
/* vCPU 0 at the start of a boot image; `registers` holds the state after reset. */
void registers_for_boot(struct engine_registers *registers, const struct boot_state *boot);

#endif
