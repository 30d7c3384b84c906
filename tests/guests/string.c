/*
 * String instructions: every size and direction against a model, partial progress at faults and
 * interrupts, address sizes, ports. Source: Intel SDM vol. 1 § 7.3.9, vol. 2 (REP, MOVS, ...).
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "pages.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"
#include "trial.h"

struct state { /* what a string instruction reads and writes */
    word si, di, cx, ax, flags;
};

#define STRING(name, instruction)                                                      \
    SNIPPET(name,                                                                      \
            "mov %rdi, %r8; mov (%r8), %rsi; mov 8(%r8), %rdi; mov 16(%r8), %rcx;"     \
            "mov 24(%r8), %rax; pushq 32(%r8); popf",                                  \
            instruction,                                                               \
            "mov %rsi, (%r8); mov %rdi, 8(%r8); mov %rcx, 16(%r8); mov %rax, 24(%r8);" \
            "pushf; pop 32(%r8); cld")

STRING(one_movsb, "movsb");
STRING(one_movsq, "movsq");
STRING(one_lodsl, "lodsl");
STRING(one_scasw, "scasw");
STRING(rep_movsb, "rep movsb");
STRING(rep_movsw, "rep movsw");
STRING(rep_movsl, "rep movsl");
STRING(rep_movsq, "rep movsq");
STRING(rep_stosb, "rep stosb");
STRING(rep_stosw, "rep stosw");
STRING(rep_stosl, "rep stosl");
STRING(rep_stosq, "rep stosq");
STRING(rep_lodsb, "rep lodsb");
STRING(rep_lodsw, "rep lodsw");
STRING(rep_lodsl, "rep lodsl");
STRING(rep_lodsq, "rep lodsq");
STRING(repe_cmpsb, "repe cmpsb");
STRING(repe_cmpsw, "repe cmpsw");
STRING(repe_cmpsl, "repe cmpsl");
STRING(repe_cmpsq, "repe cmpsq");
STRING(repne_cmpsb, "repne cmpsb");
STRING(repne_cmpsq, "repne cmpsq");
STRING(repe_scasb, "repe scasb");
STRING(repe_scasq, "repe scasq");
STRING(repne_scasb, "repne scasb");
STRING(repne_scasw, "repne scasw");
STRING(repne_scasl, "repne scasl");
STRING(repne_scasq, "repne scasq");

enum kind { MOVS, STOS, LODS, CMPS, SCAS };
enum repeat { ONCE, REP, REPE, REPNE };

struct operation {
    const struct snippet *code;
    enum kind kind;
    unsigned size;
    enum repeat repeat;
};

static const struct operation operations[] = {
    {&one_movsb, MOVS, 1, ONCE},    {&one_movsq, MOVS, 8, ONCE},    {&one_lodsl, LODS, 4, ONCE},
    {&one_scasw, SCAS, 2, ONCE},    {&rep_movsb, MOVS, 1, REP},     {&rep_movsw, MOVS, 2, REP},
    {&rep_movsl, MOVS, 4, REP},     {&rep_movsq, MOVS, 8, REP},     {&rep_stosb, STOS, 1, REP},
    {&rep_stosw, STOS, 2, REP},     {&rep_stosl, STOS, 4, REP},     {&rep_stosq, STOS, 8, REP},
    {&rep_lodsb, LODS, 1, REP},     {&rep_lodsw, LODS, 2, REP},     {&rep_lodsl, LODS, 4, REP},
    {&rep_lodsq, LODS, 8, REP},     {&repe_cmpsb, CMPS, 1, REPE},   {&repe_cmpsw, CMPS, 2, REPE},
    {&repe_cmpsl, CMPS, 4, REPE},   {&repe_cmpsq, CMPS, 8, REPE},   {&repne_cmpsb, CMPS, 1, REPNE},
    {&repne_cmpsq, CMPS, 8, REPNE}, {&repe_scasb, SCAS, 1, REPE},   {&repe_scasq, SCAS, 8, REPE},
    {&repne_scasb, SCAS, 1, REPNE}, {&repne_scasw, SCAS, 2, REPNE}, {&repne_scasl, SCAS, 4, REPNE},
    {&repne_scasq, SCAS, 8, REPNE},
};

