/*
 * Handlers the decoder may name, by file. What each finds in its op:
 *   reg, rm/memory, imm, disp, width as op.h says; `extra` = number of the special register
 * (segment, CR, DR), selector of a far pointer, or condition code. A handler that changes control
 * flow sets cpu->rip (after reading op_rip/op_next_rip) and returns STEP_JUMP. Handlers of
 * instructions that may change mode, TLB, CPL or IF return STEP_JUMP with cpu->rip = op_next_rip,
 * so that the next block is looked up anew.
 */
#ifndef SOFT_OPS_H
#define SOFT_OPS_H

#include "engine/soft/op.h"

/* op_segment.c: `extra` = segment index */
int op_mov_from_segment(struct cpu *cpu,
                        const struct op *op); /* width of register destination; memory: 2 */
int op_mov_to_segment(struct cpu *cpu, const struct op *op);
int op_push_segment(struct cpu *cpu, const struct op *op);
int op_pop_segment(struct cpu *cpu, const struct op *op);
int op_load_far_pointer(struct cpu *cpu, const struct op *op); /* LDS, LES, LSS, LFS, LGS */
int op_lar(struct cpu *cpu, const struct op *op);
int op_lsl(struct cpu *cpu, const struct op *op);
int op_verr(struct cpu *cpu, const struct op *op);
int op_verw(struct cpu *cpu, const struct op *op);
int op_arpl(struct cpu *cpu, const struct op *op);
int op_lldt(struct cpu *cpu, const struct op *op);
int op_ltr(struct cpu *cpu, const struct op *op);
int op_sldt(struct cpu *cpu, const struct op *op);
int op_str(struct cpu *cpu, const struct op *op);

/* op_transfer.c */
int op_far_jump(struct cpu *cpu, const struct op *op);          /* imm = offset, extra = selector */
int op_far_jump_indirect(struct cpu *cpu, const struct op *op); /* memory m16:16/32/64 by width */
int op_far_call(struct cpu *cpu, const struct op *op);
int op_far_call_indirect(struct cpu *cpu, const struct op *op);
int op_far_return(struct cpu *cpu, const struct op *op); /* imm = bytes to drop */
int op_iret(struct cpu *cpu, const struct op *op);       /* width 2, 4, 8 */
int op_int(struct cpu *cpu, const struct op *op);        /* imm = vector */
int op_int3(struct cpu *cpu, const struct op *op);
int op_into(struct cpu *cpu, const struct op *op);
int op_icebp(struct cpu *cpu, const struct op *op);

/* op_system.c; `extra` = number of CR or DR */
int op_mov_from_cr(struct cpu *cpu, const struct op *op);
int op_mov_to_cr(struct cpu *cpu, const struct op *op);
int op_mov_from_dr(struct cpu *cpu, const struct op *op);
int op_mov_to_dr(struct cpu *cpu, const struct op *op);
int op_clts(struct cpu *cpu, const struct op *op);
int op_lmsw(struct cpu *cpu, const struct op *op);
int op_smsw(struct cpu *cpu, const struct op *op);
int op_lgdt(struct cpu *cpu, const struct op *op);
int op_lidt(struct cpu *cpu, const struct op *op);
int op_sgdt(struct cpu *cpu, const struct op *op);
int op_sidt(struct cpu *cpu, const struct op *op);
int op_invlpg(struct cpu *cpu, const struct op *op);
int op_invpcid(struct cpu *cpu, const struct op *op);
int op_cache_flush_all(struct cpu *cpu,
                       const struct op *op); /* INVD, WBINVD, WBNOINVD: CPL 0 only */
int op_rdmsr(struct cpu *cpu, const struct op *op);
int op_wrmsr(struct cpu *cpu, const struct op *op);
int op_rdpmc(struct cpu *cpu, const struct op *op);
int op_cpuid(struct cpu *cpu, const struct op *op);
int op_rdtsc(struct cpu *cpu, const struct op *op);
int op_rdtscp(struct cpu *cpu, const struct op *op);
int op_rdpid(struct cpu *cpu, const struct op *op);
int op_rdfsbase(struct cpu *cpu, const struct op *op);
int op_rdgsbase(struct cpu *cpu, const struct op *op);
int op_wrfsbase(struct cpu *cpu, const struct op *op);
int op_wrgsbase(struct cpu *cpu, const struct op *op);
int op_clac(struct cpu *cpu, const struct op *op);
int op_stac(struct cpu *cpu, const struct op *op);
int op_vmcall(struct cpu *cpu, const struct op *op); /* VMCALL, VMMCALL */

#endif
