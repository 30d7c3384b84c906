/*
 * What a translation is made of, as text: for whoever works on the translator.
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/soft/translate_private.h"

/* One instruction, or one byte that is none: its length. */
static unsigned trace_instruction(FILE *to, const struct translator *translator,
                                  const uint8_t *bytes, size_t length, uint64_t address)
{
    char text[128] = "(not an instruction)";
    ZydisFormatter formatter;
    ZydisDecodedInstruction instruction = {.length = 1};
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    ZyanStatus status =
        ZydisDecoderDecodeFull(&translator->decoder, bytes, length, &instruction, operand);
    if (ZYAN_SUCCESS(status) &&
        ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)))
        (void)ZydisFormatterFormatInstruction(&formatter, &instruction, operand,
                                              instruction.operand_count_visible, text, sizeof(text),
                                              address, NULL);
    (void)fprintf(to, "%016" PRIx64 "  %s\n", address, text);
    return ZYAN_SUCCESS(status) ? instruction.length : 1;
}

static void trace_host(FILE *to, const struct translator *translator, const uint8_t *from,
                       const uint8_t *end)
{
    while (from < end) {
        (void)fputs("        ", to);
        from += trace_instruction(to, translator, from, (size_t)(end - from), (uint64_t)from);
    }
}

void translation_trace(FILE *to, const struct translator *translator,
                       const struct translation *made)
{
    const struct block *block = made->block;
    (void)fprintf(to,
                  "block %016" PRIx64 " at %#" PRIx64 ", %u instructions, %u bytes → %u bytes\n",
                  block->rip, block->gpa, block->count, block->length, made->length);
    trace_host(to, translator, made->base, made->base + made->op_start[0]);
    for (unsigned i = 0; i < block->count; i++) {
        const struct op *op = &block->op[i];
        (void)fputs("  ", to);
        (void)trace_instruction(to, translator, block->bytes + op->offset, op->length,
                                block->rip + op->offset);
        trace_host(to, translator, made->base + made->op_start[i],
                   made->base + made->op_start[i + 1]);
    }
    (void)fprintf(to, "  stubs\n");
    trace_host(to, translator, made->base + made->op_start[block->count],
               made->base + made->length);
    (void)fputc('\n', to);
}
