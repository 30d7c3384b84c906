/*
 * The time stamp counter: it only grows, on all CPUs alike, and its MSRs do as they say.
 * Source: Intel SDM vol. 3B § 17.17, vol. 4.
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"
#include "trial.h"

SNIPPET(run_rdtsc, "", "rdtsc", "");
SNIPPET(run_rdtscp, "", "rdtscp", "mov %ecx, %eax");
SNIPPET(run_rdpid, "", "rdpid %rax", "");

static volatile unsigned backwards;

static void never_backwards(void *unused)
{
    uint64_t last = 0;

    (void)unused;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = read_tsc();
        if (now < last)
            __atomic_fetch_add(&backwards, 1, __ATOMIC_SEQ_CST);
        last = now;
    }
}

/* A token passes between CPUs with the time at which it was given. */
static volatile uint64_t token_time;
static volatile unsigned holder;
static volatile unsigned warps;

static void pass_token(void *unused)
{
    unsigned me = cpu_index();
    unsigned rounds = cpu_count() > 2 ? 200 : 5000; /* the host may have two CPUs only */

    (void)unused;
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t now;
        while (holder != me)
            relax();
        now = read_tsc();
        if (now < token_time)
            warps++;
        token_time = read_tsc();
        __atomic_store_n(&holder, (me + 1) % cpu_count(), __ATOMIC_SEQ_CST);
    }
}

static void monotonic(void)
{
    uint64_t rate;
    uint64_t start;

    cpus_run(never_backwards, NULL);
    check_equal(backwards, 0, "it never falls on a CPU, 100000 reads each");
    holder = 0;
    token_time = 0;
    cpus_run(pass_token, NULL);
    check_equal(warps, 0, "nor from CPU to CPU");
    rate = tsc_per_ms();
    check(rate > 1000, "it runs at more than a megahertz (%llu kHz)", (unsigned long long)rate);
    start = read_tsc();
    delay_us(40000);
    rate = (read_tsc() - start) / rate; /* ms by the counter for 40 ms by the 8254 */
    check(rate >= 30, "40 ms of the 8254 are at least 30 ms of the counter");
}

static void disabled(void)
{
    word cr4 = read_cr4();

    check_runs(USER, &run_rdtsc, 0);
    write_cr4(cr4 | CR4_TSD);
    check_fault(USER, &run_rdtsc, 0, GP, 0);
    check_runs(KERNEL, &run_rdtsc, 0);
    if (HAS_RDTSCP) {
        check_fault(USER, &run_rdtscp, 0, GP, 0);
        check_runs(KERNEL, &run_rdtscp, 0);
    } else {
        skip("rdtscp with CR4.TSD", "no RDTSCP");
    }
    write_cr4(cr4);
}

static volatile unsigned wrong_aux;

static void own_aux(void *unused)
{
    unsigned mine = 0x5000 + cpu_index();

    (void)unused;
    write_msr(MSR_TSC_AUX, mine);
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t aux;
        asm volatile("rdtscp" : "=c"(aux) : : "eax", "edx");
        if (aux != mine)
            __atomic_fetch_add(&wrong_aux, 1, __ATOMIC_SEQ_CST);
    }
}

static void auxiliary(void)
{
    if (!HAS_RDTSCP) {
        skip("TSC_AUX", "no RDTSCP");
        return;
    }
    cpus_run(own_aux, NULL);
    check_equal(wrong_aux, 0, "rdtscp shows each CPU its own TSC_AUX");
    write_msr(MSR_TSC_AUX, 0x89abcdef);
    check_equal(trial_in(USER, &run_rdtscp, 0)->value, 0x89abcdef, "in ring 3 too");
    if (HAS_RDPID)
        check_equal(trial_in(USER, &run_rdpid, 0)->value, 0x89abcdef, "rdpid shows TSC_AUX");
    else
        skip("rdpid", "no RDPID");
}

static void adjusted(void)
{
    uint64_t before;

    write_msr(MSR_TSC, 1000);
    before = read_tsc();
    check(before >= 1000 && before < 1000 + tsc_per_ms() * 1000, "a write of the TSC sets it");
    if (!HAS_TSC_ADJUST) {
        skip("TSC_ADJUST", "no TSC_ADJUST");
        return;
    }
    write_msr(MSR_TSC_ADJUST, 0);
    before = read_tsc();
    write_msr(MSR_TSC_ADJUST, 1ull << 50);
    check(read_tsc() - before >= 1ull << 50, "TSC_ADJUST moves the TSC by as much");
    check_equal(read_msr(MSR_TSC_ADJUST), 1ull << 50, "and reads back");
    write_msr(MSR_TSC_ADJUST, 0);
    check(read_tsc() < 1ull << 50, "and moves it back");
    before = read_msr(MSR_TSC_ADJUST);
    write_msr(MSR_TSC, read_tsc() + (1ull << 45));
    check(read_msr(MSR_TSC_ADJUST) - before > 1ull << 44,
          "a write of the TSC counts in TSC_ADJUST");
    write_msr(MSR_TSC_ADJUST, 0);
}

enum { TICK = 0x60 };
static volatile unsigned fired;
static volatile uint64_t fired_at;

static void note_time(struct frame *frame)
{
    (void)frame;
    fired_at = read_tsc();
    fired++;
    apic_eoi();
}

/* The deadline follows the counter when that is moved (SDM vol. 3A § 10.5.4.1). */
static void deadline(void)
{
    unsigned early = 0;

    if (!HAS_TSC_DEADLINE) {
        skip("TSC deadline", "no TSC deadline timer");
        return;
    }
    trap_handlers[TICK] = note_time;
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | TICK);
    asm volatile("mfence" : : : "memory");
    for (unsigned i = 1; i <= 200; i++) {
        uint64_t when = read_tsc() + tsc_per_ms() * (i % 8) / 4;
        fired = 0;
        write_msr(MSR_TSC_DEADLINE, when);
        while (!fired)
            wait_for_interrupt();
        early += fired_at < when;
    }
    check_equal(early, 0, "of 200 deadlines waited for in hlt none is early");
    fired = 0;
    write_msr(MSR_TSC_DEADLINE, read_tsc() + (1ull << 50));
    write_msr(MSR_TSC, 1ull << 52);
    interrupts_on();
    check(wait_for_count(&fired, 1, 2000), "a counter moved past the deadline fires it");
    interrupts_off();
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"monotonic", monotonic}, {"disabled", disabled}, {"auxiliary", auxiliary},
        {"deadline", deadline},   {"adjusted", adjusted},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
