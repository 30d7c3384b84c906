/*
 * Exceptions and interrupts of the test images.
 *
 * trap_handlers[v], when set, is called for vector v and the interrupted code goes on. Otherwise a
 * trial (trial.h) that runs catches the trap, and without one the machine ends with a dump.
 */
#ifndef GUEST_TRAP_H
#define GUEST_TRAP_H

#include "types.h"

enum vector {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    OF = 4,
    BR = 5,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    MF = 16,
    AC = 17,
    MC = 18,
    XM = 19,
    NO_TRAP = 256,
};

enum { /* page-fault error code, SDM vol. 3A § 4.7 */
       PF_P = 1,
       PF_W = 2,
       PF_U = 4,
       PF_RSVD = 8,
       PF_I = 16,
};

#ifdef __x86_64__
struct frame {
    word r15, r14, r13, r12, r11, r10, r9, r8;
    word di, si, bp, bx, dx, cx, ax;
    word vector, error;
    word ip, cs, flags, sp, ss;
};
#else
struct frame {
    word gs, fs, es, ds;
    word di, si, bp, unused, bx, dx, cx, ax;
    word vector, error;
    word ip, cs, flags, sp, ss; /* sp and ss only when the privilege changed */
};
#endif

struct trap {
    unsigned vector; /* NO_TRAP when the code came back by itself */
    word error, cr2, dr6;
    word value; /* what the code returned in its accumulator */
    struct frame frame;
};

typedef void trap_handler(struct frame *frame);
extern trap_handler *volatile trap_handlers[256];

/* One gate of the interrupt table, SDM vol. 3A § 6.14.1 (64-bit) and § 6.11 (32-bit). */
struct gate {
    uint16_t offset0, selector;
    uint8_t ist, type; /* type with the P and DPL bits */
    uint16_t offset1;
#ifdef __x86_64__
    uint32_t offset2, reserved;
#endif
};

enum { GATE_INTERRUPT = 0x8e, GATE_TRAP = 0x8f, GATE_USER = 0x60 };

extern struct gate idt[256];

void gate_set(unsigned vector, const void *entry, unsigned type, unsigned ist);
void traps_start(void);            /* fills the table, once */
void traps_load(void);             /* lidt, on each CPU */
void traps_reset(unsigned vector); /* the gate as traps_start() made it */
const char *trap_name(unsigned vector);

#endif
