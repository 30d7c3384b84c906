#include "worker/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "worker/backtrace.h"

enum { EFER_LMA = 1 << 10 };

static void print_general(FILE *to, const struct engine_registers *registers)
{
    static const char *const names[GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                 "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                 "r12", "r13", "r14", "r15"};
    for (int i = 0; i < GPR_COUNT; i++)
        (void)fprintf(to, "%s%-3s %016" PRIx64 "%s", i % 4 == 0 ? "  " : " ", names[i],
                      registers->gpr[i], i % 4 == 3 ? "\n" : "");
}

static void print_segments(FILE *to, const struct engine_registers *registers)
{
    static const char *const names[SEGMENT_COUNT] = {"es", "cs", "ss",   "ds",
                                                     "fs", "gs", "ldtr", "tr"};
    for (int i = 0; i < SEGMENT_COUNT; i++) {
        const struct engine_segment *segment = &registers->segment[i];
        (void)fprintf(to, "  %-4s %04x base %016" PRIx64 " limit %08x attributes %04x%s\n",
                      names[i], segment->selector, segment->base, segment->limit,
                      segment->attributes & 0xfff,
                      segment->attributes & SEGMENT_UNUSABLE ? " unusable" : "");
    }
    (void)fprintf(to, "  gdt       base %016" PRIx64 " limit %08x\n", registers->gdt.base,
                  registers->gdt.limit);
    (void)fprintf(to, "  idt       base %016" PRIx64 " limit %08x\n", registers->idt.base,
                  registers->idt.limit);
}

static void print_control(FILE *to, const struct engine_registers *registers)
{
    (void)fprintf(to,
                  "  cr0 %016" PRIx64 " cr2 %016" PRIx64 " cr3 %016" PRIx64 " cr4 %016" PRIx64 "\n",
                  registers->cr0, registers->cr2, registers->cr3, registers->cr4);
    (void)fprintf(
        to, "  cr8 %016" PRIx64 " efer %015" PRIx64 " dr6 %016" PRIx64 " dr7 %016" PRIx64 "\n",
        registers->cr8, registers->efer, registers->dr[6], registers->dr[7]);
    (void)fprintf(to, "  rflags %016" PRIx64 " kernel_gs_base %016" PRIx64 "\n", registers->rflags,
                  registers->kernel_gs_base);
}

static ZydisMachineMode code_mode(const struct engine_registers *registers)
{
    unsigned attributes = registers->segment[SEGMENT_CS].attributes;

    if ((registers->efer & EFER_LMA) && (attributes & SEGMENT_L))
        return ZYDIS_MACHINE_MODE_LONG_64;
    return attributes & SEGMENT_DB ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16;
}

/* As many bytes as are mapped there, up to the length of the longest instruction. */
static size_t read_code(struct machine *machine, const struct engine_registers *registers,
                        uint64_t linear, uint8_t code[ZYDIS_MAX_INSTRUCTION_LENGTH])
{
    size_t length = 0;

    while (length < ZYDIS_MAX_INSTRUCTION_LENGTH &&
           machine_read_linear(machine, registers, linear + length, code + length, 1) == 0)
        length++;
    return length;
}

static void print_instruction(FILE *to, struct machine *machine,
                              const struct engine_registers *registers, uint64_t linear)
{
    uint8_t code[ZYDIS_MAX_INSTRUCTION_LENGTH];
    ZydisDisassembledInstruction instruction;

    size_t length = read_code(machine, registers, linear, code);
    if (length == 0) {
        (void)fprintf(to, "  code: nothing is mapped at %016" PRIx64 "\n", linear);
        return;
    }
    bool valid = ZYAN_SUCCESS(
        ZydisDisassembleIntel(code_mode(registers), registers->rip, code, length, &instruction));
    size_t shown = valid ? instruction.info.length : length;
    (void)fprintf(to, "  code:");
    for (size_t i = 0; i < shown; i++)
        (void)fprintf(to, " %02x", code[i]);
    (void)fprintf(to, "  %s\n", valid ? instruction.text : "(not an instruction)");
}

static void print_backtrace(FILE *to, struct machine *machine,
                            const struct engine_registers *registers, const struct symbols *symbols)
{
    struct backtrace trace;
    char name[300];

    backtrace_take(machine, registers, &trace);
    if (trace.count > 0)
        (void)fprintf(to, "  called from (%s):\n",
                      trace.scanned ? "what looks like it on the stack" : "frame pointers");
    for (size_t i = 0; i < trace.count; i++) {
        bool named =
            symbols != NULL && symbols_describe(symbols, trace.address[i], name, sizeof(name));
        if (!named && trace.scanned && symbols != NULL)
            continue; /* most likely not code at all */
        (void)fprintf(to, "    %016" PRIx64 "%s%s\n", trace.address[i], named ? "  " : "",
                      named ? name : "");
    }
}

void report_vcpu(FILE *to, struct machine *machine, unsigned vcpu, struct symbols *symbols)
{
    char name[300] = "";
    auto_free struct engine_registers *registers =
        aligned_alloc(_Alignof(struct engine_registers), sizeof(struct engine_registers));

    if (registers == NULL || machine_vcpu_registers(machine, vcpu, registers) < 0) {
        (void)fprintf(to, "  the registers of vCPU %u cannot be read\n", vcpu);
        return;
    }
    if (symbols != NULL) {
        (void)symbols_follow_lstar(symbols, registers->lstar);
        (void)symbols_describe(symbols, registers->rip, name, sizeof(name));
    }
    const struct engine_segment *cs = &registers->segment[SEGMENT_CS];
    (void)fprintf(to, "  vCPU %u at %04x:%016" PRIx64 "  %s\n", vcpu, cs->selector, registers->rip,
                  name);
    print_instruction(to, machine, registers, cs->base + registers->rip);
    print_general(to, registers);
    print_segments(to, registers);
    print_control(to, registers);
    print_backtrace(to, machine, registers, symbols);
}

/* Terminals obey control characters: those of a guest are shown, not sent. */
static void print_hostile(FILE *to, const char *text, size_t length)
{
    bool at_start = true;

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (at_start)
            (void)fputs("  | ", to);
        at_start = c == '\n';
        if (c == '\n')
            (void)fputs("\r\n", to);
        else if (c >= ' ' && c < 0x7f)
            (void)fputc(c, to);
        else
            (void)fprintf(to, "\\x%02x", c);
    }
    if (!at_start)
        (void)fputs("\r\n", to);
}

void report_crash(FILE *to, const struct machine_crash *crash)
{
    (void)fprintf(to, "partita: the guest reports a crash on vCPU %u:", crash->vcpu);
    for (size_t i = 0; i < sizeof(crash->parameter) / sizeof(crash->parameter[0]); i++)
        (void)fprintf(to, " %" PRIx64, crash->parameter[i]);
    (void)fputs("\r\n", to);
    print_hostile(to, crash->text, crash->text_length);
    (void)fflush(to);
}
