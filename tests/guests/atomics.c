/*
 * Several CPUs on the same memory: locked instructions are atomic, also over borders, and the
 * memory order is the one of x86. Source: Intel SDM vol. 3A § 8.1 (locks), § 8.2 (memory ordering).
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"

enum { ROUNDS = 20000, LINE = 64 };

/* Two pages, so that an access can lie over the border of a line or of a page. */
static uint8_t arena[8192] __attribute__((aligned(4096)));

/* Lines up all CPUs before each part, so that they really meet. */
static volatile unsigned arrived;

static void meet(void)
{
    unsigned all = cpu_count();
    unsigned mine = __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    unsigned target = (mine + all - 1) / all * all;
    while ((int)(arrived - target) < 0)
        relax();
}

/* --- counters --- */

typedef void counter_step(void *at);

static void lock_inc(void *at)
{
    asm volatile("lock incl (%0)" : : "r"(at) : "memory", "cc");
}

static void lock_add64(void *at)
{
    asm volatile("lock addq $1, (%0)" : : "r"(at) : "memory", "cc");
}

static void lock_sub16(void *at)
{
    asm volatile("lock subw $-1, (%0)" : : "r"(at) : "memory", "cc");
}

static void lock_xadd(void *at)
{
    uint32_t one = 1;
    asm volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(at) : "memory", "cc");
}

static void compare_exchange(void *at)
{
    uint32_t old = *(volatile uint32_t *)at;
    asm volatile("1: lea 1(%0), %%edx; lock cmpxchgl %%edx, (%1); jnz 1b"
                 : "+a"(old)
                 : "r"(at)
                 : "edx", "memory", "cc");
}

static void compare_exchange_8b(void *at)
{
    asm volatile("mov (%0), %%eax; mov 4(%0), %%edx\n"
                 "1: mov %%eax, %%ebx; mov %%edx, %%ecx; add $1, %%ebx; adc $0, %%ecx\n"
                 "lock cmpxchg8b (%0); jnz 1b"
                 :
                 : "r"(at)
                 : "eax", "ebx", "ecx", "edx", "memory", "cc");
}

static void compare_exchange_16b(void *at)
{
    asm volatile("mov (%0), %%rax; mov 8(%0), %%rdx\n"
                 "1: mov %%rax, %%rbx; mov %%rdx, %%rcx; add $1, %%rbx; adc $0, %%rcx\n"
                 "lock cmpxchg16b (%0); jnz 1b"
                 :
                 : "r"(at)
                 : "rax", "rbx", "rcx", "rdx", "memory", "cc");
}

struct counter {
    const char *name;
    counter_step *step;
    unsigned offset; /* in the arena */
    unsigned size;
    uint64_t start; /* so that carries run over the borders of bytes */
};

static const struct counter counters[] = {
    {"lock inc, 32 bits", lock_inc, 0, 4, 0xfffffff0},
    {"lock add, 64 bits", lock_add64, 0, 8, 0xfffffff0},
    {"lock sub, 16 bits", lock_sub16, 2, 2, 0xfff0},
    {"lock xadd", lock_xadd, 4, 4, 0xfff0},
    {"lock cmpxchg", compare_exchange, 8, 4, 0xfff0},
    {"lock cmpxchg8b", compare_exchange_8b, 16, 8, 0xfffffff0},
    {"lock cmpxchg16b", compare_exchange_16b, 32, 8, 0xfffffff0},
    {"lock inc, not aligned", lock_inc, 1, 4, 0xfff0},
    {"lock add over a line", lock_add64, LINE - 3, 8, 0xfffffff0},
    {"lock xadd over a line", lock_xadd, LINE - 1, 4, 0xfff0},
    {"lock cmpxchg8b over a line", compare_exchange_8b, LINE - 4, 8, 0xfffffff0},
    {"lock add over a page", lock_add64, 4096 - 3, 8, 0xfffffff0},
    {"lock inc over a page", lock_inc, 4096 - 2, 4, 0xfff0},
    {"lock cmpxchg over a page", compare_exchange, 4096 - 1, 4, 0xfff0},
};

