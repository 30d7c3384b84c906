/*
 * One process, one partition: opens what it needs, runs the machine to its end, says what happened
 * on standard error and returns the process's exit code.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>

#include "machine/machine.h"
#include "worker/serial.h"

/* Exit codes of `partita run`; part of the interface, documented in partita-run(1). */
enum worker_exit_code {
    WORKER_EXIT_POWER_OFF = 0, /* the guest switched itself off */
    WORKER_EXIT_FAILED = 1,    /* the engine or the host failed */
    WORKER_EXIT_USAGE = 2,     /* wrong arguments */
    WORKER_EXIT_IMAGE = 3,     /* a file cannot be used, or its image cannot be booted */
    WORKER_EXIT_REFUSED = 4,   /* the host cannot give what was asked: engine, memory, processors */
    WORKER_EXIT_CRASH = 10,    /* triple fault */
    WORKER_EXIT_LEFT = 11,     /* ^] was typed */
    WORKER_EXIT_SIGNAL = 12,   /* SIGTERM, SIGINT, SIGHUP or SIGQUIT */
    WORKER_EXIT_RESET = 13,    /* the guest reset itself and reboots were not wanted */
    WORKER_EXIT_STOPPED = 14,  /* partita stop --force */
};

struct worker_module {
    const char *path;
    const char *command_line; /* NULL: the path */
};

/* A disk of the command line. */
struct worker_disk {
    const char *path;   /* NULL: a DVD drive without a disc */
    const char *serial; /* may be NULL */
    bool read_only, dvd;
    bool placed; /* else the first free place is taken */
    unsigned controller, lun;
};
enum { WORKER_MAX_DISKS = 256 };

/* A network card of the command line. */
enum worker_card_kind { WORKER_CARD_NAT, WORKER_CARD_TAP, WORKER_CARD_SOCKET, WORKER_CARD_SWITCH };
enum { WORKER_MAX_CARDS = MACHINE_MAX_CARDS, WORKER_MAX_FORWARDS = 32 };
struct worker_forward {
    bool udp;
    const char *ports; /* "2222:22", the host's and the guest's */
};
struct worker_card {
    enum worker_card_kind kind;
    const char *name; /* TAP: of the device; SOCKET: its path; SWITCH: of the switch */
    int fd;           /* instead of a name, or -1 */
    bool mac_given;
    uint8_t mac[6];
    unsigned mtu, vlan;                                  /* 0: not given */
    unsigned loss;                                       /* of a thousand frames */
    struct worker_forward forwards[WORKER_MAX_FORWARDS]; /* NAT */
    unsigned forward_count;
};

/* Dynamic memory, when machine.memory_maximum is set; see balance/balance.h. */
struct worker_memory {
    uint64_t minimum; /* bytes */
    unsigned buffer, weight;
};
enum { WORKER_USUAL_BUFFER = 20, WORKER_USUAL_WEIGHT = 5000 };

struct worker_config {
    /* Engine, processors, memory and switches; boot files, loop and callbacks are the worker's. */
    struct machine_config machine;
    const char *kernel_path;
    const char *initrd_path; /* may be NULL */
    struct worker_module modules[BOOT_MAX_MODULES];
    size_t module_count;
    struct serial_config serial;
    struct worker_disk disks[WORKER_MAX_DISKS];
    size_t disk_count;
    struct worker_card cards[WORKER_MAX_CARDS];
    size_t card_count;
    struct worker_memory memory;
    bool usual_card;          /* none was named: what people expect */
    const char *name;         /* of the control socket; NULL: none */
    const char *symbols_path; /* System.map or an ELF file with symbols; may be NULL */
    bool perf_map;            /* name translated code for perf */
};

/* Must be called before the process makes threads: it blocks signals for them. */
int worker_run(const struct worker_config *config);

#endif
