/*
 * Blocks as host code: the second level of the engine, over the interpreter.
 *
 * A block that has run often is translated (translate.c). Most of its instructions are copied with
 * other register numbers; one that touches memory first looks the address up in the vCPU's TLB;
 * what is not copied, and every access that the TLB does not know, calls the interpreter's handler
 * for this one instruction. So all that is rare is done in one place, by the interpreter.
 *
 * Registers in translated code:
 *   RAX..RDI, R8..R11   the guest's own (but RSP)
 *   R12                 the guest's RSP
 *   R13, R14, R15       scratch; the guest's R12..R15 are in cpu->gpr
 *   RSP                 the host's stack, 16-byte aligned
 *   GS                  base = struct cpu
 * The arithmetic flags are the guest's, or saved in cpu->saved_flags, or dead: known at each
 * instruction when it is translated. DF, TF, AC and NT are the host's, clear. Vector registers and
 * MXCSR are the guest's when cpu->vector_level is not 0.
 *
 * Invariants:
 * 1. Only instructions on the list of allow.c are copied, and each is decoded again after encoding
 *    (encode.c). All else in a translation is written by assemble.c, but for REP STOS and REP MOVS
 *    (translate_string.c).
 * 2. Memory is accessed where the TLB entry just compared, or the near page (tlb.h, 4), has RAM
 * that allows it, for the operand's whole size: at R13; or, off RSP and when accesses off one
 * register share a look-up, at that register, plus the distance in R13, inside the window that was
 * looked up (translate_group.c); or from RSI and RDI, moved for the one string instruction.
 * 3. An instruction changes guest state only after its last check, so that at a stub, and at a
 *    fault of the copied instruction, the state is that before it, and the interpreter may run it;
 *    but for arithmetic flags that are dead there (CAVEATS.md). Where something pending is looked
 *    at, all flags are right.
 * 4. A translation is entered only where the code at its guest address is the block's: by a link
 *    inside one linear page, or through cpu->jump, whose key is tlb_code_context(). An invalidated
 *    one begins with a jump out, and nothing links to it.
 *    A floating block is where cpu->page says: links stay in the page, whoever comes from another
 *    sets it.
 * 5. Every loop has an entry that polls cpu->pending: backward links and cpu->jump lead there.
 * 6. The code lies in a memory that is written through one mapping and run through another.
 */
#ifndef SOFT_TRANSLATION_H
#define SOFT_TRANSLATION_H

#include "engine/soft/code.h"

struct translator;

/* block.heat: it stays interpreted. */
#define TRANSLATION_REFUSED UINT32_MAX

/* A jump from one translation to a guest address: to its stub, until it is set. */
struct link {
    uint64_t target;               /* of a floating block less cpu->page */
    struct translation *from, *to; /* to = NULL: not set */
    uint8_t *site;                 /* the distance, in the writable mapping */
    uint8_t *stub;                 /* writable mapping; asks translated_follow */
    struct link *next;             /* of those with the same `to` */
    bool backward;
    bool flags_saved; /* the flags are in cpu->saved_flags */
};

enum trait {
    TRAIT_LEFT = 1,        /* FIP and FDP are left to the next instruction */
    TRAIT_INTERPRETED = 2, /* always */
    TRAIT_FLAGS_DEAD = 4,  /* nothing reads the arithmetic flags before all are overwritten */
};

struct translation {
    struct block *block;
    /* Where to go in, in the executable mapping: with the flags live or saved, polling or not. */
    const uint8_t *entry, *entry_poll, *entry_saved, *entry_saved_poll;
    /* The same as the last, from another page: for cpu->jump. R13 = the block's address. */
    const uint8_t *entry_jump;
    /* Five bytes behind the entries that do nothing, in the writable mapping, and what they become
     * a jump to. Who comes with saved flags to a block that does not need them passes another one
     * first: what the code was changed to may need them. NULL: there is none. */
    uint8_t *door, *leave;
    uint8_t *door_saved, *leave_saved;
    uint32_t length;
    uint16_t *op_start; /* of each instruction, from `base`; one more for the end */
    uint16_t *op_stub;  /* where it is interpreted instead */
    uint8_t *trait;     /* of each: enum trait */
    const uint8_t *base;
    struct link *incoming;
    bool has_vectors;
};

/* The host can run what the translator writes. */
bool translator_is_possible(void);
/* Also fills in code->enter and code->leave. */
int translator_create(struct code_cache *code, struct translator **ret);
void translator_destroy(struct translator *translator);
/* Under the code lock: bytes; 0 for NULL. */
size_t translator_used(const struct translator *translator);
/* Forget all translations, and give their memory back if asked; no vCPU may be in one. */
void translator_reset(struct translator *translator, bool give_back);

/* ---- gates; they take the code lock ---- */

/* Translate a settled block; on failure it stays interpreted. */
void translator_add(struct cpu *cpu, struct block *block);
/* Let `link` lead to `to` from now on, where that is right. */
void translator_link(struct cpu *cpu, struct link *link, struct translation *to);

/* Under the code lock: nothing goes into the block any more. */
void translator_withdraw(struct block *block);

/* A host fault at `rip`: in a translation, with where to go on. Signal-safe. NULL has none. */
bool translator_contains(const struct translator *translator, uint64_t rip, uint64_t *ret_stub);

/* The address lies in the translator's code; how many instructions of the guest begin there.
 * Signal-safe. */
bool translator_begins(const struct translator *translator, uint64_t rip, unsigned *ret);

/* ---- running: translated.c, live ---- */

/* Nothing but the next block is to be run next, were it not for what is pending. */
bool translated_may_go_on(const struct cpu *cpu);

/* Whose code this thread is in, for its signal handler; NULL: in none. No other thread's, which
 * might be destroyed meanwhile. */
extern _Thread_local const struct translator *translated_by
    __attribute__((tls_model("initial-exec"))); /* read without a call: cpu.h, rule 2 */

/* Run from the block's start until something stops it; a step, with cpu->rip exact. */
int translated_run(struct cpu *cpu, struct translation *translation);

/* The same without going on to other blocks when in lock-step. */
int translated_enter(struct cpu *cpu, struct translation *translation);

/* What the routines of a translator call: each returns where to go on, in executable code. */
const uint8_t *translated_interpret(struct cpu *cpu, struct block *block, unsigned index,
                                    const uint8_t *resume);
/* Interprets to the block's end, whatever the translation has prepared meanwhile. */
const uint8_t *translated_finish(struct cpu *cpu, struct block *block, unsigned index,
                                 const uint8_t *resume);
/* Interprets the block up to where its arithmetic flags are no longer dead. */
const uint8_t *translated_pass(struct cpu *cpu, struct block *block);
const uint8_t *translated_follow(struct cpu *cpu, struct link *link);
const uint8_t *translated_go(struct cpu *cpu, uint64_t rip);

#endif