static void count(void *argument)
{
    const struct counter *counter = argument;

    meet();
    for (unsigned i = 0; i < ROUNDS; i++)
        counter->step(arena + counter->offset);
}

static void counting(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(counters); i++) {
        const struct counter *counter = &counters[i];
        uint64_t mask = counter->size == 8 ? ~0ull : (1ull << counter->size * 8) - 1;
        uint64_t value = 0;

        if (counter->step == compare_exchange_16b && !HAS_CMPXCHG16B) {
            skip(counter->name, "no CMPXCHG16B");
            continue;
        }
        __builtin_memset(arena, 0, sizeof(arena));
        __builtin_memcpy(arena + counter->offset, &counter->start, counter->size);
        cpus_run(count, (void *)counter);
        __builtin_memcpy(&value, arena + counter->offset, counter->size);
        check_equal(value, (counter->start + (uint64_t)ROUNDS * cpu_count()) & mask,
                    "%s: no step is lost", counter->name);
    }
}

/* --- locks made of them --- */

static volatile uint64_t guarded[2];
static volatile uint32_t lock_word;

static void lock_by_xchg(void)
{
    uint32_t taken = 1;
    for (;;) {
        asm volatile("xchg %0, %1" : "+r"(taken), "+m"(lock_word) : : "memory");
        if (!taken)
            return;
        relax();
    }
}

static void lock_by_bts(void)
{
    bool was_set;
    do {
        asm volatile("lock btsl $5, %1" : "=@ccc"(was_set), "+m"(lock_word) : : "memory");
    } while (was_set);
}

static void unlock(void)
{
    asm volatile("movl $0, %0" : "=m"(lock_word) : : "memory"); /* a plain store releases */
}

static volatile unsigned torn;

static void guard(void *lock)
{
    void (*take)(void) = lock;

    meet();
    for (unsigned i = 0; i < ROUNDS; i++) {
        take();
        if (guarded[0] != guarded[1])
            torn++;
        guarded[0]++;
        guarded[1]++;
        unlock();
    }
}

static void ticket_guard(void *unused)
{
    static volatile uint32_t next, serving;

    (void)unused;
    meet();
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        uint32_t mine = __atomic_fetch_add(&next, 1, __ATOMIC_SEQ_CST);
        while (serving != mine)
            relax();
        if (guarded[0] != guarded[1])
            torn++;
        guarded[0]++;
        guarded[1]++;
        serving = mine + 1;
    }
}

static void locks(void)
{
    torn = 0;
    guarded[0] = guarded[1] = 0;
    cpus_run(guard, lock_by_xchg);
    check(guarded[0] == (uint64_t)ROUNDS * cpu_count() && !torn, "a lock by xchg guards");
    guarded[0] = guarded[1] = 0;
    cpus_run(guard, lock_by_bts);
    check(guarded[0] == (uint64_t)ROUNDS * cpu_count() && !torn, "a lock by lock bts guards");
    guarded[0] = guarded[1] = 0;
    cpus_run(ticket_guard, NULL);
    check(guarded[0] == (uint64_t)(ROUNDS / 10) * cpu_count() && !torn,
          "a ticket lock by lock xadd guards");
}

/* --- plain accesses --- */

/* Each CPU counts in its own byte of one word: neighbours must not be written. */
static void own_byte(void *unused)
{
    volatile uint8_t *mine = arena + cpu_index();

    (void)unused;
    meet();
    for (unsigned i = 0; i < ROUNDS + 77; i++)
        (*mine)++;
}

static void own_bit(void *unused)
{
    uint32_t mask = 1u << cpu_index();

    (void)unused;
    meet();
    for (unsigned i = 0; i < ROUNDS; i++) {
        asm volatile("lock orl %1, %0" : "+m"(*(uint32_t *)(void *)(arena + 8)) : "r"(mask));
        asm volatile("lock andl %1, %0" : "+m"(*(uint32_t *)(void *)(arena + 8)) : "r"(~mask));
        asm volatile("lock xorl %1, %0" : "+m"(*(uint32_t *)(void *)(arena + 8)) : "r"(mask));
    }
}

