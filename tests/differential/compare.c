/*
 * The comparison. What is left out, and why:
 *
 * 1. x87 instruction and operand pointers and opcode: AMD processors save them only for pending
 *    exceptions, or restore other values than were saved (AMD64 APM vol. 2 § 11.4.4).
 * 2. Upper halves of registers in 32-bit mode: undefined, Intel SDM vol. 1 § 3.4.1.1.
 * 3. The P bit of a page fault in the kernel's half: Linux sets it always, so as not to tell user
 *    mode what is mapped there (arch/x86/mm/fault.c).
 * 4. The RPL of null selectors: the kernel's IRET to the signal handler clears it, SDM vol. 2A.
 * 5. FS and GS bases after a null selector was loaded: Intel clears them, AMD keeps them.
 * 6. MXCSR_MASK in memory: AMD has a bit 17 that no guest is shown.
 * 7. What PUSH of a segment register leaves in the upper part of its slot: either a zero-extended
 *    value is pushed or only 16 bits are written (Intel SDM vol. 2B, PUSH).
 * 8. Bytes 16-63 of the header that XSAVEC writes: AMD clears them, Intel leaves them.
 *
 * Faults that processors may raise differently are in open.c.
 */
#include "compare.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/bytes.h"

enum {
    VECTOR_UD = 6,
    VECTOR_PF = 14,
    FLAG_ARITHMETIC = 0x8d5,
    FLAG_RF = 1 << 16,
    ERROR_PRESENT = 1,
};

static const char *const gpr_name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                         "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

__attribute__((format(printf, 2, 3))) static void differ(struct difference *ret, const char *format,
                                                         ...)
{
    va_list arguments;
    ret->fails = true;
    if (ret->count == sizeof(ret->text) / sizeof(ret->text[0]))
        return;
    va_start(arguments, format);
    (void)vsnprintf(ret->text[ret->count++], sizeof(ret->text[0]), format, arguments);
    va_end(arguments);
}

static void compare_word(struct difference *ret, const char *name, uint64_t native, uint64_t guest)
{
    if (native != guest)
        differ(ret, "%s: native %016llx, engine %016llx", name, (unsigned long long)native,
               (unsigned long long)guest);
}

static void compare_bytes(struct difference *ret, const char *name, const uint8_t *native,
                          const uint8_t *guest, size_t length)
{
    char text[2][40];
    size_t at = 0;
    if (memcmp(native, guest, length) == 0)
        return;
    while (native[at] == guest[at])
        at++;
    at &= ~(size_t)7;
    size_t shown = length - at < 16 ? length - at : 16;
    for (size_t i = 0; i < shown; i++) {
        (void)snprintf(text[0] + 2 * i, 3, "%02x", native[at + i]);
        (void)snprintf(text[1] + 2 * i, 3, "%02x", guest[at + i]);
    }
    differ(ret, "%s+0x%zx: native %s, engine %s", name, at, text[0], text[1]);
}

/* ---- registers ---- */

static void compare_gprs(const struct build *build, const struct diff_state *native,
                         const struct diff_state *guest, struct difference *ret)
{
    bool mode64 = native->segment[DIFF_CS] == DIFF_USER_CS64 && build->mode == DIFF_MODE64;
    uint64_t mask = mode64 ? ~UINT64_C(0) : 0xffffffff;
    for (unsigned i = 0; i < (mode64 ? 16 : 8); i++)
        compare_word(ret, gpr_name[i], native->gpr[i] & mask, guest->gpr[i] & mask);
    compare_word(ret, "rip", native->rip, guest->rip);
}

static void compare_flags(const struct build *build, const struct diff_state *native,
                          const struct diff_state *guest, bool dead, struct difference *ret)
{
    uint64_t different = native->rflags ^ guest->rflags;
    uint64_t open = dead ? (uint64_t)FLAG_ARITHMETIC : flags_undefined(build);
    uint64_t undefined = different & open & FLAG_ARITHMETIC;
    ret->undefined = undefined;
    if ((different & ~undefined) != 0)
        compare_word(ret, "rflags", native->rflags & ~undefined, guest->rflags & ~undefined);
}

static void compare_segments(const struct diff_state *native, const struct diff_state *guest,
                             struct difference *ret)
{
    static const char *const name[DIFF_SEGMENTS] = {"es", "cs", "ss", "ds", "fs", "gs"};
    for (unsigned i = 0; i < DIFF_SEGMENTS; i++) {
        bool null = (native->segment[i] & ~3) == 0 && (guest->segment[i] & ~3) == 0;
        if (!null)
            compare_word(ret, name[i], native->segment[i], guest->segment[i]);
    }
}

