/*
 * Every instruction form that Zydis knows in 16-, 32- and 64-bit mode, found by going through the
 * opcode maps with every mandatory prefix, operand size, vector length and ModRM kind.
 *
 * A form is one encoding of one mnemonic with one list of operand kinds: "64 01 add m32,r32".
 */
#ifndef DIFFERENTIAL_FORMS_H
#define DIFFERENTIAL_FORMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <Zydis/Zydis.h>

#include "layout.h"
#include "policy.h"

enum form_encoding { FORM_LEGACY, FORM_VEX };

struct form {
    enum form_encoding encoding;
    enum diff_mode mode;
    bool has_modrm;
    bool memory;    /* ModRM names memory; else a register */
    bool vsib;      /* needs SIB with a vector index */
    bool vvvv_free; /* VEX.vvvv names a register */
    uint8_t map;    /* 0 one byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode;
    uint8_t prefix; /* 0, 0x66, 0xF3, 0xF2; for VEX the pp field */
    uint8_t w, l;
    uint64_t allowed; /* bit reg*8+rm: ModRM fields that give this form (rm counts for registers) */
    ZydisMnemonic mnemonic;
    enum policy_verdict verdict;
    enum policy_group group;
    char name[64];
};

struct form_list {
    struct form *form;
    size_t count, capacity;
};

/* Fill `ret`; the caller calls form_list_free. 0 or -ENOMEM. */
int form_list_make(const struct policy *policy, struct form_list *ret);
void form_list_free(struct form_list *list);

/* "add m32,r32" into `ret`. */
void form_describe(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands,
                   char *ret, size_t size);

void form_decoder(enum diff_mode mode, ZydisDecoder *ret);

#endif