static volatile unsigned mixed_values;

/* Aligned 8-byte accesses are single-copy atomic (SDM vol. 3A § 8.1.1). */
static void whole_words(void *unused)
{
    volatile uint64_t *word_at = (volatile uint64_t *)(void *)(arena + 128);
    uint64_t mine = 0x0101010101010101ull * (cpu_index() + 1);

    (void)unused;
    meet();
    for (unsigned i = 0; i < ROUNDS * 4; i++) {
        uint64_t value;
        *word_at = mine;
        value = *word_at;
        if (value != 0x0101010101010101ull * (value & 0xff))
            __atomic_fetch_add(&mixed_values, 1, __ATOMIC_SEQ_CST);
    }
}

static void plain(void)
{
    bool good = true;

    __builtin_memset(arena, 0, sizeof(arena));
    cpus_run(own_byte, NULL);
    for (unsigned i = 0; i < cpu_count(); i++)
        good = good && arena[i] == (uint8_t)(ROUNDS + 77);
    check(good, "bytes beside each other do not disturb each other");
    cpus_run(own_bit, NULL);
    check_equal(*(uint32_t *)(void *)(arena + 8), (1ull << cpu_count()) - 1,
                "lock or, and, xor of one bit leave the others");
    *(uint64_t *)(void *)(arena + 128) = 0x0101010101010101ull;
    cpus_run(whole_words, NULL);
    check_equal(mixed_values, 0, "an aligned 8-byte store is seen whole");
}

/* --- litmus tests of memory order --- */

struct shared { /* each on its own line */
    volatile uint32_t x;
    uint8_t fill0[60];
    volatile uint32_t y;
    uint8_t fill1[60];
    volatile uint32_t seen[2];
    uint8_t fill2[56];
};

/* Many cells a round: when both sides start together, they meet in one cell or another. */
enum { CELLS = 64 };
static struct shared cells[CELLS] __attribute__((aligned(64)));

enum litmus { STORE_BUFFER, STORE_BUFFER_FENCED, STORE_BUFFER_LOCKED, MESSAGE, LOAD_BUFFER };

static void side(enum litmus kind, struct shared *cell, unsigned me)
{
    volatile uint32_t *mine = me ? &cell->y : &cell->x;
    volatile uint32_t *other = me ? &cell->x : &cell->y;
    uint32_t seen = 0;
    uint32_t second = 0;
    uint32_t one = 1;

    switch (kind) {
    case STORE_BUFFER:
        asm volatile("movl $1, %1; movl %2, %0" : "=r"(seen), "=m"(*mine) : "m"(*other) : "memory");
        break;
    case STORE_BUFFER_FENCED:
        asm volatile("movl $1, %1; mfence; movl %2, %0"
                     : "=r"(seen), "=m"(*mine)
                     : "m"(*other)
                     : "memory");
        break;
    case STORE_BUFFER_LOCKED:
        asm volatile("xchgl %2, %1; movl %3, %0"
                     : "=&r"(seen), "=m"(*mine), "+r"(one)
                     : "m"(*other)
                     : "memory");
        break;
    case MESSAGE: /* CPU 0 writes x then y, CPU 1 reads y then x */
        if (me)
            asm volatile("movl %2, %0; movl %3, %1"
                         : "=&r"(seen), "=&r"(second)
                         : "m"(cell->y), "m"(cell->x)
                         : "memory");
        else
            asm volatile("movl $1, %0; movl $1, %1" : "=m"(cell->x), "=m"(cell->y) : : "memory");
        seen = seen && !second; /* 1: the flag without the message */
        break;
    case LOAD_BUFFER:
        asm volatile("movl %2, %0; movl $1, %1"
                     : "=&r"(seen), "=m"(*mine)
                     : "m"(*other)
                     : "memory");
        break;
    }
    cell->seen[me] = seen;
}

static volatile uint32_t go[2];
static volatile uint32_t litmus_kind;
static volatile bool litmus_over;
static volatile unsigned patience;           /* how long to spin for the other CPU before pausing */
static volatile uint64_t began[2], ended[2]; /* this round's cells, by the TSC */