/* --- the model --- */

static uint8_t work[8192] __attribute__((aligned(4096)));
static uint8_t expected[8192];
static uint8_t initial[8192];

static uint64_t model_read(word address, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)expected[address - (word)work + i] << 8 * i;
    return value;
}

static void model_write(word address, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        expected[address - (word)work + i] = (uint8_t)(value >> 8 * i);
}

static void model_compare(struct state *s, uint64_t a, uint64_t b)
{
    s->flags &= ~(word)(FLAG_ZF | FLAG_CF);
    s->flags |= (a == b ? FLAG_ZF : 0) | (a < b ? FLAG_CF : 0);
}

static uint64_t low_part(word value, unsigned size)
{
    return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

static word merge_low(word old, uint64_t value, unsigned size)
{
    if (size >= 4)
        return value;
    return (old & ~((1ull << 8 * size) - 1)) | value;
}

static void model_step(const struct operation *op, struct state *s)
{
    word step = s->flags & FLAG_DF ? -(word)op->size : op->size;

    switch (op->kind) {
    case MOVS:
        model_write(s->di, op->size, model_read(s->si, op->size));
        break;
    case STOS:
        model_write(s->di, op->size, s->ax);
        break;
    case LODS:
        s->ax = merge_low(s->ax, model_read(s->si, op->size), op->size);
        break;
    case CMPS:
        model_compare(s, model_read(s->si, op->size), model_read(s->di, op->size));
        break;
    case SCAS:
        model_compare(s, low_part(s->ax, op->size), model_read(s->di, op->size));
        break;
    }
    if (op->kind == MOVS || op->kind == LODS || op->kind == CMPS)
        s->si += step;
    if (op->kind != LODS)
        s->di += step;
}

static void model(const struct operation *op, struct state *s)
{
    if (op->repeat == ONCE) {
        model_step(op, s);
        return;
    }
    while (s->cx) {
        model_step(op, s);
        s->cx--;
        if (op->repeat == REPE && !(s->flags & FLAG_ZF))
            return;
        if (op->repeat == REPNE && (s->flags & FLAG_ZF))
            return;
    }
}

/* --- all operations, from many places --- */

static uint32_t random_state = 12345;

static uint32_t random32(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return random_state >> 3;
}

/* Few different bytes, in runs, so that comparisons go on for a while. */
static void fill_initial(unsigned density)
{
    for (unsigned i = 0; i < sizeof(initial); i++)
        initial[i] = (uint8_t)(random32() % density ? 0x11 : random32());
}

static bool same_outcome(const struct state *is, const struct state *should)
{
    const word flags = FLAG_ZF | FLAG_CF | FLAG_DF;
    if (is->si != should->si || is->di != should->di || is->cx != should->cx ||
        is->ax != should->ax || (is->flags & flags) != (should->flags & flags)) {
        note("  is     si %lx di %lx cx %lx ax %lx flags %lx", is->si, is->di, is->cx, is->ax,
             is->flags);
        note("  should si %lx di %lx cx %lx ax %lx flags %lx", should->si, should->di, should->cx,
             should->ax, should->flags);
        return false;
    }
    if (__builtin_memcmp(work, expected, sizeof(work)) != 0) {
        note("  the memory differs");
        return false;
    }
    return true;
}

static bool try_one(const struct operation *op, struct state start)
{
    struct state real = start;
    struct state should = start;

    __builtin_memcpy(work, initial, sizeof(work));
    __builtin_memcpy(expected, initial, sizeof(work));
    model(op, &should);
    trial_in(KERNEL, op->code, (word)&real);
    return same_outcome(&real, &should);
}

static struct state random_state_for(unsigned round, bool down)
{
    static const unsigned counts[] = {0, 1, 2, 3, 7, 8, 31, 64, 100, 150};
    word middle = (word)work + 3500;
    word count = counts[round % ARRAY_LENGTH(counts)];

    return (struct state){
        /* near each other, so that many overlap */
        .si = middle + random32() % 256,
        .di = middle + random32() % 256,
        .cx = count,
        .ax = 0x1111111111111111ull,
        .flags = FLAG_FIXED | (down ? FLAG_DF : 0) | (round & 1 ? FLAG_ZF : 0),
    };
}

static void against_model(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(operations); i++) {
        const struct operation *op = &operations[i];
        for (unsigned down = 0; down < 2; down++) {
            bool good = true;
            for (unsigned round = 0; round < 60 && good; round++) {
                fill_initial(round % 3 ? 20 : 200);
                good = try_one(op, random_state_for(round, down));
            }
            check(good, "%s, %s", op->code->name, down ? "downwards" : "upwards");
        }
    }
}

