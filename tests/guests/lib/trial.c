/* See trial.h. */
#include "trial.h"

#include "area.h"
#include "cpu.h"
#include "tap.h"

word trial_enter(const void *code, word argument, word *saved_sp);
extern const char user_enter[], user_return[];

#ifdef __x86_64__
extern const char far_enter[], far_call32[];

struct far_entry {
    word argument;
    uint32_t offset;
    uint16_t selector, unused;
    word code;
};
#endif

const struct trap *trial(const void *code, word argument)
{
    struct area *area = this_area();
    word value;

    area->trap.vector = NO_TRAP;
    area->trap.frame.vector = NO_TRAP;
    asm volatile("" : : : "memory");
    value = trial_enter(code, argument, &area->trial_sp);
    asm volatile("" : : : "memory");
    area->trial_sp = 0;
    if (area->trap.frame.vector == NO_TRAP) /* came back by itself, not from ring 3 */
        area->trap.value = value;
    return &area->trap;
}

#ifdef __x86_64__
word user_offset = USER_ALIAS;
#else
word user_offset;
#endif

word seen_at(enum mode mode, const void *address)
{
#ifdef __x86_64__
    bool user = mode == USER || mode == USER32;
#else
    bool user = mode == USER;
#endif
    return (word)address + (user ? user_offset : 0);
}

/* Leaves the address of user_return on the stack of ring 3, so that `ret` ends the code. */
static word user_stack(enum mode mode)
{
    char *top = area_at(this_area(), AREA_USER_STACK) - 16;
    *(word *)(void *)top = seen_at(mode, user_return);
    return seen_at(mode, top);
}

struct user_entry user_entry(enum mode mode, const void *code, word argument)
{
    struct area *area = this_area();
#ifdef __x86_64__
    word cs = mode == USER32 ? USER_CS32 : USER_CS64;
    void *stack0 = &area->task.rsp[0];
#else
    word cs = USER_CS32;
    void *stack0 = &area->task.esp0;
#endif
    return (struct user_entry){
        argument, seen_at(mode, code), cs, FLAG_FIXED, user_stack(mode), USER_DS, stack0};
}

const struct trap *trial_user(struct user_entry *entry)
{
    return trial(user_enter, (word)entry);
}

const struct trap *trial_in(enum mode mode, const struct snippet *code, word argument)
{
    struct user_entry entry;
#ifdef __x86_64__
    if (mode == KERNEL32) {
        struct far_entry far = {argument, (uint32_t)(word)far_call32, KERNEL_CS32, 0,
                                (word)code->code};
        return trial(far_enter, (word)&far);
    }
#endif
    if (mode == KERNEL)
        return trial(code->code, argument);
    entry = user_entry(mode, code->code, argument);
    return trial_user(&entry);
}

static const char *mode_name(enum mode mode)
{
#ifdef __x86_64__
    static const char *const names[] = {"ring 0", "ring 3", "ring 0 compat", "ring 3 compat"};
#else
    static const char *const names[] = {"ring 0", "ring 3"};
#endif
    return names[mode];
}

/* What went wrong, behind a failed check. */
static void explain(const struct trap *trap, word ip)
{
    if (trap->vector == NO_TRAP)
        note("  no trap, value %lx", trap->value);
    else
        note("  is %s(%lx) at %lx cr2 %lx dr6 %lx, instruction at %lx", trap_name(trap->vector),
             trap->error, trap->frame.ip, trap->cr2, trap->dr6, ip);
}

bool check_fault(enum mode mode, const struct snippet *code, word argument, unsigned vector,
                 word error)
{
    const struct trap *trap = trial_in(mode, code, argument);
    word ip = seen_at(mode, code->at);
    bool good = trap->vector == vector && trap->error == error && trap->frame.ip == ip;

    check(good, "%s in %s: %s(%lx), a fault", code->name, mode_name(mode), trap_name(vector),
          error);
    if (!good)
        explain(trap, ip);
    return good;
}

bool check_trap(enum mode mode, const struct snippet *code, word argument, unsigned vector)
{
    const struct trap *trap = trial_in(mode, code, argument);
    word ip = seen_at(mode, code->next);
    bool good = trap->vector == vector && trap->error == 0 && trap->frame.ip == ip;

    check(good, "%s in %s: %s, a trap", code->name, mode_name(mode), trap_name(vector));
    if (!good)
        explain(trap, ip);
    return good;
}

bool check_runs(enum mode mode, const struct snippet *code, word argument)
{
    const struct trap *trap = trial_in(mode, code, argument);
    bool good = trap->vector == NO_TRAP;

    check(good, "%s in %s: runs", code->name, mode_name(mode));
    if (!good)
        explain(trap, seen_at(mode, code->at));
    return good;
}

void check_fault_rows(enum mode mode, const struct fault_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_fault(mode, rows[i].code, rows[i].argument, rows[i].vector, rows[i].error);
}