/* Both sides start together; a delay that wanders lets them meet in all ways. */
static void start_line(unsigned me, uint32_t round)
{
    go[me] = round;
    for (unsigned spins = 0; go[!me] < round && !litmus_over; spins++) {
        if (spins > patience) /* the other CPU seems to have no host CPU now */
            relax();
    }
    for (volatile uint32_t i = 0; i < (round * (me ? 7 : 3)) % 13; i++)
        ;
}

/* From both ends, so that the two meet somewhere, whichever started later. */
static void all_cells(enum litmus kind, unsigned me)
{
    began[me] = read_tsc();
    for (unsigned i = 0; i < CELLS; i++)
        side(kind, &cells[me ? CELLS - 1 - i : i], me);
    ended[me] = read_tsc();
}

/* Whether the host ran both CPUs at once: neither was held up, and their times overlap. */
static bool met(void)
{
    uint64_t most = tsc_per_ms() / 20;

    return ended[0] - began[0] < most && ended[1] - began[1] < most && began[0] < ended[1] &&
           began[1] < ended[0];
}

static void second_side(void *unused)
{
    uint32_t round = 0;

    (void)unused;
    for (;;) {
        start_line(1, ++round);
        if (litmus_over)
            return;
        all_cells(litmus_kind, 1);
        start_line(1, ++round);
    }
}

static bool outcome_seen(enum litmus kind, const struct shared *cell)
{
    if (kind == MESSAGE)
        return cell->seen[1] == 1;
    if (kind == LOAD_BUFFER)
        return cell->seen[0] && cell->seen[1];
    return !cell->seen[0] && !cell->seen[1];
}

enum { ENOUGH_MEETINGS = 5000 }; /* a hundred have always been enough */
static unsigned meetings;        /* rounds of the last run in which the host ran both at once */

/* Returns how often the outcome was seen that the kind asks about; ends early once it was. */
static unsigned litmus_run(enum litmus kind, unsigned most, unsigned seconds)
{
    uint64_t end = read_tsc() + seconds * 1000 * tsc_per_ms();
    unsigned seen = 0;
    uint32_t round = 0;

    litmus_kind = kind;
    litmus_over = false;
    meetings = 0;
    go[0] = go[1] = 0;
    cpu_begin(1, second_side, NULL);
    for (unsigned i = 0; i < most && !seen && read_tsc() < end; i++) {
        __builtin_memset(cells, 0, sizeof(cells));
        asm volatile("mfence" : : : "memory");
        start_line(0, ++round);
        all_cells(kind, 0);
        start_line(0, ++round);
        meetings += met();
        for (unsigned cell = 0; cell < CELLS; cell++)
            seen += outcome_seen(kind, &cells[cell]);
    }
    note("%u rounds of %u, %u at once", round / 2, CELLS, meetings);
    litmus_over = true;
    cpu_wait(1);
    return seen;
}

static void memory_order(void)
{
    static const enum litmus never[] = {STORE_BUFFER_FENCED, STORE_BUFFER_LOCKED, MESSAGE,
                                        LOAD_BUFFER};
    static const char *const names[] = {"store buffering with mfence", "store buffering with xchg",
                                        "message passing out of order", "load buffering"};

    if (cpu_count() < 2) {
        skip("memory order", "one CPU");
        return;
    }
    patience = 5000;
    for (unsigned i = 0; i < ARRAY_LENGTH(never); i++)
        check_equal(litmus_run(never[i], 5000, 3), 0, "%s is never seen", names[i]);
    /* To be seen both must run at the same time: on a busy host they meet when the first stays on
     * its host CPU until the second has one. A host that keeps both on one CPU of its own shows
     * nothing, whatever the engine does. */
    patience = 1000000;
    bool seen = litmus_run(STORE_BUFFER, ~0u, 120) > 0;
    if (!seen && meetings < ENOUGH_MEETINGS)
        skip("store buffering is seen", "the host hardly ever ran both CPUs at once");
    else
        check(seen, "store buffering is seen");
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"counters", counting},
        {"locks", locks},
        {"plain", plain},
        {"order", memory_order},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