/* --- zero counts touch nothing --- */

static void zero_counts(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(operations); i++) {
        struct state state = {0x700000000000, 0x700000000000, 0, 5, FLAG_FIXED | FLAG_CF};
        if (operations[i].repeat == ONCE)
            continue;
        check(trial_in(KERNEL, operations[i].code, (word)&state)->vector == NO_TRAP &&
                  state.si == 0x700000000000 && state.flags == (FLAG_FIXED | FLAG_CF),
              "%s with count 0 at an unmapped address does nothing", operations[i].code->name);
    }
}

/* --- faults in the middle --- */

#define SPACE  0x8000000000ull /* page at SPACE + PAGE is mapped, its neighbours are not */
#define MAPPED (SPACE + PAGE)
#define INSIDE 0x6000000ull

static uint64_t *root;

static void space_start(void)
{
    root = root_new();
    map_page(root, MAPPED, INSIDE | PTE_W, 1);
    write_cr3((word)root);
}

static void space_end(void)
{
    write_cr3((word)boot_root);
    pages_release();
}

/* Where a run of `steps` elements starts whose next one does not fit: `inside` bytes of it do. */
static word start_before_edge(const struct operation *op, bool down, unsigned steps,
                              unsigned inside)
{
    if (down)
        return MAPPED - op->size + inside + steps * op->size;
    return MAPPED + PAGE - inside - steps * op->size;
}

struct partial {
    const struct operation *op;
    bool down, source; /* which pointer runs out of the page */
    unsigned steps, inside;
};

static void check_partial(const struct partial *p)
{
    word size = p->op->size;
    word start = start_before_edge(p->op, p->down, p->steps, p->inside);
    word at_fault = p->down ? start - p->steps * size : start + p->steps * size;
    word cr2 = p->down ? at_fault : MAPPED + PAGE;
    word other = (word)work + 4000;
    bool write = p->op->kind == STOS || (p->op->kind == MOVS && !p->source);
    struct state state = {.si = p->source ? start : other,
                          .di = p->source ? other : start,
                          .cx = 100,
                          .flags = FLAG_FIXED | (p->down ? FLAG_DF : 0)};
    const struct trap *trap;
    bool good;

    __builtin_memset(work, 0, sizeof(work));
    __builtin_memset((void *)INSIDE, 0, PAGE);
    trap = trial_in(KERNEL, p->op->code, (word)&state);
    good = trap->vector == PF && trap->frame.ip == (word)p->op->code->at &&
           trap->frame.cx == 100 - p->steps && trap->cr2 == cr2 &&
           trap->error == (write ? PF_W : 0) &&
           (p->source ? trap->frame.si : trap->frame.di) == at_fault &&
           (trap->frame.flags & FLAG_DF) == (p->down ? FLAG_DF : 0);
    check(good, "%s %s, %s, %u bytes inside: #PF after %u steps", p->op->code->name,
          p->down ? "down" : "up", p->source ? "source" : "destination", p->inside, p->steps);
    if (!good)
        note("  is %s(%lx) cx %lx si %lx di %lx cr2 %lx, should be %lx", trap_name(trap->vector),
             trap->error, trap->frame.cx, trap->frame.si, trap->frame.di, trap->cr2, cr2);
}

