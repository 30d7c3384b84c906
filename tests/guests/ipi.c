/*
 * Interrupts between CPUs: every kind of destination in both APIC modes, none lost, and the
 * start of CPUs. Source: Intel SDM vol. 3A § 8.4 (start), § 10.6 (IPIs), § 10.12 (x2APIC).
 */
#include "apic.h"
#include "area.h"
#include "cpu.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"

enum { LOW = 0x40, MIDDLE = 0x61, HIGH = 0x82 };

static volatile unsigned arrivals[CPUS_MAX];

static void count_arrival(struct frame *frame)
{
    (void)frame;
    arrivals[cpu_index()]++;
    apic_eoi();
}

/* One IPI; which CPUs it reached, as bits. */
static unsigned reached(uint32_t destination, uint32_t low)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < cpu_count(); i++)
        arrivals[i] = 0;
    apic_send(destination, low | ICR_ASSERT | LOW);
    interrupts_on();
    delay_us(20000);
    interrupts_off();
    for (unsigned i = 0; i < cpu_count(); i++)
        mask |= (arrivals[i] == 1 ? 1u : arrivals[i] ? 0x100u : 0) << i;
    return mask;
}

static void set_logical(void *mode)
{
    bool cluster = mode != NULL;
    unsigned index = cpu_index();

    apic_write(APIC_DFR, cluster ? 0x0fffffff : 0xffffffff);
    apic_write(APIC_LDR, cluster ? (index / 2) << 28 | 1u << (24 + index % 2) : 1u << (24 + index));
}

static void many_destinations(void)
{
    unsigned all = (1u << cpu_count()) - 1;
    static int cluster;

    trap_handlers[LOW] = count_arrival;
    for (unsigned i = 0; i < cpu_count(); i++)
        check_equal(reached(i, 0), 1u << i, "physical destination %u", i);
    check_equal(reached(0xff, 0), all, "physical broadcast");
    check_equal(reached(0, ICR_ALL), all, "all including self");
    check_equal(reached(0, ICR_OTHERS), all & ~1u, "all but self");
    check_equal(reached(0, ICR_SELF), 1, "self");
    cpus_run(set_logical, NULL);
    check_equal(reached(2, ICR_LOGICAL), 2, "flat logical: one");
    check_equal(reached(3, ICR_LOGICAL), 3, "flat logical: two");
    check_equal(reached(0xff, ICR_LOGICAL), all, "flat logical: all");
    cpus_run(set_logical, &cluster);
    check_equal(reached(0x03, ICR_LOGICAL), 3, "cluster logical: both of cluster 0");
    check_equal(reached(0x02, ICR_LOGICAL), 2, "cluster logical: one of cluster 0");
    check_equal(reached(0x11, ICR_LOGICAL), all & 4, "cluster logical: cluster 1");
    cpus_run(set_logical, NULL);
}

static volatile unsigned served; /* how often each side was woken */
enum { PING_PONGS = 5000 };

static void ping_pong_handler(struct frame *frame)
{
    unsigned other = cpu_index() == 0 ? 1 : 0;

    (void)frame;
    served++;
    apic_eoi();
    if (served < PING_PONGS)
        apic_send(other, ICR_ASSERT | MIDDLE);
}

static void stay_open(void *unused)
{
    (void)unused;
    while (served < PING_PONGS)
        wait_for_interrupt();
}

static void ping_pong(void)
{
    uint64_t end = read_tsc() + 60000 * tsc_per_ms();

    trap_handlers[MIDDLE] = ping_pong_handler;
    served = 0;
    cpu_begin(1, stay_open, NULL);
    apic_send(1, ICR_ASSERT | MIDDLE);
    interrupts_on();
    while (served < PING_PONGS && read_tsc() < end)
        relax();
    interrupts_off();
    check_equal(served, PING_PONGS, "%u IPIs to and fro, none lost", PING_PONGS);
    apic_send(1, ICR_ASSERT | WAKE_VECTOR);
    cpu_wait(1);
}

static volatile unsigned storms[CPUS_MAX];