static bool loads_segment(const struct build *build, ZydisRegister segment)
{
    for (unsigned i = 0; i < build->instruction.operand_count && build->decoded; i++)
        if (build->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            build->operands[i].reg.value == segment &&
            (build->operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0)
            return true;
    return false;
}

static void compare_bases(const struct build *build, const struct diff_state *native,
                          const struct diff_state *guest, struct difference *ret)
{
    if (!loads_segment(build, ZYDIS_REGISTER_FS) || (native->segment[DIFF_FS] & ~3) != 0)
        compare_word(ret, "fs base", native->fs_base, guest->fs_base);
    if (!loads_segment(build, ZYDIS_REGISTER_GS) || (native->segment[DIFF_GS] & ~3) != 0)
        compare_word(ret, "gs base", native->gs_base, guest->gs_base);
}

/* ---- vectors and x87 ---- */

/* Components that XSTATE_BV leaves out have their initial values: Intel SDM vol. 1 § 13.6. */
static void normalise(const uint8_t *from, uint8_t *to)
{
    memcpy(to, from, DIFF_XSAVE_SIZE);
    uint64_t present = get_le64(from + DIFF_XSAVE_HEADER);
    if ((present & 1) == 0) {
        memset(to, 0, 24);
        memset(to + 32, 0, 128);
        put_le16(to, 0x37f);
    }
    if ((present & 2) == 0)
        memset(to + 160, 0, 256);
    if ((present & 4) == 0)
        memset(to + DIFF_XSAVE_AVX, 0, 256);
}

static void compare_x87(const uint8_t *native, const uint8_t *guest, struct difference *ret)
{
    compare_word(ret, "fcw", get_le16(native), get_le16(guest));
    compare_word(ret, "fsw", get_le16(native + 2), get_le16(guest + 2));
    compare_word(ret, "ftw", native[4], guest[4]);
    for (unsigned i = 0; i < 8; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "st%u", i);
        compare_bytes(ret, name, native + 32 + 16 * (size_t)i, guest + 32 + 16 * (size_t)i, 10);
    }
}

static void compare_vectors(const struct diff_state *native, const struct diff_state *guest,
                            struct difference *ret)
{
    uint8_t image[2][DIFF_XSAVE_SIZE];
    normalise(native->xsave, image[0]);
    normalise(guest->xsave, image[1]);
    compare_x87(image[0], image[1], ret);
    compare_word(ret, "mxcsr", get_le32(image[0] + 24), get_le32(image[1] + 24));
    for (size_t i = 0; i < 16; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "xmm%zu", i);
        compare_bytes(ret, name, image[0] + 160 + 16 * i, image[1] + 160 + 16 * i, 16);
        (void)snprintf(name, sizeof(name), "ymm%zu upper", i);
        compare_bytes(ret, name, image[0] + DIFF_XSAVE_AVX + 16 * i,
                      image[1] + DIFF_XSAVE_AVX + 16 * i, 16);
    }
}

/* ---- memory ---- */

/* Bytes from `base` that items 1, 6 and 7 of the head leave out. */
struct span {
    uint64_t base;
    size_t offset, length;
};

static unsigned ignored_spans(const struct build *build, struct span ret[3])
{
    size_t size = build->instruction.operand_width / 8U;
    if (build_pushes_segment(build)) {
        ret[0] = (struct span){build_stack_address(build) - size, 2, size - 2};
        return 1;
    }
    uint64_t base = build_operand_address(build, 0);
    switch (build->mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
        ret[0] = size == 2 ? (struct span){base, 6, 8} : (struct span){base, 12, 16};
        return 1;
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
        ret[0] = (struct span){base, 6, 18};
        ret[1] = (struct span){base, 28, 4};
        ret[2] = (struct span){base, DIFF_XSAVE_HEADER + 16, 48};
        return build->mnemonic == ZYDIS_MNEMONIC_XSAVEC ||
                       build->mnemonic == ZYDIS_MNEMONIC_XSAVEC64
                   ? 3
                   : 2;
    default:
        return 0;
    }
}

