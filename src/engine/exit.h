/*
 * Why a virtual processor came out of engine run(): one union, one switch on it (machine/vcpu.c).
 *
 * For the kinds that ask (…_READ), fill the answer into the same struct and hand it to the next
 * run(); the instruction then completes. A …_WRITE is done when the exit is seen; it too must be
 * followed by run() before the registers are read as "after the instruction".
 */
#ifndef ENGINE_EXIT_H
#define ENGINE_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/reason.h"

enum engine_exit_kind {
    ENGINE_EXIT_NONE, /* nothing to answer: what the first run() is given */
    ENGINE_EXIT_PORT_READ,
    ENGINE_EXIT_PORT_WRITE,
    ENGINE_EXIT_MMIO_READ,
    ENGINE_EXIT_MMIO_WRITE,
    ENGINE_EXIT_MSR_READ, /* only MSRs in the range of engine_config.exit_msr_… */
    ENGINE_EXIT_MSR_WRITE,
    ENGINE_EXIT_HYPERCALL, /* VMCALL/VMMCALL in CPL 0; rip is already past it */
    ENGINE_EXIT_EOI,       /* end of a level-triggered interrupt: tell the IOAPIC */
    ENGINE_EXIT_EXTINT,    /* the 8259 may be acknowledged now: raise() its vector */
    ENGINE_EXIT_SHUTDOWN,  /* triple fault */
    ENGINE_EXIT_KICKED,    /* kick() was called, or a signal came */
    ENGINE_EXIT_FAILED,    /* the engine cannot go on: see failed.reason */
};

struct engine_exit {
    enum engine_exit_kind kind;
    union {
        struct {
            uint16_t port;
            uint8_t size; /* 1, 2, 4 */
            uint32_t value;
        } port;
        struct {
            uint64_t gpa;
            uint8_t size; /* 1, 2, 4, 8 */
            uint64_t value;
        } mmio;
        struct {
            uint32_t index;
            uint64_t value;
            bool refused; /* answer: raise #GP(0) instead */
            bool halt;    /* answer: halt after the instruction, as HLT does with interrupts on */
        } msr;
        struct {
            bool long_mode; /* 64-bit code; else only the low halves count */
            uint64_t rbx, rcx, rsi, rdi, r8;
            uint64_t rax, rdx; /* in, and the answer: written back by the next run() */
        } hypercall;           /* other registers by get */
        struct {
            uint8_t vector;
        } eoi;
        struct {
            struct reason reason;
        } failed;
    };
};

#endif
