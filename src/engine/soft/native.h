/*
 * Inside of the native thunks: shared by the files that classify, encode, keep and run them.
 */
#ifndef SOFT_NATIVE_H
#define SOFT_NATIVE_H

#include <Zydis/Zydis.h>

#include "engine/soft/op.h"
#include "engine/soft/thunk.h"

/* What must be enabled before the instruction may run, and which state it touches. */
enum native_need {
    NEED_X87 = 1 << 0,       /* #NM by CR0.EM or TS */
    NEED_WAIT = 1 << 1,      /* #NM by CR0.MP and TS */
    NEED_MMX = 1 << 2,       /* #UD by CR0.EM, #NM by TS */
    NEED_SSE = 1 << 3,       /* #UD by CR0.EM or without CR4.OSFXSR, #NM by TS */
    NEED_AVX = 1 << 4,       /* #UD without CR4.OSXSAVE and XCR0[2:1], #NM by TS */
    NEED_PROTECTED = 1 << 5, /* VEX on general registers: #UD in real and virtual-8086 mode */
    NEED_STATE = NEED_X87 | NEED_WAIT | NEED_MMX | NEED_SSE | NEED_AVX,
};

/* What becomes of FIP, FDP and FOP. */
enum native_pointers { POINTERS_KEEP, POINTERS_SET, POINTERS_CLEAR };

/* 0, or 1 + the number of the trap that the instruction raised. */
typedef unsigned (*native_code)(struct cpu *cpu, void *memory);

struct thunk {
    native_code code;   /* NULL: op->run does it by itself, with the fields below */
    struct thunk *next; /* of the same hash */
    uint16_t code_length;
    uint16_t size;     /* of the memory operand, in bytes; 0 = none */
    uint16_t opcode;   /* of x87 instructions, as FOP has it */
    uint8_t access;    /* enum access */
    uint8_t alignment; /* of the memory operand, else #GP(0) */
    uint8_t need;      /* enum native_need */
    uint8_t pointers;  /* enum native_pointers */
    bool saved;        /* the code uses registers that a callee must keep */
    bool waits;        /* raises a pending x87 exception */
    bool pops;         /* stores to memory and pops the x87 stack */
    uint8_t bit_width; /* BT family with register and memory: operand size in bits, else 0 */
    uint8_t bit_reg;   /* … and the number of the register */
    /* Masked moves and gathers. */
    uint8_t target, source, mask; /* vector register numbers */
    uint8_t vector_size;          /* 8, 16 or 32 bytes */
    uint8_t element_size;
    uint8_t index_size; /* gathers: bytes of one index; 0 = not a gather */
    uint8_t scale;
    bool implicit;   /* the address is in rDI, whatever op says … */
    uint8_t segment; /* … and in this segment */
};

/* ---- allow.c ---- */

enum native_form {
    FORM_REFUSED,
    FORM_CODE,        /* run the instruction itself */
    FORM_ENVIRONMENT, /* FNSTENV, FLDENV, FNSAVE, FRSTOR */
    FORM_MXCSR,       /* LDMXCSR, STMXCSR */
    FORM_FLUSH,       /* CLFLUSH, CLFLUSHOPT, CLWB */
    FORM_MASKED,      /* MASKMOVQ, MASKMOVDQU, VMASKMOV, VPMASKMOV */
    FORM_GATHER,
    FORM_ZERO, /* VZEROALL, VZEROUPPER outside 64-bit code */
};

/* How to run an instruction; `need` and `pointers` of the thunk are filled in. */
enum native_form allow_form(const ZydisDecodedInstruction *instruction,
                            const ZydisDecodedOperand *operands, struct thunk *thunk);

/* ---- encode.c ---- */

/* Number 0–15 of the general register that `reg` is or lies in, or -1. */
int encode_gpr_number(ZydisRegister reg);
/* The explicit memory operand, or NULL. */
const ZydisDecodedOperand *encode_memory(const ZydisDecodedInstruction *instruction,
                                         const ZydisDecodedOperand *operands);

/* Where a copied instruction finds its operands: host registers, by number. */
struct encode_target {
    uint8_t gpr[GPR_COUNT]; /* in place of the guest's; AH, CH, DH and BH are never moved */
    /* The memory operand is at [memory + index + disp]. */
    uint8_t memory, index;
    bool has_index;
    int32_t disp;
};

/* The same instruction with these operands: its length, or -ENOTSUP. */
int encode_instruction(const ZydisDecodedInstruction *instruction,
                       const ZydisDecodedOperand *operands, const struct encode_target *target,
                       uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH]);

enum { NATIVE_CODE_MAX = 384 };
/* Write the code of `thunk` (for its bit_width) to `code`; fills `saved`. The length, or -ENOTSUP.
 */
int encode_thunk(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
                 struct thunk *thunk, uint8_t code[NATIVE_CODE_MAX]);

/* ---- thunk.c ---- */

/* Where every faulting instruction goes on: returns the trap from the thunk. */
bool thunk_contains(uint64_t rip, uint64_t *ret_return);

/* ---- native.c: live ---- */

int op_native(struct cpu *cpu, const struct op *op);
int op_native_register(struct cpu *cpu, const struct op *op); /* needs nothing, no memory */
/* The x87 instruction was the last: FIP, FDP and FOP. */
void native_note_pointers(struct cpu *cpu, const struct op *op);
/* 0 or STEP_FAULT: #UD or #NM. */
int native_available(struct cpu *cpu, unsigned need);

/* ---- fpu.c: live ---- */

/* XSAVE64 and XRSTOR64 of the host, standard format. */
void fpu_native_save(void *area, uint32_t components);
void fpu_native_restore(const void *area, uint32_t components);
/* Is an unmasked x87 exception pending? */
bool fpu_is_pending(struct cpu *cpu);
/* Bring the guest's state into cpu->xsave, complete and not live, whatever it was. */
void fpu_to_image(struct cpu *cpu);

/* ---- masked_describe.c ---- */

/* 0, or -ENOTSUP: registers named twice where they must not be. */
int masked_describe(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
                    struct thunk *thunk);

/* The linear address of the operand, without any check. */
static inline uint64_t native_raw_linear(const struct cpu *cpu, const struct op *op)
{
    uint64_t address = op_address(cpu, op);
    if (op->segment == SEGMENT_FLAT)
        return address;
    uint64_t linear = cpu->segment[op->segment].base + address;
    return (cpu->mode & MODE_LONG) ? linear : (uint32_t)linear;
}

/* ---- x87env.c, fpu.c, masked.c: live ---- */

int op_fnstenv(struct cpu *cpu, const struct op *op);
int op_fldenv(struct cpu *cpu, const struct op *op);
int op_fnsave(struct cpu *cpu, const struct op *op);
int op_frstor(struct cpu *cpu, const struct op *op);
int op_ldmxcsr(struct cpu *cpu, const struct op *op);
int op_stmxcsr(struct cpu *cpu, const struct op *op);
int op_cache_line(struct cpu *cpu, const struct op *op);
int op_masked_load(struct cpu *cpu, const struct op *op);
int op_masked_store(struct cpu *cpu, const struct op *op);
int op_zero_vectors(struct cpu *cpu, const struct op *op); /* vector_size: 16 = upper halves only */
int op_gather(struct cpu *cpu, const struct op *op);

/* Copy without touching vector registers, as live code must. */
static inline void copy_live(void *to, const void *from, uint64_t count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static inline void zero_live(void *to, uint64_t count)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0) : "memory");
}

#endif
