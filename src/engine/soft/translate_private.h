/* Inside of the translator: shared by the files that plan, write and keep translations. */
#ifndef SOFT_TRANSLATE_PRIVATE_H
#define SOFT_TRANSLATE_PRIVATE_H

#include <stddef.h>
#include <stdio.h>
#include <Zydis/Zydis.h>

#include "engine/soft/assemble.h"
#include "engine/soft/code_private.h"
#include "engine/soft/native.h"
#include "engine/soft/translation.h"

enum { HOST_RSP = 12, SCRATCH_ADDRESS = 13, SCRATCH_A = 14, SCRATCH_B = 15 };
enum {
    TRANSLATE_MAX_OPS = 64,
    TRANSLATE_MAX_SITES = 8,
    TRANSLATE_MAX_EXITS = 2 * TRANSLATE_MAX_OPS
};

/* Code that all translations share; where each begins, in the writable mapping. */
struct routines {
    uint8_t *interpret_live, *interpret_saved; /* R13D = index, R14 = block; called */
    uint8_t *finish_live, *finish_saved;       /* the same, but all that follows too */
    uint8_t *follow_live, *follow_saved;       /* R13 = link */
    uint8_t *go_live, *go_saved;               /* R13 = guest address */
    uint8_t *pass;                             /* R13 = block, which needs no flags */
    uint8_t *leave;
    uint8_t *enter;
    /* R13 = first byte, R15 = last byte: R13 = distance to the host's, and the near page is that
     * page; ZF: it was found. Called; changes R14 and R15. */
    uint8_t *near_read, *near_write;
};

struct translator {
    struct code_cache *code;
    uint8_t *writable, *executable;
    size_t size; /* of each; touched pages only cost memory */
    size_t used, routines_end;
    struct routines routine;
    struct translation **made; /* by address of their code */
    _Atomic size_t made_count;
    ZydisDecoder decoder;
    bool keeps_flags; /* for tests: no flags count as dead */
};

/* The address at which code is run that is written at `writable`. */
static inline const uint8_t *translator_executable(const struct translator *translator,
                                                   const uint8_t *writable)
{
    return translator->executable + (writable - translator->writable);
}

/* Where a guest register lies that no host register holds. */
static inline struct place place_of_gpr(unsigned gpr)
{
    return place_of_cpu(offsetof(struct cpu, gpr) + 8 * (size_t)gpr);
}

/* How an instruction is translated. */
enum kind {
    KIND_INTERPRET,
    KIND_COPY,
    KIND_NOTHING,
    KIND_LEA,
    KIND_PUSH,
    KIND_PUSH_CONSTANT,
    KIND_POP,
    KIND_LEAVE,
    KIND_JUMP,
    KIND_JUMP_IF,
    KIND_JUMP_INDIRECT,
    KIND_CALL,
    KIND_CALL_INDIRECT,
    KIND_RETURN,
    KIND_STOS,
    KIND_MOVS,
    KIND_CLI,
    KIND_STI,
    KIND_PUSHF,
    KIND_POPF,
    KIND_SWAPGS,
};

/* Where the guest's arithmetic flags are. */
enum flags_place { FLAGS_LIVE, FLAGS_SAVED, FLAGS_DEAD };

/*
 * Accesses of one block off the same register, by distances known beforehand, share one look-up in
 * the TLB: the first looks up a window that holds them all, and leaves the distance from guest to
 * host address in cpu->delta.
 */
struct group {
    uint8_t base;
    bool write;
    int32_t low, high; /* the window, from what the base held at the first access */
    unsigned first, count;
};
enum { MAX_GROUPS = 2 * TRANSLATE_MAX_OPS, NO_GROUP = 0xff };

/* One access of an instruction. */
struct reach {
    uint16_t size; /* bytes, 0 = none */
    bool write;
    uint8_t base;  /* of a shared look-up, with `disp`; else GPR_ZERO */
    uint8_t group; /* index, or NO_GROUP: it has a look-up of its own */
    bool first;    /* of its group */
    int32_t disp;
    int32_t moved; /* what the base has been moved by since the group began */
};
enum { REACH_OPERAND, REACH_STACK, REACHES };

/* What is known of one instruction before it is written. */
struct plan {
    enum kind kind;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    struct reach reach[REACHES];
    uint8_t level;        /* enum vector_level that it needs */
    bool sets_pointers;   /* FIP and FOP, and FDP with an operand */
    bool leaves_pointers; /* to the next instruction, which sets them again */
    bool reads_flags;     /* or keeps some that are read later */
    bool writes_flags;    /* at least one */
    bool kills_flags;     /* all of them, for certain */
    bool flags_needed_before, flags_needed_after;
};

/* A near page that is another: to be looked up, behind the instructions. */
struct miss {
    uint8_t *site;         /* the distance that leads here */
    const uint8_t *resume; /* with R13 as the hit leaves it */
    unsigned op;
    uint16_t size;
    bool write;
    int32_t disp; /* of the first byte, off the stack pointer */
};

