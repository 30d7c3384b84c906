/*
 * One partition, assembled: memory, engine, chipset, firmware and a thread a vCPU.
 *
 * Threads. machine_create, _start, _wait and _destroy are for one owner thread, and not while the
 * loop runs on another. Serial input and the power verbs may come from any thread. Callbacks come
 * from vCPU threads and from the loop thread. A guest's reset is carried out on the loop thread.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"
#include "engine/engine.h"
#include "firmware/boot.h"

struct balloon;
struct disk;
struct hvsock;
struct hvsock_user;
struct integration;
struct keyboard;
struct mouse;
struct loop;
struct machine;
struct video;

enum { MACHINE_MAX_CONTROLLERS = 4, MACHINE_MAX_LUNS = 64, MACHINE_MAX_CARDS = 8 };

/*
 * A disk in its place; it stays the caller's and must outlive its place in the machine. It may have
 * a queue on the machine's loop; a disc that was changed has to be drained before machine_destroy.
 */
struct machine_disk {
    struct disk *disk; /* a DVD drive may be empty: NULL */
    unsigned controller, lun;
    bool dvd;
    const char *serial; /* for disks without an id of their own; may be NULL */
};

/* A network card. Its port stays the caller's and must outlive the machine. */
struct net_port;
struct machine_card {
    struct net_port *port;
    uint8_t mac[6];
    unsigned mtu;  /* the most that the guest may set; 0: the port's */
    unsigned vlan; /* the guest is within it; 0: it may have any */
};

/* What a guest says of its own crash. */
struct machine_crash {
    unsigned vcpu;
    uint64_t parameter[5];
    const char *text; /* bytes as the guest gave them, hostile; valid during the call */
    size_t text_length;
};

struct machine_config {
    const struct engine_ops *engine;
    enum engine_cpu_level cpu_level;
    enum engine_translate translate;
    uint64_t lockstep_seed;
    FILE *code_trace, *statistics;       /* see engine.h */
    size_t code_memory;                  /* see engine.h */
    struct engine_code_watch code_watch; /* see engine.h */
    unsigned vcpu_count;                 /* 1 to ENGINE_MAX_VCPUS */
    uint64_t memory_size;                /* bytes, a multiple of 1 MiB: at the start */
    /*
     * Dynamic memory: what it may grow to, in steps of MEM_GROWTH; 0: what it has is fixed. Only
     * with hyperv.
     */
    uint64_t memory_maximum;
    struct boot_config boot;
    bool debug_exit, test_devices;
    bool hyperv;                      /* the guest sees Hyper-V, VMBus and the disks */
    const struct machine_disk *disks; /* there from the start; only with hyperv */
    size_t disk_count;
    const struct machine_card *cards; /* only with hyperv */
    size_t card_count;
    unsigned integration; /* services that are enabled: machine_parse_integration() */
    bool input;           /* it has a keyboard and a mouse; only with hyperv */
    /* What its screen should be; 0: it has none. machine_video_fits(); only with hyperv. */
    unsigned video_width, video_height;
    bool end_on_reset; /* a guest's reset is the end: MACHINE_END_RESET */
    struct loop *loop; /* its thread serves timers, disks and resets */
    void *owner;
    /* In order, one call at a time; on a vCPU thread it may wait, on the loop's it must not. */
    void (*serial_output)(void *owner, const uint8_t *bytes, size_t length);
    /* There is room again for machine_serial_input, which may be called from within. */
    void (*serial_ready)(void *owner);
    /* The guest tells of its own crash; from a vCPU's thread. It goes on to reset or halt. */
    void (*crashed)(void *owner, const struct machine_crash *crash);
    /*
     * The partition stopped by itself; called once, from any thread; then machine_wait returns.
     * It must not wait nor call the machine.
     */
    void (*stopped)(void *owner);
};

enum machine_end_kind {
    MACHINE_END_POWER_OFF,
    MACHINE_END_DEBUG_EXIT,   /* code */
    MACHINE_END_RESET,        /* only with end_on_reset */
    MACHINE_END_TRIPLE_FAULT, /* vcpu: its registers by machine_vcpu_registers */
    MACHINE_END_FAILED,       /* reason: the engine or a reset gave up */
    MACHINE_END_STOPPED,      /* machine_stop */
};

struct machine_end {
    enum machine_end_kind kind;
    uint32_t code;
    unsigned vcpu;
    struct reason reason;
};

