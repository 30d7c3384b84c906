/*
 * Diagnostics begin with "# ", as TAP wants.
 */
#include "report.h"

#include "base/bytes.h"

static const char *const kind_name[BUILD_KIND_COUNT] = {"form", "page edge", "hidden", "illegal",
                                                        "sequence"};

static size_t describe_one(const ZydisDecoder *decoder, const struct build *build, uint32_t at,
                           char *ret, size_t size)
{
    ZydisFormatter formatter;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, build->c.code + at, build->c.code_length - at,
                                             &instruction, operands)) ||
        !ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)))
        return 0;
    (void)ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
                                          instruction.operand_count_visible, ret, size,
                                          build->c.in.rip + at, NULL);
    return instruction.length;
}

void report_instruction(const struct build *build, char *ret, size_t size)
{
    size_t used = 0;
    ZydisDecoder decoder;
    form_decoder(build->mode, &decoder);
    for (uint32_t i = 0; i < build->c.code_length && used + 4 < size; i++)
        used += (size_t)snprintf(ret + used, size - used, "%02x ", build->c.code[i]);
    used += (size_t)snprintf(ret + used, size - used, "[%d]", (int)build->mode);
    for (uint32_t at = 0; at < build->c.code_length && used < size;) {
        char text[128];
        size_t length = describe_one(&decoder, build, at, text, sizeof(text));
        used += (size_t)snprintf(ret + used, size - used, "%s %s", at == 0 ? "" : ";",
                                 length == 0 ? "(bad)" : text);
        at = length == 0 ? build->c.code_length : at + (uint32_t)length;
    }
}

static void print_gprs(FILE *to, const char *name, const struct diff_state *s)
{
    static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
    (void)fprintf(to, "#   %s: rip %llx rflags %llx fs %x base %llx gs %x base %llx", name,
                  (unsigned long long)s->rip, (unsigned long long)s->rflags, s->segment[DIFF_FS],
                  (unsigned long long)s->fs_base, s->segment[DIFF_GS],
                  (unsigned long long)s->gs_base);
    (void)fprintf(to, " cs %x ss %x ds %x es %x", s->segment[DIFF_CS], s->segment[DIFF_SS],
                  s->segment[DIFF_DS], s->segment[DIFF_ES]);
    for (unsigned i = 0; i < 16; i++)
        (void)fprintf(to, "%s%s %016llx", i % 4 == 0 ? "\n#     " : " ", gpr[i],
                      (unsigned long long)s->gpr[i]);
    (void)fputc('\n', to);
}

static void print_hex(FILE *to, const uint8_t *from, unsigned length)
{
    for (unsigned i = length; i-- > 0;)
        (void)fprintf(to, "%02x", from[i]);
}

static void print_vectors(FILE *to, const struct diff_state *s)
{
    const uint8_t *x = s->xsave;
    (void)fprintf(to, "#     fcw %04x fsw %04x ftw %02x mxcsr %08x xstate_bv %llx\n", get_le16(x),
                  get_le16(x + 2), x[4], get_le32(x + 24),
                  (unsigned long long)get_le64(x + DIFF_XSAVE_HEADER));
    for (size_t i = 0; i < 8; i++) {
        (void)fprintf(to, "%sst%zu ", i % 4 == 0 ? "#     " : " ", i);
        print_hex(to, x + 32 + 16 * i, 10);
        if (i % 4 == 3)
            (void)fputc('\n', to);
    }
    for (size_t i = 0; i < 16; i++) {
        (void)fprintf(to, "%sy%zu ", i % 2 == 0 ? "#     " : " ", i);
        print_hex(to, x + DIFF_XSAVE_AVX + 16 * i, 16);
        print_hex(to, x + 160 + 16 * i, 16);
        if (i % 2 == 1)
            (void)fputc('\n', to);
    }
}

static void print_result(FILE *to, const char *name, const struct diff_result *result)
{
    (void)fprintf(to, "#   %s: outcome %d vector %u error %llx cr2 %llx\n", name,
                  (int)result->outcome, result->vector, (unsigned long long)result->error,
                  (unsigned long long)result->cr2);
    print_gprs(to, name, &result->out);
    print_vectors(to, &result->out);
}

void report_case(FILE *to, const struct build *build, const struct diff_result *native,
                 const struct diff_result *guest, const struct difference *difference)
{
    char text[1024];
    report_instruction(build, text, sizeof(text));
    (void)fprintf(to, "# %s\n#   %s, %s\n", text, kind_name[build->kind],
                  build->form != NULL ? build->form->name : "given or random bytes");
    for (unsigned i = 0; i < difference->count; i++)
        (void)fprintf(to, "#   DIFFERS %s\n", difference->text[i]);
    print_gprs(to, "before", &build->c.in);
    print_vectors(to, &build->c.in);
    for (unsigned i = 0; i < build->c.patch_count; i++) {
        const struct diff_patch *patch = &build->c.patch[i];
        (void)fprintf(to, "#     memory %llx: ", (unsigned long long)(DIFF_RW0 + patch->offset));
        for (unsigned b = 0; b < patch->length; b++)
            (void)fprintf(to, "%02x", patch->bytes[b]);
        (void)fputc('\n', to);
    }
    print_result(to, "native", native);
    print_result(to, "engine", guest);
}