/* A way out of the block, written behind the instructions. */
struct exit_plan {
    uint8_t *site; /* the distance that leads here */
    uint64_t target;
    unsigned op;
    enum flags_place flags;
};

/* One translation in the making. */
struct work {
    struct translator *translator;
    struct block *block;
    struct translation *made;
    struct emit emit;
    struct plan plan[TRANSLATE_MAX_OPS];
    struct group group[MAX_GROUPS];
    enum flags_place flags;
    uint8_t level;                   /* enum vector_level already looked at */
    uint8_t held;                    /* the group whose distance is in R13 as well, or NO_GROUP */
    bool open;                       /* the code written last goes on to what follows */
    bool refused[TRANSLATE_MAX_OPS]; /* could not be encoded anew */
    bool again;                      /* one more was refused */
    /* Of the instruction being written: */
    unsigned current;
    /* Of all: */
    struct {
        uint8_t *site[TRANSLATE_MAX_SITES];
        unsigned count;
        uint8_t *resume;
        bool saved;
        uint8_t held; /* behind it */
    } stub[TRANSLATE_MAX_OPS];
    struct exit_plan exit[TRANSLATE_MAX_EXITS];
    unsigned exit_count;
    struct miss miss[REACHES * TRANSLATE_MAX_OPS];
    unsigned miss_count;
};

/* ---- translator.c ---- */

/* Remember whose the code is, which begins behind all others. False: too many. */
bool translator_keep(struct translator *translator, struct translation *made);

/* ---- translate_trace.c ---- */

/* Guest and host code, as text. */
void translation_trace(FILE *to, const struct translator *translator,
                       const struct translation *made);

/* ---- translate_watch.c; costs nothing while nobody watches ---- */

/* Code that stands for guest code of `block`. */
void translation_tell(const struct cpu *cpu, const struct block *block, const uint8_t *at,
                      size_t length);
/* The routines that all translations share. */
void translation_tell_routines(const struct translator *translator);
/* All translations are forgotten. */
void translation_tell_emptied(const struct translator *translator);

/* ---- translate_plan.c ---- */

/* Fills in work->plan. */
void plan_block(struct work *work);

/* ---- translate_group.c ---- */

void group_accesses(const struct block *block, struct plan *plan, struct group *group);

/* ---- translate_memory.c ---- */

/* Before code that changes the flags. */
void write_flags_aside(struct work *work);
/* `reg` = a guest address that the block knows; flags stay. */
void write_guest_address(struct emit *emit, const struct block *block, uint64_t address,
                         unsigned reg);
/* Before an instruction that reads them, or keeps some. */
void write_flags_back(struct work *work, unsigned scratch);
/* A jump to the instruction's stub if `condition`. */
void write_to_stub(struct work *work, unsigned condition);
/* Let the distance at `site` lead to `target`. */
void write_branch_to(struct emit *emit, uint8_t *site, const uint8_t *target);
/* The address of op's memory operand (without its segment for LEA) to `reg`. */
void write_address(struct work *work, const struct op *op, bool wide, unsigned reg);
void write_segment_base(struct work *work, const struct op *op);
/*
 * Where the bytes of the current instruction's access are, looked up; or to the stub. The place
 * uses R13; R14 and R15 are free behind it. Changes the flags unless the look-up was shared.
 */
struct place write_reach(struct work *work, unsigned which);
/*
 * R13 = guest address of the first byte, R15 of the last: to the stub unless the TLB has them all.
 * R14 is then the entry. Changes R15 and the flags.
 */
void write_look_up(struct work *work, bool write);
/* All that the instructions miss; before their stubs. */
void write_misses(struct work *work);
/* The routines for them. */
uint8_t *write_near_routine(struct emit *emit, bool write);
/* The distance from guest to host addresses in that entry. */
extern const struct place translate_entry_delta;
/* R13 = the distance of a group whose first access is past. */
void write_held_again(struct work *work, unsigned group);
/* The host register that holds a guest register, loaded to `scratch` if it lives in memory. */
unsigned write_fetch(struct work *work, unsigned gpr, unsigned scratch);

/* ---- translate_string.c ---- */

void write_kind_stos(struct work *work);
void write_kind_movs(struct work *work);

/* ---- translate_system.c ---- */

void write_kind_cli(struct work *work);
void write_kind_sti(struct work *work);
void write_kind_pushf(struct work *work);
void write_kind_popf(struct work *work);
void write_kind_swapgs(struct work *work);

/* ---- translate_ops.c ---- */

void write_op(struct work *work, unsigned index);
/* Go on at guest address `target`. */
void write_exit(struct work *work, uint64_t target);
/* Go on at `target` by way of cpu->jump: it may be mapped anew while the block stays. */
void write_far_exit(struct emit *emit, const struct translator *translator,
                    const struct block *from, uint64_t target, bool flags_saved);
/* What `exit` jumps to. */
void write_exit_stub(struct work *work, const struct exit_plan *exit);

#endif