static void count_storm(struct frame *frame)
{
    (void)frame;
    __atomic_fetch_add(&storms[cpu_index()], 1, __ATOMIC_SEQ_CST);
    apic_eoi();
}

/* All send to all others, waiting each time until the last one has been taken. */
static void storm(void *unused)
{
    (void)unused;
    interrupts_on();
    for (unsigned i = 0; i < 500; i++) {
        unsigned other = (cpu_index() + 1) % cpu_count();
        unsigned before = storms[other];
        apic_send(other, ICR_ASSERT | HIGH);
        while (storms[other] == before)
            relax();
    }
    while (storms[cpu_index()] < 500) /* others still wait for this CPU */
        relax();
    interrupts_off();
}

static void storms_of_all(void)
{
    bool good = true;

    trap_handlers[HIGH] = count_storm;
    cpus_run(storm, NULL);
    for (unsigned i = 0; i < cpu_count(); i++)
        good = good && storms[i] == 500;
    check(good, "each CPU got 500 IPIs while it sent 500");
}

static uint32_t ids[CPUS_MAX][3];

static void note_ids(void *unused)
{
    unsigned index = cpu_index();
    (void)unused;
    ids[index][0] = apic_id();
    ids[index][1] = cpuid(1, 0).b >> 24;
    ids[index][2] = has_leaf(0xb) ? cpuid(0xb, 0).d : index;
}

static volatile unsigned other_nmis;

static void count_other_nmi(struct frame *frame)
{
    (void)frame;
    other_nmis++;
}

static void start_up(void)
{
    cpus_run(note_ids, NULL);
    for (unsigned i = 0; i < cpu_count(); i++)
        check(ids[i][0] == i && ids[i][1] == i && ids[i][2] == i, "CPU %u: all ids are its index",
              i);
    trap_handlers[NMI] = count_other_nmi;
    apic_send(1, ICR_NMI | ICR_ASSERT);
    check(wait_for_count(&other_nmis, 1, 2000), "an NMI reaches another CPU in hlt");
    trap_handlers[NMI] = NULL;
    for (unsigned i = 2; i <= 6; i++) {
        cpu_restart(1);
        if (!wait_for_count(&area_of(1)->online, i, 2000))
            break;
    }
    check_equal(area_of(1)->online, 6, "INIT and STARTUP restart a CPU five times");
    apic_send(1, ICR_STARTUP | ICR_ASSERT | TRAMPOLINE >> 12);
    delay_us(20000);
    check_equal(area_of(1)->online, 6, "STARTUP without INIT is ignored");
}

static void all_x2(void *unused)
{
    (void)unused;
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2);
    apic_start();
}

static void many_x2(void)
{
    unsigned all = (1u << cpu_count()) - 1;

    if (!HAS_X2APIC) {
        skip("x2APIC on all CPUs", "no x2APIC");
        return;
    }
    trap_handlers[LOW] = count_arrival;
    /* IPIs pass between a CPU in xAPIC mode and one in x2APIC mode for a moment */
    cpus_run(all_x2, NULL);
    cpus_run(note_ids, NULL);
    for (unsigned i = 0; i < cpu_count(); i++) {
        check_equal(ids[i][0], i, "x2APIC id of CPU %u", i);
        check_equal(reached(i, 0), 1u << i, "x2APIC physical destination %u", i);
    }
    check_equal(reached(0xffffffff, 0), all, "x2APIC broadcast");
    check_equal(reached(0x3, ICR_LOGICAL), 3, "x2APIC logical destination: two CPUs");
    check_equal(reached(0, ICR_OTHERS), all & ~1u, "x2APIC all but self");
    ping_pong();
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"start-up", start_up},   {"destinations", many_destinations},
        {"ping-pong", ping_pong}, {"storms", storms_of_all},
        {"x2apic", many_x2},
    };
    smp_start();
    if (cpu_count() < 2)
        skip("IPIs between CPUs", "one CPU");
    else
        run_groups(groups, ARRAY_LENGTH(groups));
}
