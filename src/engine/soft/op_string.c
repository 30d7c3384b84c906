/*
 * String instructions. Repeated ones go page by page with the host's own REP instructions of the
 * same element size (so that overlapping moves come out the same), keep RSI, RDI and RCX true after
 * each piece, and stop for interrupts: they then simply start again. Intel SDM vol. 2, REP.
 */
#include "engine/soft/memory.h"
#include "engine/soft/ops_integer.h"

/* Bytes moved before the run loop gets to look at interrupts. */
enum { BUDGET = 1 << 16 };

struct run {
    struct cpu *cpu;
    const struct op *op;
    int64_t delta;  /* +width or -width */
    uint64_t left;  /* elements */
    unsigned spent; /* bytes */
    bool repeated;
    bool whole_pages; /* 64-bit addresses, upwards: pieces are possible */
};

static struct run run_begin(struct cpu *cpu, const struct op *op)
{
    struct run run = {.cpu = cpu, .op = op, .delta = op->width, .left = 1};
    if (cpu->flags & FLAG_DF)
        run.delta = -run.delta;
    run.repeated = (op->flags & (OP_REP | OP_REPNE)) != 0;
    if (run.repeated)
        run.left = gpr_read(cpu, GPR_RCX * 8, op->address_width);
    run.whole_pages = run.delta > 0 && op->address_width == 8 && (cpu->mode & MODE_SINGLE) == 0;
    return run;
}

static uint64_t pointer(const struct run *run, enum engine_gpr gpr)
{
    return gpr_read(run->cpu, gpr * 8u, run->op->address_width);
}

static void advance(const struct run *run, enum engine_gpr gpr, uint64_t elements)
{
    gpr_write(run->cpu, gpr * 8u, run->op->address_width,
              pointer(run, gpr) + elements * (uint64_t)run->delta);
}

static void consume(struct run *run, uint64_t elements)
{
    run->left -= elements;
    run->spent += (unsigned)(elements * run->op->width);
    if (run->repeated)
        gpr_write(run->cpu, GPR_RCX * 8, run->op->address_width, run->left);
    exit_forget(run->cpu);
}

/* Between two elements: go on with this instruction in place, or let the run loop look around. */
static bool must_pause(const struct run *run)
{
    const struct cpu *cpu = run->cpu;
    return run->left != 0 && (run->spent >= BUDGET || (cpu->mode & MODE_SINGLE) != 0 ||
                              atomic_load_explicit(&cpu->pending, memory_order_relaxed) != 0);
}

static int run_end(struct run *run)
{
    if (run->left == 0)
        return STEP_NEXT;
    run->cpu->rip = op_rip(run->cpu, run->op);
    return STEP_JUMP;
}

/* ---- single elements ---- */

static int source_linear(const struct run *run, uint64_t *ret)
{
    *ret = pointer(run, GPR_RSI);
    if (run->op->segment == SEGMENT_FLAT)
        return STEP_NEXT;
    return segment_linear(run->cpu, run->op->segment, *ret, run->op->width, ACCESS_READ, ret);
}

static int target_linear(const struct run *run, unsigned access, uint64_t *ret)
{
    *ret = pointer(run, GPR_RDI);
    if (cpu_long(run->cpu))
        return STEP_NEXT;
    return segment_linear(run->cpu, SEGMENT_ES, *ret, run->op->width, access, ret);
}

