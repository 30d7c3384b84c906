/*
 * Invariant: whatever code a guest runs, with whatever registers, run() comes back; host memory
 * other than the guest's RAM stays as it was (guards and sanitizers watch), no lock stays taken,
 * and the processor's own rules hold: the zero register, bit 1 of RFLAGS, the privilege level.
 *
 * Input: a byte for the mode, and whether code is translated, one for flags and features, eight
 * whose nibbles choose the values of the registers, then the code.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/soft_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { HEADER = 2 + GPR_COUNT / 2, MAX_CODE = 512, MAX_EXITS = 64, SLICE_US = 3000 };

static void must(bool good)
{
    if (!good)
        abort();
}

/* A guest that loops for ever is stopped as the machine's own threads would stop it. */
static void *kick_now_and_then(void *argument)
{
    for (;;) {
        (void)usleep(SLICE_US);
        soft_engine.kick(argument);
    }
    return NULL;
}

static struct guest *shared_guest(bool translated)
{
    static struct guest *guests[2];
    struct guest *guest = guests[translated];
    if (guest != NULL)
        return guest;
    guest = guest_create_with(1, translated ? ENGINE_TRANSLATE_ALWAYS : ENGINE_TRANSLATE_NEVER);
    guests[translated] = guest;
    pthread_t thread;
    must(pthread_create(&thread, NULL, kick_now_and_then, guest->vcpu) == 0);
    must(pthread_detach(thread) == 0);
    return guest;
}

static const uint64_t values[16] = {
    0,
    1,
    UINT64_MAX,
    DATA_AT,
    DATA_AT + 0xffd,
    LARGE_AT,
    GUEST_RAM - 3,
    MMIO_LINEAR,
    MMIO_LINEAR + 0x1ffffd,
    STACK_TOP - 0x100,
    CODE_AT,
    PT_AT + 0x200,
    GDT_AT + 8,
    UINT64_C(1) << 47,
    UINT64_C(0xffff800000000000),
    0x3f8,
};

static void choose_mode(struct guest *g, uint8_t byte)
{
    switch (byte & 3) {
    case 0:
        guest_use_long(g, 0);
        break;
    case 1:
        guest_use_long(g, 0);
        guest_use_user(g, 0);
        break;
    case 2:
        guest_use_protected(g, 0);
        break;
    default:
        guest_use_real(g, 0);
        break;
    }
}

static void choose_features(struct guest *g, uint8_t byte)
{
    struct cpu *cpu = g->cpu;
    static const uint64_t flags[] = {FLAG_IF, FLAG_DF, FLAG_TF, FLAG_AC, FLAG_IOPL};
    uint64_t chosen = FLAG_FIXED;
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (byte & (1u << i))
            chosen |= flags[i];
    }
    if (byte & 0x20)
        cpu->cr0 |= CR0_AM;
    if (byte & 0x40)
        cpu->cr4 |= CR4_SMEP | CR4_UMIP | CR4_FSGSBASE;
    cpu_set_flags(cpu, chosen);
    cpu_mode_changed(cpu);
}

static void prepare(struct guest *g, const uint8_t *bytes, size_t length)
{
    guest_reset(g);
    choose_mode(g, bytes[0]);
    choose_features(g, bytes[1]);
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (i != GPR_RSP)
            g->cpu->gpr[i] = values[(bytes[2 + i / 2] >> (i % 2 * 4)) & 15];
    }
    size_t count = length - HEADER < MAX_CODE ? length - HEADER : MAX_CODE;
    uint64_t offset = (bytes[0] & 0x80) ? 0xff8 : 0; /* across a page, or at its start */
    guest_place(g, CODE_AT + offset, bytes + HEADER, count);
    guest_start(g, g->cpu->rip + offset);
}

static bool answer(struct engine_exit *exit)
{
    switch (exit->kind) {
    case ENGINE_EXIT_PORT_READ:
        exit->port.value = 0x5a5a5a5a;
        return true;
    case ENGINE_EXIT_MMIO_READ:
        exit->mmio.value = exit->mmio.gpa * 3;
        return true;
    case ENGINE_EXIT_PORT_WRITE:
    case ENGINE_EXIT_MMIO_WRITE:
    case ENGINE_EXIT_HYPERCALL:
    case ENGINE_EXIT_EOI:
        return true;
    default:
        return false;
    }
}

static void check(struct guest *g)
{
    const struct cpu *cpu = g->cpu;
    must(cpu->gpr[GPR_ZERO] == 0);
    must((cpu->flags & FLAG_FIXED) != 0);
    must(cpu->cpl <= 3 && !cpu->fpu_live);
    must(!cpu->commit.locked && cpu->reply_count <= CPU_MAX_REPLIES);
    must(g->exit.kind <= ENGINE_EXIT_KICKED);
    must(pthread_mutex_trylock(&g->soft->split_lock) == 0);
    must(pthread_mutex_unlock(&g->soft->split_lock) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < HEADER)
        return 0;
    struct guest *g = shared_guest((bytes[0] & 0x40) != 0);
    prepare(g, bytes, length);
    unsigned exits = 0;
    bool more;
    do {
        (void)guest_run(g);
        check(g);
        more = answer(&g->exit);
    } while (more && ++exits < MAX_EXITS);
    return 0;
}