static void faults(void)
{
    static const unsigned steps[] = {0, 1, 37};

    space_start();
    for (unsigned i = 0; i < ARRAY_LENGTH(operations); i++) {
        const struct operation *op = &operations[i];
        if (op->repeat == ONCE || op->repeat == REPNE) /* the memory is all equal */
            continue;
        for (unsigned n = 0; n < ARRAY_LENGTH(steps); n++) {
            for (unsigned down = 0; down < 2; down++) {
                unsigned inside = op->size > 1 && n ? op->size / 2 : 0;
                if (op->kind != STOS && op->kind != SCAS)
                    check_partial(&(struct partial){op, down, true, steps[n], inside});
                if (op->kind != LODS)
                    check_partial(&(struct partial){op, down, false, steps[n], inside});
            }
        }
    }
    space_end();
}

/* The handler maps the missing page; the instruction goes on where it stopped. */
static unsigned pages_mapped;

static void map_missing(struct frame *frame)
{
    uint64_t page = read_cr2() & ~(PAGE - 1);

    (void)frame;
    map_page(root, page, (INSIDE + (page - MAPPED)) | PTE_W, 1);
    pages_mapped++;
}

static void continues_after_faults(void)
{
    struct state state = {.di = MAPPED + 100, .cx = 3 * PAGE, .ax = 0x5a, .flags = FLAG_FIXED};
    bool good = true;

    space_start();
    pages_mapped = 0;
    trap_handlers[PF] = map_missing;
    __builtin_memset((void *)INSIDE, 0, 5 * PAGE);
    trial_in(KERNEL, &rep_stosb, (word)&state);
    check_equal(pages_mapped, 3, "rep stosb over three missing pages faults once for each");
    for (word i = 0; i < 5 * PAGE; i++)
        good = good && ((uint8_t *)INSIDE)[i] == (i >= 100 && i < 100 + 3 * PAGE ? 0x5a : 0);
    check(good && state.cx == 0, "and fills exactly its bytes");
    state = (struct state){
        .si = MAPPED + 3, .di = MAPPED + 5 * PAGE + 1, .cx = PAGE / 4, .flags = FLAG_FIXED};
    pages_mapped = 0;
    trial_in(KERNEL, &rep_movsq, (word)&state);
    check_equal(pages_mapped, 3, "rep movsq into three missing pages");
    check(__builtin_memcmp((void *)(INSIDE + 3), (void *)(INSIDE + 5 * PAGE + 1), 2 * PAGE) == 0,
          "copies all");
    trap_handlers[PF] = NULL;
    space_end();
}

/* --- interrupts in the middle --- */

enum { TICK = 0x60 };

static volatile unsigned ticks, partial_ticks;
static word long_start;
static bool progress_good;

static void tick(struct frame *frame)
{
    ticks++;
    if (frame->ip == (word)rep_stosb.at && frame->cx && frame->di != long_start) {
        partial_ticks++;
        /* what is said to be done is done, and no more */
        progress_good = progress_good && ((volatile uint8_t *)frame->di)[-1] == (uint8_t)ticks;
    }
    apic_eoi();
}