static int read_source(const struct run *run, uint64_t *ret)
{
    uint64_t linear;
    int step = source_linear(run, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_read(run->cpu, linear, run->op->width, run->op->flags & OP_STACK, ret);
}

static int read_target(const struct run *run, uint64_t *ret)
{
    uint64_t linear;
    int step = target_linear(run, ACCESS_READ, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_read(run->cpu, linear, run->op->width, ACCESS_READ, ret);
}

static int write_target(const struct run *run, uint64_t value)
{
    uint64_t linear;
    int step = target_linear(run, ACCESS_WRITE, &linear);
    if (step != STEP_NEXT)
        return step;
    return linear_write(run->cpu, linear, run->op->width, ACCESS_WRITE, value);
}

/* ---- pieces of a page ---- */

/* Host address when the TLB knows the page for this use, else 0. */
static uint64_t known_host(const struct run *run, uint64_t linear, bool write)
{
    const struct tlb_entry *entry = tlb_entry(run->cpu->tlb, linear);
    uint64_t tag = write ? entry->write : entry->read;
    return tag == tlb_tag(linear, 1) ? linear + entry->delta : 0;
}

static uint64_t elements_in_page(const struct run *run, uint64_t linear)
{
    return (0x1000 - (linear & 0xfff)) / run->op->width;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#define NATIVE(insn, to, from, count) \
    __asm__ volatile("rep " insn : "+D"(to), "+S"(from), "+c"(count) : : "memory")

static void copy_elements(unsigned width, uint64_t to, uint64_t from, uint64_t count)
{
    switch (width) {
    case 1:
        NATIVE("movsb", to, from, count);
        break;
    case 2:
        NATIVE("movsw", to, from, count);
        break;
    case 4:
        NATIVE("movsl", to, from, count);
        break;
    default:
        NATIVE("movsq", to, from, count);
        break;
    }
}

#define NATIVE_FILL(insn, to, value, count) \
    __asm__ volatile("rep " insn : "+D"(to), "+c"(count) : "a"(value) : "memory")

static void fill_elements(unsigned width, uint64_t to, uint64_t value, uint64_t count)
{
    switch (width) {
    case 1:
        NATIVE_FILL("stosb", to, value, count);
        break;
    case 2:
        NATIVE_FILL("stosw", to, value, count);
        break;
    case 4:
        NATIVE_FILL("stosl", to, value, count);
        break;
    default:
        NATIVE_FILL("stosq", to, value, count);
        break;
    }
}

/* How many elements were moved at once; 0 = do one the slow way. */
static uint64_t move_piece(struct run *run)
{
    if (!run->whole_pages || run->left < 2)
        return 0;
    uint64_t source;
    uint64_t target = pointer(run, GPR_RDI);
    if (source_linear(run, &source) != STEP_NEXT)
        return 0;
    uint64_t from = known_host(run, source, false);
    uint64_t to = known_host(run, target, true);
    uint64_t count =
        least(run->left, least(elements_in_page(run, source), elements_in_page(run, target)));
    if (from == 0 || to == 0 || count == 0)
        return 0;
    copy_elements(run->op->width, to, from, count);
    return count;
}

static uint64_t store_piece(struct run *run)
{
    if (!run->whole_pages || run->left < 2)
        return 0;
    uint64_t target = pointer(run, GPR_RDI);
    uint64_t to = known_host(run, target, true);
    uint64_t count = least(run->left, elements_in_page(run, target));
    if (to == 0 || count == 0)
        return 0;
    fill_elements(run->op->width, to, run->cpu->gpr[GPR_RAX], count);
    return count;
}

/* ---- the instructions ---- */

int op_movs(struct cpu *cpu, const struct op *op)
{
    struct run run = run_begin(cpu, op);
    while (run.left != 0) {
        uint64_t done = move_piece(&run);
        if (done == 0) {
            uint64_t value;
            int step = read_source(&run, &value);
            if (step == STEP_NEXT)
                step = write_target(&run, value);
            if (step != STEP_NEXT)
                return step;
            done = 1;
        }
        advance(&run, GPR_RSI, done);
        advance(&run, GPR_RDI, done);
        consume(&run, done);
        if (must_pause(&run))
            break;
    }
    return run_end(&run);
}

int op_stos(struct cpu *cpu, const struct op *op)
{
    struct run run = run_begin(cpu, op);
    while (run.left != 0) {
        uint64_t done = store_piece(&run);
        if (done == 0) {
            int step = write_target(&run, cpu->gpr[GPR_RAX]);
            if (step != STEP_NEXT)
                return step;
            done = 1;
        }
        advance(&run, GPR_RDI, done);
        consume(&run, done);
        if (must_pause(&run))
            break;
    }
    return run_end(&run);
}

int op_lods(struct cpu *cpu, const struct op *op)
{
    struct run run = run_begin(cpu, op);
    while (run.left != 0) {
        uint64_t value;
        int step = read_source(&run, &value);
        if (step != STEP_NEXT)
            return step;
        gpr_write(cpu, GPR_RAX * 8, op->width, value);
        advance(&run, GPR_RSI, 1);
        consume(&run, 1);
        if (must_pause(&run))
            break;
    }
    return run_end(&run);
}

static void compare(struct cpu *cpu, unsigned width, uint64_t a, uint64_t b)
{
    uint64_t flags;
    switch (width) {
    case 1:
        __asm__("cmpb %b2, %b1\n\tpushfq\n\tpopq %0" : "=r"(flags) : "q"(a), "q"(b) : "cc");
        break;
    case 2:
        __asm__("cmpw %w2, %w1\n\tpushfq\n\tpopq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc");
        break;
    case 4:
        __asm__("cmpl %k2, %k1\n\tpushfq\n\tpopq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc");
        break;
    default:
        __asm__("cmpq %q2, %q1\n\tpushfq\n\tpopq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc");
        break;
    }
    cpu->flags = (cpu->flags & ~(uint64_t)FLAGS_ARITHMETIC) | (flags & FLAGS_ARITHMETIC);
}

/* REPE goes on while equal, REPNE while different. */
static bool is_decided(const struct run *run)
{
    bool equal = (run->cpu->flags & FLAG_ZF) != 0;
    return run->repeated && equal == ((run->op->flags & OP_REPNE) != 0);
}

int op_scas(struct cpu *cpu, const struct op *op)
{
    struct run run = run_begin(cpu, op);
    while (run.left != 0) {
        uint64_t value;
        int step = read_target(&run, &value);
        if (step != STEP_NEXT)
            return step;
        compare(cpu, op->width, cpu->gpr[GPR_RAX], value);
        advance(&run, GPR_RDI, 1);
        consume(&run, 1);
        if (is_decided(&run))
            return STEP_NEXT;
        if (must_pause(&run))
            break;
    }
    return run_end(&run);
}

int op_cmps(struct cpu *cpu, const struct op *op)
{
    struct run run = run_begin(cpu, op);
    while (run.left != 0) {
        uint64_t a;
        uint64_t b;
        int step = read_source(&run, &a);
        if (step == STEP_NEXT)
            step = read_target(&run, &b);
        if (step != STEP_NEXT)
            return step;
        compare(cpu, op->width, a, b);
        advance(&run, GPR_RSI, 1);
        advance(&run, GPR_RDI, 1);
        consume(&run, 1);
        if (is_decided(&run))
            return STEP_NEXT;
        if (must_pause(&run))
            break;
    }
    return run_end(&run);
}
