/*
 * What the tester and its native child share: addresses, one case, one result, the ring of both.
 *
 * 1. The same virtual addresses hold in the child and in the engine's guest. All lie below 2 GiB,
 *    so that absolute 32-bit operands and compatibility mode reach them.
 * 2. Pages: code (read, execute), rw0 and rw1 (read, write, no execute), ro (read, no execute);
 *    the pages around each group are not present.
 * 3. The ring lies in a memfd. The tester fills `cases`, raises `asked`; the child fills `results`,
 *    raises `done`. `running` says which case the child is at, should it die.
 */
#ifndef DIFFERENTIAL_LAYOUT_H
#define DIFFERENTIAL_LAYOUT_H

#include <stdint.h>

#define DIFF_PAGE 0x1000U
#define DIFF_CODE UINT64_C(0x10001000)
#define DIFF_RW0  UINT64_C(0x10011000)
#define DIFF_RW1  (DIFF_RW0 + DIFF_PAGE)
#define DIFF_RO   (DIFF_RW1 + DIFF_PAGE)
/*
 * IRET to a 16-bit stack segment leaves bits 16 up of the stack pointer as they were: cases with
 * such a segment start with those of DIFF_ENTRY. The child's IRET frame lies in this page, far
 * above the stack pointers of cases.
 */
#define DIFF_ENTRY      UINT64_C(0x10030000)
#define DIFF_ENTRY_PAGE (DIFF_ENTRY + 0xf000)
#define DIFF_RW_SIZE    0x2000U
#define DIFF_DATA_SIZE  0x3000U

/* Selectors as Linux gives them to user mode; the guest's GDT has the same at the same places. */
enum {
    DIFF_USER_CS32 = 0x23,
    DIFF_USER_DS = 0x2b,
    DIFF_USER_CS64 = 0x33,
};

/* Entries of the local descriptor table, for code other than 64-bit. */
enum {
    DIFF_LDT_RW = 1,      /* rw0 and rw1, byte granular */
    DIFF_LDT_DOWN = 2,    /* the same pages, expand-down: offsets 0..0xfff are outside */
    DIFF_LDT_RO = 3,      /* rw0 and rw1, not writable */
    DIFF_LDT_GONE = 4,    /* not present */
    DIFF_LDT_CODE16 = 5,  /* 16-bit code at the code page */
    DIFF_LDT_STACK16 = 6, /* rw0 and rw1, stack pointer SP */
    DIFF_LDT_COUNT = 7,
};
#define DIFF_LDT_SELECTOR(index) ((uint16_t)((index)*8 + 7))

/*
 * What the code is: its width in bits. 16-bit code runs in a segment of the local descriptor table
 * whose base is DIFF_CODE, with data and stack segments whose base is DIFF_RW0.
 */
enum diff_mode { DIFF_MODE16 = 16, DIFF_MODE32 = 32, DIFF_MODE64 = 64 };

enum { DIFF_BATCH = 64, DIFF_CODE_MAX = 64, DIFF_PATCHES = 4, DIFF_PATCH_MAX = 64 };

/* Legacy region, header, and AVX at its fixed place: Intel SDM vol. 1 § 13.4. */
enum { DIFF_XSAVE_SIZE = 832, DIFF_XSAVE_HEADER = 512, DIFF_XSAVE_AVX = 576 };

enum diff_segment { DIFF_ES, DIFF_CS, DIFF_SS, DIFF_DS, DIFF_FS, DIFF_GS, DIFF_SEGMENTS };

struct diff_state {
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags;
    uint64_t fs_base, gs_base;
    uint16_t segment[DIFF_SEGMENTS];
    _Alignas(64) uint8_t xsave[DIFF_XSAVE_SIZE];
};

/* Bytes put over the batch's data pages before one case runs. */
struct diff_patch {
    uint16_t offset; /* from DIFF_RW0 */
    uint16_t length;
    uint8_t bytes[DIFF_PATCH_MAX];
};

struct diff_case {
    struct diff_state in;
    uint32_t code_offset; /* from DIFF_CODE; rip points here */
    uint32_t code_length;
    uint8_t code[DIFF_CODE_MAX];
    uint32_t patch_count;
    struct diff_patch patch[DIFF_PATCHES];
};

enum diff_outcome {
    DIFF_NOT_RUN,
    DIFF_TRAPPED, /* ended by an exception, int3 after the instruction included */
    DIFF_DIED,    /* the child was killed, the engine shut down */
    DIFF_STUCK,
};

struct diff_result {
    enum diff_outcome outcome;
    uint32_t vector;
    uint64_t error;
    uint64_t cr2;
    struct diff_state out;
    uint8_t data[DIFF_DATA_SIZE];
};

struct diff_ring {
    uint32_t asked;                            /* atomic */
    uint32_t done;                             /* atomic */
    uint32_t running;                          /* atomic: index of the case at work */
    uint32_t count;                            /* of cases in this batch */
    uint32_t has_ldt;                          /* the child could make its local descriptor table */
    _Alignas(64) uint8_t data[DIFF_DATA_SIZE]; /* what the data pages hold before each case */
    struct diff_case cases[DIFF_BATCH];
    struct diff_result results[DIFF_BATCH];
};

#endif
