/*
 * A small machine for tests of the software engine: RAM, a GDT, an IDT and page tables, and code
 * given as bytes. Exceptions and the end of the code are seen as port exits: the handler of vector
 * V executes `out V, al` and then returns by IRET; code that comes to its end executes
 * `out PORT_DONE, al`. So no register changes on the way, and the frame lies on the stack.
 *
 * Linear addresses: the first 2 MiB are mapped by 4 KiB pages, the rest of RAM by 2 MiB pages, all
 * to themselves, for user and supervisor; MMIO_LINEAR is a 2 MiB page at MMIO_GPA, outside RAM.
 * Fields of `cpu` may be changed between two runs. One thread a vCPU.
 */
#ifndef TESTS_HARNESS_SOFT_FIXTURE_H
#define TESTS_HARNESS_SOFT_FIXTURE_H

#include <pthread.h>

#include "engine/soft/partition.h"

enum {
    GUEST_RAM = 8 << 20,
    GUEST_CPUS = 4,

    PML4_AT = 0x1000,
    PDPT_AT = 0x2000,
    PD_AT = 0x3000,
    PT_AT = 0x4000,
    IDT_AT = 0x5000,
    GDT_AT = 0x6000,
    TSS_AT = 0x7000,
    HANDLERS_AT = 0x8000,
    FREE_TABLES_AT = 0x9000, /* eight pages for tables that a test adds */
    CODE_AT = 0x20000,
    STACK_TOP = 0x30000,
    DATA_AT = 0x40000, /* free up to the end of RAM */
    LARGE_AT = 0x400000,
    MMIO_LINEAR = 0x20000000,
    PORT_DONE = 0xe9,
};
#define MMIO_GPA UINT64_C(0xd0000000)

enum {
    CODE64_SELECTOR = 0x08,
    DATA_SELECTOR = 0x10,
    CODE32_SELECTOR = 0x18,
    USER_CODE32_SELECTOR = 0x20 | 3,
    USER_DATA_SELECTOR = 0x28 | 3,
    USER_CODE64_SELECTOR = 0x30 | 3,
    TSS_SELECTOR = 0x38,
};

/* Page table entries. */
enum {
    PAGE_P = 1,
    PAGE_W = 2,
    PAGE_U = 4,
    PAGE_A = 0x20,
    PAGE_D = 0x40,
    PAGE_PS = 0x80,
    PAGE_G = 0x100
};
#define PAGE_XD (UINT64_C(1) << 63)

struct guest {
    struct mem *mem;
    uint8_t *ram;
    uint64_t size; /* of RAM */
    struct engine_partition *partition;
    struct soft_partition *soft;
    unsigned count;
    struct engine_vcpu *vcpus[GUEST_CPUS];
    struct cpu *cpus[GUEST_CPUS];
    struct engine_vcpu *vcpu; /* the first */
    struct cpu *cpu;
    struct engine_exit exit; /* of the first */
    pthread_t threads[GUEST_CPUS];
    struct engine_exit exits[GUEST_CPUS]; /* of those that run on threads of their own */
};

/*
 * Aborts the program when the machine cannot be made: there is no test without it. With
 * SOFT_FIXTURE_TRANSLATES in the environment all its code is translated: so tests that were written
 * for the interpreter are run for translations, too.
 */
struct guest *guest_create(unsigned vcpus);
/* The same, with a say in which of its code is translated. */
struct guest *guest_create_with(unsigned vcpus, enum engine_translate translate);
/* The same with other RAM than GUEST_RAM, of one vCPU, and little memory for its code. */
struct guest *guest_create_small(uint64_t ram, enum engine_translate translate);
void guest_destroy(struct guest *guest);
/* RAM as after creation, and all vCPUs as after power-on. */
void guest_reset(struct guest *guest);

/* For cmocka: one vCPU in 64-bit code, CPL 0, interrupts off, ready at CODE_AT. */
int guest_setup(void **state);
/* The same, with every block translated as soon as it has run once. */
int guest_setup_translated(void **state);
int guest_teardown(void **state);

/* Put a vCPU into a mode, its registers cleared, RSP at its stack's top and RIP at CODE_AT. */
void guest_use_long(struct guest *guest, unsigned index);
void guest_use_protected(struct guest *guest, unsigned index); /* flat 32-bit, no paging */
void guest_use_real(struct guest *guest, unsigned index);      /* CS at CODE_AT, the rest at 0 */
/* From 64-bit code to CPL 3. */
void guest_use_user(struct guest *guest, unsigned index);

/* Put bytes into RAM as a device does. */
void guest_write(struct guest *guest, uint64_t gpa, const void *bytes, size_t length);
void guest_write64(struct guest *guest, uint64_t gpa, uint64_t value);
uint64_t guest_read64(const struct guest *guest, uint64_t gpa);
uint32_t guest_read32(const struct guest *guest, uint64_t gpa);

/* The entry of a 4 KiB page below 2 MiB, changed without INVLPG. */
void guest_map(struct guest *guest, uint64_t linear, uint64_t entry);

/* Bytes at `at`, then `out PORT_DONE, al`. */
void guest_place(struct guest *guest, uint64_t at, const void *bytes, size_t length);
#define PLACE(guest, at, bytes) guest_place(guest, at, "" bytes, sizeof(bytes) - 1)

/* Forget what the last run asked, and begin at `rip`. */
void guest_start(struct guest *guest, uint64_t rip);
/* run() of the first vCPU: the kind of its exit. */
enum engine_exit_kind guest_run(struct guest *guest);
/* Run to a port write and give its port; -1 for any other exit. */
int guest_run_to_port(struct guest *guest);
/* run() of another vCPU on its own thread, from the start; its port, or -1 for any other exit. */
void guest_begin(struct guest *guest, unsigned index);
int guest_end(struct guest *guest, unsigned index);
/* Place bytes at CODE_AT, run them from there: PORT_DONE, a vector, or -1. */
int guest_try(struct guest *guest, const void *bytes, size_t length);
#define TRY(guest, bytes) guest_try(guest, "" bytes, sizeof(bytes) - 1)

/* Words of the exception frame that the handler was entered with, 8 bytes each. */
uint64_t guest_frame(const struct guest *guest, unsigned word);

#endif
