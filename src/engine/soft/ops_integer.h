/*
 * Handlers of integer, stack, branch, string and port instructions. See ops.h for what they find.
 */
#ifndef SOFT_OPS_INTEGER_H
#define SOFT_OPS_INTEGER_H

#include "engine/soft/op.h"

/* Where operands are: destination first. R register, M memory, I immediate. */
enum form { FORM_RR, FORM_RI, FORM_MR, FORM_MI, FORM_RM, FORM_COUNT };
/* Index of a width of 1, 2, 4, 8 bytes. */
enum { WIDTH_COUNT = 4 };
typedef const op_fn form_table[FORM_COUNT][WIDTH_COUNT];

/* op_alu.c */
extern form_table op_add, op_or, op_adc, op_sbb, op_and, op_sub, op_xor, op_cmp, op_test;
/* FORM_RR: register, FORM_MR: memory */
extern form_table op_inc, op_dec, op_neg, op_not;

/* op_shift.c: FORM_…I: count in imm; FORM_…R: count in CL */
extern form_table op_rol, op_ror, op_rcl, op_rcr, op_shl, op_shr, op_sar;

/* op_move.c */
extern form_table op_mov, op_xchg;
int op_lea(struct cpu *cpu, const struct op *op);
int op_movzx(struct cpu *cpu, const struct op *op); /* source of `size` bytes */
int op_movsx(struct cpu *cpu, const struct op *op);
int op_cmov(struct cpu *cpu, const struct op *op);  /* extra = condition */
int op_setcc(struct cpu *cpu, const struct op *op); /* extra = condition */
int op_cbw(struct cpu *cpu, const struct op *op);   /* CBW, CWDE, CDQE by width */
int op_cwd(struct cpu *cpu, const struct op *op);   /* CWD, CDQ, CQO by width */
int op_xlat(struct cpu *cpu, const struct op *op);
int op_lahf(struct cpu *cpu, const struct op *op);
int op_sahf(struct cpu *cpu, const struct op *op);
int op_clc(struct cpu *cpu, const struct op *op);
int op_stc(struct cpu *cpu, const struct op *op);
int op_cmc(struct cpu *cpu, const struct op *op);
int op_cld(struct cpu *cpu, const struct op *op);
int op_std(struct cpu *cpu, const struct op *op);
int op_nop(struct cpu *cpu, const struct op *op);

/* op_stack.c */
int op_push(struct cpu *cpu, const struct op *op);
int op_push_imm(struct cpu *cpu, const struct op *op);
int op_pop(struct cpu *cpu, const struct op *op);
int op_push64(struct cpu *cpu, const struct op *op); /* register, 64-bit code */
int op_pop64(struct cpu *cpu, const struct op *op);
int op_pusha(struct cpu *cpu, const struct op *op);
int op_popa(struct cpu *cpu, const struct op *op);
int op_pushf(struct cpu *cpu, const struct op *op);
int op_popf(struct cpu *cpu, const struct op *op);
int op_enter(struct cpu *cpu, const struct op *op);
int op_leave(struct cpu *cpu, const struct op *op);

/* op_branch.c */
int op_jmp(struct cpu *cpu, const struct op *op); /* imm = target */
int op_jmp_indirect(struct cpu *cpu, const struct op *op);
int op_jcc_o(struct cpu *cpu, const struct op *op);
int op_jcc_no(struct cpu *cpu, const struct op *op);
int op_jcc_b(struct cpu *cpu, const struct op *op);
int op_jcc_nb(struct cpu *cpu, const struct op *op);
int op_jcc_z(struct cpu *cpu, const struct op *op);
int op_jcc_nz(struct cpu *cpu, const struct op *op);
int op_jcc_be(struct cpu *cpu, const struct op *op);
int op_jcc_nbe(struct cpu *cpu, const struct op *op);
int op_jcc_s(struct cpu *cpu, const struct op *op);
int op_jcc_ns(struct cpu *cpu, const struct op *op);
int op_jcc_p(struct cpu *cpu, const struct op *op);
int op_jcc_np(struct cpu *cpu, const struct op *op);
int op_jcc_l(struct cpu *cpu, const struct op *op);
int op_jcc_nl(struct cpu *cpu, const struct op *op);
int op_jcc_le(struct cpu *cpu, const struct op *op);
int op_jcc_nle(struct cpu *cpu, const struct op *op);
int op_jcxz(struct cpu *cpu, const struct op *op);
int op_loop(struct cpu *cpu, const struct op *op); /* extra = 0 LOOP, 1 LOOPE, 2 LOOPNE */
int op_call(struct cpu *cpu, const struct op *op);
int op_call_indirect(struct cpu *cpu, const struct op *op);
int op_ret(struct cpu *cpu, const struct op *op); /* imm = bytes to drop */
int op_leave_block(struct cpu *cpu, const struct op *op);
int op_stale(struct cpu *cpu, const struct op *op);
int op_undefined(struct cpu *cpu, const struct op *op);
int op_too_long(struct cpu *cpu, const struct op *op);
int op_hlt(struct cpu *cpu, const struct op *op);
int op_cli(struct cpu *cpu, const struct op *op);
int op_sti(struct cpu *cpu, const struct op *op);
/* One whose block has exactly one more instruction: nothing is delivered between the two. */
int op_sti_within(struct cpu *cpu, const struct op *op);
int op_pause(struct cpu *cpu, const struct op *op);
int op_bound(struct cpu *cpu, const struct op *op);

/* op_string.c: width = element, flags = OP_REP, OP_REPNE */
int op_movs(struct cpu *cpu, const struct op *op);
int op_stos(struct cpu *cpu, const struct op *op);
int op_lods(struct cpu *cpu, const struct op *op);
int op_scas(struct cpu *cpu, const struct op *op);
int op_cmps(struct cpu *cpu, const struct op *op);
/* op_port.c */
int op_ins(struct cpu *cpu, const struct op *op);
int op_outs(struct cpu *cpu, const struct op *op);
int op_in(struct cpu *cpu, const struct op *op); /* OP_IMMEDIATE: port in imm, else DX */
int op_out(struct cpu *cpu, const struct op *op);

/* op_bcd.c */
int op_aaa(struct cpu *cpu, const struct op *op);
int op_aas(struct cpu *cpu, const struct op *op);
int op_aam(struct cpu *cpu, const struct op *op);
int op_aad(struct cpu *cpu, const struct op *op);
int op_daa(struct cpu *cpu, const struct op *op);
int op_das(struct cpu *cpu, const struct op *op);
int op_salc(struct cpu *cpu, const struct op *op);

/* Condition codes of Jcc, SETcc, CMOVcc (Intel SDM vol. 1 appendix B). */
static inline bool condition_met(uint64_t flags, unsigned code)
{
    bool met;
    bool sf = (flags & FLAG_SF) != 0;
    bool of = (flags & FLAG_OF) != 0;
    switch (code >> 1) {
    case 0:
        met = of;
        break;
    case 1:
        met = (flags & FLAG_CF) != 0;
        break;
    case 2:
        met = (flags & FLAG_ZF) != 0;
        break;
    case 3:
        met = (flags & (FLAG_CF | FLAG_ZF)) != 0;
        break;
    case 4:
        met = sf;
        break;
    case 5:
        met = (flags & FLAG_PF) != 0;
        break;
    case 6:
        met = sf != of;
        break;
    default:
        met = (flags & FLAG_ZF) != 0 || sf != of;
        break;
    }
    return met != (code & 1);
}

#endif