static void interruptible(void)
{
    enum { BYTES = 32 << 20 };
    word start = 0x8000000;

    trap_handlers[TICK] = tick;
    progress_good = true;
    long_start = start;
    for (unsigned attempt = 0; attempt < 100 && partial_ticks < 3; attempt++) {
        struct state state = {.di = start, .cx = BYTES, .ax = 0, .flags = FLAG_FIXED | FLAG_IF};
        state.ax = ticks + 1;
        progress_good = true;
        apic_write(APIC_TIMER_DIVIDE, 0xb);
        apic_write(APIC_LVT_TIMER, TICK);
        apic_write(APIC_TIMER_INITIAL, 20000 + attempt * 5000);
        trial_in(KERNEL, &rep_stosb, (word)&state);
        asm volatile("sti; nop; cli");
    }
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    check(partial_ticks > 0, "the timer interrupts rep stosb in the middle (%u times)",
          partial_ticks);
    check(progress_good, "with the bytes up to RDI written");
}

/* --- address sizes, segments, ports --- */

STRING(movsb_32, "addr32 rep movsb");
STRING(stosl_32, "addr32 rep stosl");
STRING(movsb_fs, "rep movsb %fs:(%rsi), %es:(%rdi)");
SNIPPET32(stosb_16,
          "mov $0x60, %eax; mov %eax, %es; mov $0xabcd0020, %ecx; mov %edi, %edx;"
          "mov $0x5a, %al",
          "addr16 rep stosb", "mov $0x10, %eax; mov %eax, %es; mov %edi, %eax");

static void address_sizes(void)
{
    struct state state = {.si = (word)work | 0xdead00000000,
                          .di = ((word)work + 100),
                          .cx = 0xbeef00000010,
                          .flags = FLAG_FIXED};

    __builtin_memcpy(work, "0123456789abcdef", 16);
    trial_in(KERNEL, &movsb_32, (word)&state);
    check(__builtin_memcmp(work + 100, "0123456789abcdef", 16) == 0,
          "32-bit addresses: upper halves do not count");
    check(state.si == (word)work + 16 && state.di == (word)work + 116 && state.cx == 0,
          "and are cleared");
    state = (struct state){
        .di = 0xffffffff00000000ull | (word)work, .cx = 3, .ax = 0x12345678, .flags = FLAG_FIXED};
    trial_in(KERNEL, &stosl_32, (word)&state);
    check(((uint32_t *)(void *)work)[2] == 0x12345678 && state.di == (word)work + 12,
          "rep stosl with 32-bit addresses");
}

static void segment_bases(void)
{
    struct state state = {.si = 5, .di = (word)work + 100, .cx = 10, .flags = FLAG_FIXED};

    write_msr(MSR_FS_BASE, (word)work);
    __builtin_memcpy(work, "0123456789abcdef", 16);
    trial_in(KERNEL, &movsb_fs, (word)&state);
    check(__builtin_memcmp(work + 100, "56789abcde", 10) == 0, "a segment override counts for RSI");
    write_msr(MSR_FS_BASE, 0);
}

/* 16-bit addresses wrap around at 64 KiB. */
static void wrap_around(void)
{
    static uint8_t segment[0x10000] __attribute__((aligned(4096)));
    word base = (word)segment;

    this_area()->gdt[FREE_SELECTOR / 8] =
        0x000092000000ffffull | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    trial_in(KERNEL32, &stosb_16, 0x1234fff0);
    check_equal(this_area()->trap.value, 0x12340010, "rep stosb with 16-bit addresses wraps DI");
    check(segment[0xffff] == 0x5a && segment[0] == 0x5a && segment[0xf] == 0x5a &&
              segment[0x10] == 0 && segment[0xffef] == 0,
          "and writes on both ends of the segment");
    check_equal(this_area()->trap.vector, NO_TRAP, "without a fault");
}

enum { PIC_MASK = 0x21 }; /* a port that reads back what was written */

SNIPPET(outs_ports, "mov %rdi, %rsi; mov $0x21, %edx; mov $5, %ecx", "rep outsb",
        "in $0x21, %al; movzbl %al, %eax");
