/* The loop that the probe times; see probe_private.h. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "engine/probe_private.h"

enum {
    PDPT = 0x2000,
    PAGE_DIRECTORY = 0x3000,
    GDT_POINTER = 0x5010, /* RSI + 16 */
    DATA = 0x5000,
};

/*
 * Registers at the start: R8 rounds, RSI = DATA, R9 = PROBE_GUEST_TURNS, RDI = R9.
 * Four instructions a turn, then seventeen that end a round.
 */
static const uint8_t guest_code[] = {
    /* turn: */
    0x48, 0x01,
    0x3e, /* add [rsi], rdi */
    0x48, 0x33,
    0x6e, 0x08, /* xor rbp, [rsi + 8] */
    0x48, 0xff,
    0xcf,       /* dec rdi */
    0x75, 0xf4, /* jnz turn */
    0x31, 0xc0, /* xor eax, eax */
    0x31, 0xc9, /* xor ecx, ecx */
    0x0f, 0xa2, /* cpuid */
    0xb9, 0x02,
    0x01, 0x00,
    0xc0,       /* mov ecx, IA32_KERNEL_GS_BASE */
    0x31, 0xc0, /* xor eax, eax */
    0x31, 0xd2, /* xor edx, edx */
    0x0f, 0x30, /* wrmsr */
    0x0f, 0x01,
    0xf8, /* swapgs */
    0x0f, 0x01,
    0xf8, /* swapgs */
    0x0f, 0x20,
    0xd8, /* mov rax, cr3 */
    0x0f, 0x22,
    0xd8, /* mov cr3, rax */
    0x0f, 0x01,
    0x56, 0x10, /* lgdt [rsi + 16] */
    0x50,       /* push rax */
    0x58,       /* pop rax */
    0x4c, 0x89,
    0xcf, /* mov rdi, r9 */
    0x49, 0xff,
    0xc8,                   /* dec r8 */
    0x75, 0xc9,             /* jnz turn */
    0xe6, PROBE_GUEST_PORT, /* out port, al */
    0xf4,                   /* hlt */
};

void probe_guest_write(uint8_t *ram)
{
    enum { PRESENT_WRITABLE = 3, LARGE_ACCESSED_DIRTY = 0xe0 };

    put_le64(ram + PROBE_GUEST_PML4, PDPT | PRESENT_WRITABLE);
    put_le64(ram + PDPT, PAGE_DIRECTORY | PRESENT_WRITABLE);
    put_le64(ram + PAGE_DIRECTORY, LARGE_ACCESSED_DIRTY | PRESENT_WRITABLE);
    put_le64(ram + PROBE_GUEST_GDT + 0x10, UINT64_C(0x00af9b000000ffff)); /* 64-bit code */
    put_le64(ram + PROBE_GUEST_GDT + 0x18, UINT64_C(0x00cf93000000ffff)); /* data */
    put_le16(ram + GDT_POINTER, PROBE_GUEST_GDT_LIMIT);
    put_le64(ram + GDT_POINTER + 2, PROBE_GUEST_GDT);
    memcpy(ram + PROBE_GUEST_CODE, guest_code, sizeof(guest_code));
}

static void start_segments(struct engine_registers *registers)
{
    const struct engine_segment data = {
        .limit = UINT32_MAX,
        .selector = 0x18,
        .attributes = SEGMENT_G | SEGMENT_DB | SEGMENT_P | SEGMENT_S | 3,
    };

    for (int i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        registers->segment[i] = data;
    registers->segment[SEGMENT_CS].selector = 0x10;
    registers->segment[SEGMENT_CS].attributes = SEGMENT_G | SEGMENT_L | SEGMENT_P | SEGMENT_S | 11;
    registers->segment[SEGMENT_TR] = (struct engine_segment){
        .limit = 0x67,
        .selector = 0x20,
        .attributes = SEGMENT_P | 11, /* busy TSS, as long mode demands */
    };
    registers->gdt = (struct engine_table){.base = PROBE_GUEST_GDT, .limit = PROBE_GUEST_GDT_LIMIT};
    registers->idt = (struct engine_table){0};
}

void probe_guest_start(struct engine_registers *registers, uint64_t rounds)
{
    start_segments(registers);
    registers->cr0 = UINT64_C(0x80000031); /* PG, NE, ET, PE */
    registers->cr3 = PROBE_GUEST_PML4;
    registers->cr4 = 0x20;   /* PAE */
    registers->efer = 0x500; /* LMA, LME */
    registers->rip = PROBE_GUEST_CODE;
    registers->rflags = 2;
    registers->gpr[GPR_RSP] = PROBE_GUEST_STACK;
    registers->gpr[GPR_RSI] = DATA;
    registers->gpr[GPR_RDI] = PROBE_GUEST_TURNS;
    registers->gpr[GPR_R8] = rounds;
    registers->gpr[GPR_R9] = PROBE_GUEST_TURNS;
    registers->tsc = 0; /* as it is */
    registers->activity = ENGINE_ACTIVITY_RUNNING;
}

uint64_t probe_guest_done(uint64_t rounds, uint64_t rdi, uint64_t r8)
{
    uint64_t left = r8 < rounds ? r8 : rounds;
    uint64_t done = (rounds - left) * PROBE_GUEST_ROUND;
    if (left > 0 && rdi < PROBE_GUEST_TURNS)
        done += (PROBE_GUEST_TURNS - rdi) * 4;
    return done;
}

static double rate(const struct probe_run *run)
{
    return run->elapsed_ns == 0 ? 0 : 1000.0 * (double)run->instructions / (double)run->elapsed_ns;
}

int probe_measure(probe_run_fn run, void *engine, double *ret_mips, struct reason *reason)
{
    struct probe_run result = {0};
    double best = 0;

    /* The first round warms up and keeps a hopeless case short. */
    int error = run(engine, 1, &result, reason);
    best = rate(&result);
    for (int i = 0; error == 0 && best >= PROBE_HOPELESS_MIPS && i < PROBE_REPEATS; i++) {
        error = run(engine, PROBE_ROUNDS, &result, reason);
        if ((error == 0 || error == -ETIME) && rate(&result) > best)
            best = rate(&result);
    }
    *ret_mips = best;
    return error;
}