static void compare_memory(const struct build *build, const struct diff_result *native,
                           const struct diff_result *guest, struct difference *ret)
{
    struct span span[3];
    if (memcmp(native->data, guest->data, DIFF_DATA_SIZE) == 0)
        return;
    static _Thread_local uint8_t copy[DIFF_DATA_SIZE];
    memcpy(copy, guest->data, DIFF_DATA_SIZE);
    for (unsigned i = build->decoded ? ignored_spans(build, span) : 0; i-- > 0;) {
        uint64_t from = span[i].base + span[i].offset - DIFF_RW0;
        for (size_t b = 0; b < span[i].length; b++)
            if (from + b < DIFF_DATA_SIZE)
                copy[from + b] = native->data[from + b];
    }
    compare_bytes(ret, "data", native->data, copy, DIFF_DATA_SIZE);
}

/* ---- faults ---- */

static void compare_page_fault(const struct build *build, const struct diff_result *native,
                               const struct diff_result *guest, struct difference *ret)
{
    uint64_t mask = ~UINT64_C(0);
    if (native->cr2 >= UINT64_C(0x00007ffffffff000))
        mask &= ~(uint64_t)ERROR_PRESENT;
    if (open_address(build, native, guest))
        mask &= ~(uint64_t)ERROR_PRESENT;
    else
        compare_word(ret, "cr2", native->cr2, guest->cr2);
    compare_word(ret, "error code", native->error & mask, guest->error & mask);
}

static void compare_fault(const struct build *build, const struct diff_result *native,
                          const struct diff_result *guest, struct difference *ret)
{
    compare_word(ret, "vector", native->vector, guest->vector);
    if (native->vector != guest->vector)
        return;
    if (native->vector == VECTOR_PF)
        compare_page_fault(build, native, guest, ret);
    else
        compare_word(ret, "error code", native->error, guest->error);
}

/* The child has a page there that the guest has not: see DIFF_ENTRY_PAGE. */
static bool meets_entry_page(const struct diff_result *guest)
{
    return guest->vector == VECTOR_PF && guest->cr2 - DIFF_ENTRY_PAGE < DIFF_PAGE;
}

void compare_results(const struct build *build, const struct diff_result *native,
                     const struct diff_result *guest, bool translated, struct difference *ret)
{
    *ret = (struct difference){.fails = false};
    if (native->outcome == DIFF_STUCK && guest->outcome == DIFF_TRAPPED)
        return; /* the host's kernel cannot end it either; counted as a restart */
    if (native->outcome != DIFF_TRAPPED || guest->outcome != DIFF_TRAPPED) {
        if (native->outcome != guest->outcome || native->outcome == DIFF_NOT_RUN)
            differ(ret, "outcome: native %d, engine %d (1 trapped, 2 died, 3 stuck)",
                   (int)native->outcome, (int)guest->outcome);
        return;
    }
    if (open_to_processors(build, native, guest) || meets_entry_page(guest))
        return;
    compare_fault(build, native, guest, ret);
    compare_gprs(build, &native->out, &guest->out, ret);
    /* A translation does not keep arithmetic flags that the guest's code has no way to read again;
     * a handler of a fault in between sees others. A case without a fault ends with INT3. */
    enum { VECTOR_BREAKPOINT = 3 };
    bool dead = translated && native->vector != VECTOR_BREAKPOINT;
    compare_flags(build, &native->out, &guest->out, dead, ret);
    compare_segments(&native->out, &guest->out, ret);
    compare_bases(build, &native->out, &guest->out, ret);
    compare_vectors(&native->out, &guest->out, ret);
    compare_memory(build, native, guest, ret);
}

void compare_expect_undefined_opcode(const struct build *build, const uint8_t *data,
                                     struct diff_result *ret)
{
    *ret = (struct diff_result){.outcome = DIFF_TRAPPED, .vector = VECTOR_UD, .out = build->c.in};
    ret->out.rflags |= FLAG_RF;
    if (build->mode != DIFF_MODE64) { /* bases come from the descriptors */
        ret->out.fs_base = ret->out.segment[DIFF_FS] != 0 ? DIFF_RW0 : 0;
        ret->out.gs_base = ret->out.segment[DIFF_GS] != 0 ? DIFF_RW0 : 0;
    }
    memcpy(ret->data, data, DIFF_DATA_SIZE);
    for (unsigned i = 0; i < build->c.patch_count; i++)
        memcpy(ret->data + build->c.patch[i].offset, build->c.patch[i].bytes,
               build->c.patch[i].length);
}