SNIPPET(ins_ports, "mov $0x21, %edx; mov $5, %ecx", "rep insb", "mov %rdi, %rax");

static void ports(void)
{
    space_start();
    work[69] = 0x77;
    __builtin_memcpy(work, "\xf1\xf3\xf7\xfb\xfd", 5);
    check_equal(trial_in(KERNEL, &outs_ports, (word)work)->value, 0xfd, "rep outsb writes all");
    check_equal(trial_in(KERNEL, &ins_ports, (word)work + 64)->value, (word)work + 69,
                "rep insb advances RDI");
    check(work[64] == 0xfd && work[68] == 0xfd && work[69] == 0x77, "and reads all");
    check(trial_in(KERNEL, &ins_ports, MAPPED + PAGE - 3)->vector == PF &&
              this_area()->trap.frame.cx == 2 && this_area()->trap.frame.di == MAPPED + PAGE,
          "rep insb into a missing page: #PF after 3 bytes");
    check(trial_in(KERNEL, &outs_ports, MAPPED + PAGE - 3)->vector == PF &&
              this_area()->trap.frame.cx == 2 && this_area()->trap.frame.si == MAPPED + PAGE,
          "rep outsb from a missing page: #PF after 3 bytes");
    check_fault(USER, &outs_ports, seen_at(USER, work), GP, 0);
    out8(PIC_MASK, 0xff);
    space_end();
}

/* --- long ones --- */

static void long_ones(void)
{
    enum { BYTES = 2 << 20 };
    uint64_t *from = (uint64_t *)0x8000000;
    uint64_t *to = (uint64_t *)(0x8000000 + 2 * BYTES);
    struct state state;

    for (unsigned i = 0; i < BYTES / 8; i++) {
        from[i] = i * 0x9e3779b97f4a7c15ull;
        to[i] = 0;
    }
    state = (struct state){(word)from, (word)to, BYTES, 0, FLAG_FIXED};
    trial_in(KERNEL, &rep_movsb, (word)&state);
    check(__builtin_memcmp(from, to, BYTES) == 0, "rep movsb of 2 MiB");
    state = (struct state){(word)from, (word)to, BYTES, 0, FLAG_FIXED};
    to[BYTES / 16] ^= 1ull << 56;
    trial_in(KERNEL, &repe_cmpsb, (word)&state);
    check_equal(state.si, (word)from + BYTES / 2 + 8, "repe cmpsb stops at a difference 1 MiB on");
    state = (struct state){0, (word)to, BYTES / 8, 0x4242424242424242, FLAG_FIXED};
    trial_in(KERNEL, &rep_stosq, (word)&state);
    check(to[0] == 0x4242424242424242 && to[BYTES / 8 - 1] == to[0] && state.cx == 0,
          "rep stosq of 2 MiB");
    ((uint8_t *)to)[BYTES - 5] = 0x99;
    state = (struct state){0, (word)to, BYTES, 0x99, FLAG_FIXED};
    trial_in(KERNEL, &repne_scasb, (word)&state);
    check_equal(state.di, (word)to + BYTES - 4, "repne scasb finds a byte 2 MiB on");
    /* the overlap that makes a pattern */
    __builtin_memcpy(from, "abcdefgh", 8);
    state = (struct state){(word)from, (word)from + 8, BYTES / 8 - 1, 0, FLAG_FIXED};
    trial_in(KERNEL, &rep_movsq, (word)&state);
    check(__builtin_memcmp(from, from + BYTES / 8 - 1, 8) == 0, "rep movsq repeats a pattern");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"model", against_model},
        {"zero", zero_counts},
        {"faults", faults},
        {"continue", continues_after_faults},
        {"interrupts", interruptible},
        {"address-sizes", address_sizes},
        {"segment-bases", segment_bases},
        {"wrap-around", wrap_around},
        {"ports", ports},
        {"long", long_ones},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
