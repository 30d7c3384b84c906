/* See trap.h. */
#include "trap.h"

#include "area.h"
#include "cpu.h"
#include "tap.h"

struct gate idt[256] __attribute__((aligned(16)));
trap_handler *volatile trap_handlers[256];

extern const char trap_stubs[256][16];
extern const char trial_recover[];

word trap_dispatch(struct frame *frame);

void gate_set(unsigned vector, const void *entry, unsigned type, unsigned ist)
{
    word offset = (word)entry;
    struct gate gate = {
        .offset0 = (uint16_t)offset,
        .selector = KERNEL_CS,
        .ist = (uint8_t)ist,
        .type = (uint8_t)type,
        .offset1 = (uint16_t)(offset >> 16),
#ifdef __x86_64__
        .offset2 = (uint32_t)(offset >> 32),
#endif
    };
    idt[vector] = gate;
}

void traps_reset(unsigned vector)
{
    bool open = vector == BP || vector == OF || vector == USER_DONE;
    unsigned ist = 0;
#ifdef __x86_64__
    ist = vector == DF ? 1 : vector == NMI ? 2 : 0;
#endif
    gate_set(vector, trap_stubs[vector], GATE_INTERRUPT | (open ? GATE_USER : 0), ist);
}

void traps_start(void)
{
    for (unsigned vector = 0; vector < 256; vector++)
        traps_reset(vector);
}

void traps_load(void)
{
    struct table_pointer table = {sizeof(idt) - 1, (word)idt};
    load_idt(&table);
}

const char *trap_name(unsigned vector)
{
    static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD",
                                        "#NM", "#DF", "#9",  "#TS", "#NP", "#SS", "#GP",
                                        "#PF", "#15", "#MF", "#AC", "#MC", "#XM"};
    if (vector == NO_TRAP)
        return "no trap";
    return vector < ARRAY_LENGTH(names) ? names[vector] : "interrupt";
}

static void __attribute__((noreturn)) dump(const struct frame *f)
{
    bail_out("unexpected %s (vector %lu error %lx) at %lx:%lx flags %lx sp %lx cr2 %lx cpu %u",
             trap_name((unsigned)f->vector), f->vector, f->error, f->cs, f->ip, f->flags, f->sp,
             read_cr2(), this_area()->index);
}

static void record(struct area *area, const struct frame *frame)
{
    area->trap.vector = (unsigned)frame->vector;
    area->trap.error = frame->error;
    area->trap.cr2 = read_cr2();
    area->trap.dr6 = read_dr6();
    area->trap.value = frame->ax;
    area->trap.frame = *frame;
    if (frame->vector == USER_DONE)
        area->trap.vector = NO_TRAP;
}

/* Returns 0 to go back to the interrupted code, else the stack of the trial to go back to. */
word trap_dispatch(struct frame *frame)
{
    struct area *area = this_area();
    trap_handler *handler = trap_handlers[frame->vector & 255];

    if (handler) {
        handler(frame);
        return 0;
    }
    if (!area->trial_sp)
        dump(frame);
    record(area, frame);
    return area->trial_sp;
}