/*
 * The files and strings of config->boot stay the caller's and must outlive the machine: a guest's
 * reset loads them again. -ENOEXEC when the images cannot be booted, -ENOMEM when the host refuses
 * the memory, else what the engine says.
 */
int machine_create(const struct machine_config *config, struct machine **ret,
                   struct reason *reason);
void machine_destroy(struct machine *machine);
int machine_start(struct machine *machine, struct reason *reason);
/* Ask for the end from outside; any thread. */
void machine_stop(struct machine *machine);
bool machine_press_power_button(struct machine *machine);
/* Returns when every vCPU thread has ended. A guest's reset does not end it: it boots anew. */
void machine_wait(struct machine *machine, struct machine_end *ret);

/* How many bytes the UART took; when fewer than length, serial_ready follows. Any thread. */
size_t machine_serial_input(struct machine *machine, const uint8_t *bytes, size_t length);

/* VMBus as the guest uses it. Loop thread. */
struct machine_bus {
    unsigned major, minor; /* the version that the guest chose; 0.0: it is not connected */
    unsigned open_channels;
};
void machine_describe_bus(const struct machine *machine, struct machine_bus *ret);

/* The integration services (vsp/integration.h); NULL without Hyper-V. Loop thread. */
struct integration *machine_integration(struct machine *machine);
/* Dynamic memory (vsp/balloon.h); NULL: it is fixed. Loop thread. */
struct balloon *machine_balloon(struct machine *machine);
/* Keyboard and mouse (vsp/keyboard.h, vsp/mouse.h); NULL: it was made without. Loop thread. */
struct keyboard *machine_keyboard(struct machine *machine);
struct mouse *machine_mouse(struct machine *machine);
/* Its screen (vsp/video.h); NULL: it was made without. Loop thread. */
struct video *machine_video(struct machine *machine);
/* Whether a guest can have a screen of this size. */
bool machine_video_fits(unsigned width, unsigned height);
/* What the host holds for the guest's memory now; any thread. */
uint64_t machine_resident_memory(const struct machine *machine);
/* "all", "none", or names with commas between; false, and a reason. */
bool machine_parse_integration(const char *list, unsigned *ret, struct reason *reason);
unsigned machine_default_integration(void);

/*
 * Plug a disk in or take it away while the guest runs; on the loop's thread. -EEXIST, -EINVAL for a
 * place that cannot be, -ENOENT. `removed` is called on the loop's thread when no request uses it,
 * perhaps at once, perhaps within a call of that disk, which must not be closed there.
 */
int machine_add_disk(struct machine *machine, const struct machine_disk *disk,
                     struct reason *reason);
int machine_remove_disk(struct machine *machine, unsigned controller, unsigned lun,
                        void (*removed)(void *owner, struct disk *disk), void *owner);
/*
 * Change the disc of a DVD drive, whatever the guest does with the old one; NULL: it is empty then.
 * `released` is called for the old disc when there was one, as `removed` above. -ENOENT: nothing is
 * there; -ENOTSUP: a disk is; -EINVAL: it cannot be a disc; -EBUSY: a disc before is still in use.
 */
int machine_change_disc(struct machine *machine, const struct machine_disk *disc,
                        void (*released)(void *owner, struct disk *disk), void *owner);

/* Network cards, by their index in the configuration. Loop thread; -ENOENT. */
struct machine_card_state {
    uint8_t id[16];  /* of its VMBus channel, as on the wire */
    uint8_t mac[6];  /* as the guest set it */
    bool link, used; /* it has a cable; the guest has brought it up */
    unsigned mtu, channels;
    uint64_t sent_frames, sent_bytes, sent_dropped;
    uint64_t received_frames, received_bytes, received_dropped;
};
int machine_describe_card(const struct machine *machine, unsigned card,
                          struct machine_card_state *ret);
/* Plug its cable in or out. */
int machine_set_card_link(struct machine *machine, unsigned card, bool up);

/*
 * Sockets between guest and host (vsp/hvsock.h), once, before the start; -ENOTSUP without Hyper-V.
 * Without them no service of the host listens. Loop thread.
 */
int machine_serve_sockets(struct machine *machine, const struct hvsock_user *user,
                          struct hvsock **ret);
/* All connections are closed, without a word to their user. */
void machine_end_sockets(struct machine *machine);

/* The vCPU's registers, and guest memory by its page tables; only while it does not run. */
int machine_vcpu_registers(struct machine *machine, unsigned vcpu, struct engine_registers *ret);
int machine_read_linear(struct machine *machine, const struct engine_registers *registers,
                        uint64_t linear, void *ret, size_t length);

#endif
