/*
 * The local APIC in both modes, its timer, IPIs, NMI and interrupt shadows, and the I/O APIC.
 * Source: Intel SDM vol. 3A chapter 10, § 6.7 (NMI), § 6.8 (masking).
 */
#include "apic.h"

#include "area.h"
#include "cpu.h"
#include "smp.h"
#include "tap.h"
#include "timing.h"
#include "trial.h"

enum { LOW = 0x40, MIDDLE = 0x61, HIGH = 0x82, TIMER = 0x93, ERROR = 0xa4, DEVICE = 0xb5 };

/* --- what the handlers saw --- */

static unsigned order[16];
static volatile unsigned taken;
static volatile unsigned counts[256];

static void count_interrupt(struct frame *frame)
{
    if (cpu_index() != 0) {
        apic_eoi();
        return;
    }
    if (taken < ARRAY_LENGTH(order))
        order[taken] = (unsigned)frame->vector;
    taken++;
    counts[frame->vector]++;
    apic_eoi();
}

static void start_counting(void)
{
    static const unsigned vectors[] = {LOW, LOW + 1, MIDDLE, HIGH, HIGH + 1, TIMER, ERROR, DEVICE};
    for (unsigned i = 0; i < ARRAY_LENGTH(vectors); i++) {
        trap_handlers[vectors[i]] = count_interrupt;
        counts[vectors[i]] = 0;
    }
    taken = 0;
}

static void self_ipi(unsigned vector)
{
    apic_send(0, ICR_SELF | ICR_ASSERT | vector);
}

/* Lets pending interrupts in. */
static void open_window(void)
{
    asm volatile("sti; nop; nop; cli" : : : "memory");
}

/* --- registers --- */

static void identity(void)
{
    uint32_t version = apic_read(APIC_VERSION);
    uint64_t base = read_msr(MSR_APIC_BASE);

    check_equal(base & 0xfffff000, APIC_MMIO, "the APIC is at 0xfee00000");
    check((base & APIC_BASE_ENABLE) && (base & APIC_BASE_BSP), "enabled, and the boot CPU's");
    check_equal(apic_id(), 0, "the boot CPU has id 0");
    check_equal(cpuid(1, 0).b >> 24, 0, "CPUID says so too");
    check((version & 0xff) >= 0x10 && (version & 0xff) <= 0x1f, "an integrated APIC");
    check((version >> 16 & 0xff) >= 3, "with at least 4 LVT entries");
}

static void software_disable(void)
{
    apic_write(APIC_LVT_TIMER, TIMER);
    check_equal(apic_read(APIC_LVT_TIMER) & LVT_MASKED, 0, "an LVT entry is unmasked");
    apic_write(APIC_SVR, SPURIOUS);
    check_equal(apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED,
                "software disable masks the LVT");
    apic_write(APIC_LVT_TIMER, TIMER);
    check_equal(apic_read(APIC_LVT_TIMER) & LVT_MASKED, LVT_MASKED, "and keeps it masked");
    apic_write(APIC_SVR, SVR_ENABLE | SPURIOUS);
    apic_write(APIC_LVT_TIMER, LVT_MASKED | TIMER);
    check_equal(apic_read(APIC_SVR) & 0x1ff, SVR_ENABLE | SPURIOUS, "SVR reads back");
}

static void priorities(void)
{
    apic_write(APIC_TPR, 0x5f);
    check_equal(read_cr8(), 5, "CR8 is the class of TPR");
    check_equal(apic_read(APIC_PPR), 0x5f, "PPR is TPR when nothing is in service");
    write_cr8(9);
    check_equal(apic_read(APIC_TPR), 0x90, "a write of CR8 sets TPR");
    check_equal(apic_read(APIC_PPR), 0x90, "and PPR");
    write_cr8(0);
    check_equal(apic_read(APIC_TPR), 0, "CR8 of 0 opens all");
}

/* --- delivery on one CPU --- */

static void pending(void)
{
    start_counting();
    self_ipi(LOW);
    self_ipi(HIGH);
    self_ipi(MIDDLE);
    self_ipi(LOW);
    check_equal(taken, 0, "no interrupt with IF clear");
    check(apic_bit(APIC_IRR, LOW) && apic_bit(APIC_IRR, MIDDLE) && apic_bit(APIC_IRR, HIGH),
          "all wait in IRR");
    check(!apic_bit(APIC_ISR, LOW), "none is in service");
    open_window();
    check_equal(taken, 3, "each is taken, the doubled one once");
    check(order[0] == HIGH && order[1] == MIDDLE && order[2] == LOW, "highest first");
    check(!apic_bit(APIC_IRR, LOW) && !apic_bit(APIC_ISR, LOW), "nothing is left");
}

static void task_priority(void)
{
    start_counting();
    apic_write(APIC_TPR, 0x80);
    self_ipi(HIGH);
    self_ipi(LOW);
    self_ipi(TIMER);
    open_window();
    check(taken == 1 && order[0] == TIMER, "TPR 0x80 lets only class 9 through");
    interrupts_on();
    write_cr8(4);
    asm volatile("nop");
    check(taken == 2 && order[1] == HIGH, "CR8 of 4 lets class 8 through at once");
    apic_write(APIC_TPR, 0x3f);
    asm volatile("nop");
    interrupts_off();
    check(taken == 3 && order[2] == LOW, "TPR 0x3f lets class 4 through at once");
    apic_write(APIC_TPR, 0);
}

static unsigned nested_taken, nested_ppr, nested_isr, nested_before_eoi;

static void nest_interrupts(struct frame *frame)
{
    (void)frame;
    taken = 0;
    nested_ppr = apic_read(APIC_PPR);
    nested_isr = apic_bit(APIC_ISR, MIDDLE);
    self_ipi(LOW);
    self_ipi(HIGH);
    open_window();
    nested_taken = taken;
    nested_before_eoi = counts[LOW];
    apic_eoi();
    open_window();
}

static void nesting(void)
{
    start_counting();
    trap_handlers[MIDDLE] = nest_interrupts;
    self_ipi(MIDDLE);
    open_window();
    check_equal(nested_isr, 1, "the vector is in service in its handler");
    check_equal(nested_ppr, MIDDLE & 0xf0, "PPR is its class");
    check_equal(nested_taken, 1, "only the higher one comes inside");
    check_equal(nested_before_eoi, 0, "the lower one waits for EOI");
    check_equal(counts[LOW], 1, "and comes then");
    check(!apic_bit(APIC_ISR, MIDDLE), "EOI ends the service");
}

static void send_and_count(uint32_t destination, uint32_t low, unsigned should, const char *how)
{
    start_counting();
    apic_send(destination, low | ICR_ASSERT | LOW);
    open_window();
    check_equal(counts[LOW], should, "%s", how);
}

static void destinations(void)
{
    send_and_count(0, 0, 1, "physical destination: own id");
    send_and_count(0xff, 0, 1, "physical broadcast reaches the sender");
    send_and_count(0, ICR_ALL, 1, "all including self");
    send_and_count(0, ICR_OTHERS, 0, "all but self");
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 0x04000000);
    send_and_count(4, ICR_LOGICAL, 1, "flat logical destination: own bit");
    send_and_count(0x44, ICR_LOGICAL, 1, "flat: own bit and another");
    send_and_count(2, ICR_LOGICAL, 0, "flat: another bit");
    apic_write(APIC_DFR, 0x0fffffff);
    apic_write(APIC_LDR, 0x24000000);
    send_and_count(0x24, ICR_LOGICAL, 1, "cluster destination: own cluster and bit");
    send_and_count(0x14, ICR_LOGICAL, 0, "cluster: another cluster");
    send_and_count(0x22, ICR_LOGICAL, 0, "cluster: another bit");
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 0);
}

static void errors(void)
{
    start_counting();
    apic_write(APIC_LVT_ERROR, ERROR);
    apic_write(APIC_ESR, 0);
    self_ipi(5);
    apic_write(APIC_ESR, 0);
    check(apic_read(APIC_ESR) & 0x60, "an illegal vector sets the error status");
    open_window();
    check_equal(counts[ERROR], 1, "and raises the error interrupt");
    check(!apic_bit(APIC_IRR, 5), "the vector itself does not arrive");
    apic_write(APIC_ESR, 0);
    check_equal(apic_read(APIC_ESR), 0, "two writes clear the status");
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
}

/* --- interrupt shadows --- */

SNIPPET(sti_shadow, "", "sti", "nop\nsti_shadow_over: nop; nop; cli");
SNIPPET(sti_cli, "", "sti", "cli; nop");
SNIPPET(popf_open, "push $0x202; popf", "nop", "nop; cli");
SNIPPET(mov_ss_shadow, "mov %ss, %eax; sti; nop; cli", "mov %eax, %ss", "nop");
extern const char sti_shadow_over[];

static word interrupted_at;

static void note_place(struct frame *frame)
{
    interrupted_at = frame->ip;
    apic_eoi();
}

static void shadows(void)
{
    trap_handlers[LOW] = note_place;
    interrupted_at = 0;
    self_ipi(LOW);
    trial_in(KERNEL, &sti_shadow, 0);
    check_equal(interrupted_at, (word)sti_shadow_over, "sti opens after the next instruction");
    interrupted_at = 0;
    self_ipi(LOW);
    trial_in(KERNEL, &sti_cli, 0);
    check_equal(interrupted_at, 0, "sti; cli lets nothing in");
    trial_in(KERNEL, &popf_open, 0);
    check_equal(interrupted_at, (word)popf_open.at, "popf opens at once");
    trial_in(KERNEL, &mov_ss_shadow, 0);
}

static void halting(void)
{
    start_counting();
    self_ipi(LOW);
    wait_for_interrupt();
    check_equal(counts[LOW], 1, "sti; hlt with a pending interrupt does not sleep");
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TIMER);
    apic_write(APIC_TIMER_INITIAL, 1000000);
    wait_for_interrupt();
    check_equal(counts[TIMER], 1, "the timer wakes from hlt");
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

/* --- NMI --- */

static volatile unsigned nmis, nmis_inside, nmis_after_iret;

static void send_nmi(void)
{
    apic_send(apic_id(), ICR_NMI | ICR_ASSERT);
}

static void count_nmi(struct frame *frame)
{
    (void)frame;
    nmis++;
}

static void nmi_within_nmi(struct frame *frame)
{
    (void)frame;
    nmis++;
    if (nmis > 1)
        return;
    send_nmi();
    delay_us(100);
    nmis_inside = nmis;
}

/* IRET out of an exception inside the NMI handler opens NMIs (SDM vol. 3A § 6.7.1). The second
 * NMI then arrives on the same interrupt stack, so the handler is told to leave no frame there. */
static void nmi_with_iret(struct frame *frame)
{
    (void)frame;
    nmis++;
    if (nmis > 1)
        return;
    send_nmi();
    delay_us(100);
    idt[NMI].ist = 3;
    asm volatile("int3");
    nmis_after_iret = nmis;
}

static void ignore(struct frame *frame)
{
    (void)frame;
}

static void non_maskable(void)
{
    nmis = 0;
    trap_handlers[NMI] = count_nmi;
    send_nmi();
    check(wait_for_count(&nmis, 1, 1000) && nmis == 1, "an NMI comes with IF clear");
    nmis = 0;
    trap_handlers[NMI] = nmi_within_nmi;
    send_nmi();
    check(wait_for_count(&nmis, 2, 1000) && nmis == 2,
          "an NMI sent inside the handler comes later");
    check_equal(nmis_inside, 1, "but not inside");
    nmis = 0;
    trap_handlers[NMI] = nmi_with_iret;
    trap_handlers[BP] = ignore;
    send_nmi();
    wait_for_count(&nmis, 2, 1000);
    check_equal(nmis_after_iret, 2, "iret of an exception inside the handler opens NMIs");
    traps_reset(NMI);
    trap_handlers[BP] = NULL;
    trap_handlers[NMI] = NULL;
}

/* --- timer --- */

static void timer_start(uint32_t lvt, uint32_t divide, uint32_t initial)
{
    apic_write(APIC_TIMER_DIVIDE, divide);
    apic_write(APIC_LVT_TIMER, lvt);
    apic_write(APIC_TIMER_INITIAL, initial);
}

static void one_shot(void)
{
    uint32_t first;

    start_counting();
    timer_start(LVT_MASKED | TIMER, 0xb, 0xffffffff);
    first = apic_read(APIC_TIMER_CURRENT);
    delay_us(1000);
    check(apic_read(APIC_TIMER_CURRENT) < first, "the current count falls");
    if (!apic_is_x2()) /* there it is #GP */
        apic_write(APIC_TIMER_CURRENT, 5);
    check(apic_read(APIC_TIMER_CURRENT) > 5, "it cannot be written");
    apic_write(APIC_TIMER_INITIAL, 0);
    check_equal(apic_read(APIC_TIMER_CURRENT), 0, "an initial count of 0 stops it");
    timer_start(LVT_MASKED | TIMER, 0xb, 1000);
    delay_us(2000);
    open_window();
    check_equal(counts[TIMER], 0, "a masked timer raises nothing");
    check_equal(apic_read(APIC_TIMER_CURRENT), 0, "but counts to 0");
    timer_start(TIMER, 0xb, 1000);
    interrupts_on();
    check(wait_for_count(&counts[TIMER], 1, 1000), "one shot raises an interrupt");
    delay_us(2000);
    interrupts_off();
    check_equal(counts[TIMER], 1, "and no second one");
}

static uint32_t ticks_in_10_ms(uint32_t divide)
{
    timer_start(LVT_MASKED | TIMER, divide, 0xffffffff);
    delay_us(10000);
    return 0xffffffffu - apic_read(APIC_TIMER_CURRENT);
}

/* The machine is shared, so a measure may be off: some try must be nearer to the divider than to
 * its neighbours. */
static bool divides_by(uint32_t code, unsigned shift)
{
    for (unsigned attempt = 0; attempt < 10; attempt++) {
        uint64_t whole = ticks_in_10_ms(0xb);
        uint64_t ticks = (uint64_t)ticks_in_10_ms(code) << shift;
        if (ticks * 10 > whole * 7 && ticks * 10 < whole * 14)
            return true;
    }
    return false;
}

static void dividers(void)
{
    static const uint32_t codes[] = {0xb, 0, 1, 2, 3, 8, 9, 0xa}; /* divide by 1, 2, 4 ... 128 */

    for (unsigned i = 1; i < ARRAY_LENGTH(codes); i++) {
        check(divides_by(codes[i], i), "divide by %u", 1u << i);
        check_equal(apic_read(APIC_TIMER_DIVIDE), codes[i], "its code reads back");
    }
    apic_write(APIC_TIMER_INITIAL, 0);
}

static void periodic(void)
{
    uint32_t per_ms = ticks_in_10_ms(0xb) / 10;
    uint64_t start = read_tsc();
    uint64_t passed;

    start_counting();
    timer_start(LVT_PERIODIC | TIMER, 0xb, per_ms * 2);
    interrupts_on();
    check(wait_for_count(&counts[TIMER], 10, 5000), "periodic: ten interrupts come");
    passed = (read_tsc() - start) / tsc_per_ms();
    check(passed >= 17, "and not early");
    check(apic_read(APIC_TIMER_CURRENT) <= per_ms * 2, "the count starts over");
    apic_write(APIC_TIMER_INITIAL, 0);
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    interrupts_off();
    open_window();
    start_counting();
    delay_us(5000);
    open_window();
    check_equal(counts[TIMER], 0, "stopped, it is silent");
}

static uint64_t fired_at;

static void note_time(struct frame *frame)
{
    (void)frame;
    fired_at = read_tsc();
    counts[TIMER]++;
    apic_eoi();
}

static void deadline(void)
{
    unsigned early = 0;

    if (!HAS_TSC_DEADLINE) {
        skip("TSC deadline", "no TSC deadline timer");
        return;
    }
    start_counting();
    trap_handlers[TIMER] = note_time;
    write_msr(MSR_TSC_DEADLINE, read_tsc() + 1000);
    check_equal(read_msr(MSR_TSC_DEADLINE), 0, "the deadline is ignored in another mode");
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | TIMER);
    asm volatile("mfence");
    apic_write(APIC_TIMER_INITIAL, 1000);
    check_equal(apic_read(APIC_TIMER_CURRENT), 0, "the counter does not run in deadline mode");
    write_msr(MSR_TSC_DEADLINE, read_tsc() + 1000000000000ull);
    check(read_msr(MSR_TSC_DEADLINE) != 0, "an armed deadline reads back");
    write_msr(MSR_TSC_DEADLINE, 0);
    check_equal(read_msr(MSR_TSC_DEADLINE), 0, "0 disarms");
    interrupts_on();
    for (unsigned i = 0; i < 100; i++) {
        uint64_t when = read_tsc() + tsc_per_ms() / 8;
        counts[TIMER] = 0;
        write_msr(MSR_TSC_DEADLINE, when);
        if (!wait_for_count(&counts[TIMER], 1, 1000))
            break;
        early += fired_at < when;
    }
    check_equal(counts[TIMER], 1, "each of 100 deadlines fires");
    check_equal(early, 0, "none is early");
    check_equal(read_msr(MSR_TSC_DEADLINE), 0, "the deadline is 0 after it fired");
    counts[TIMER] = 0;
    write_msr(MSR_TSC_DEADLINE, 1);
    check(wait_for_count(&counts[TIMER], 1, 1000), "a deadline in the past fires at once");
    interrupts_off();
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

/* --- x2APIC mode --- */

SNIPPET(read_msr_di, "mov %edi, %ecx", "rdmsr", "");
SNIPPET(write_msr_zero, "mov %edi, %ecx; xor %eax, %eax; xor %edx, %edx", "wrmsr", "");
SNIPPET(write_msr_one, "mov %edi, %ecx; mov $1, %eax; xor %edx, %edx", "wrmsr", "");
SNIPPET(write_msr_high, "mov %edi, %ecx; xor %eax, %eax; mov $1, %edx", "wrmsr", "");
SNIPPET(write_base, "mov $0x1b, %ecx; mov %edi, %eax; xor %edx, %edx", "wrmsr", "");
SNIPPET(write_tpr_100, "mov $0x808, %ecx; mov $0x100, %eax; xor %edx, %edx", "wrmsr", "");

static word x2_msr(enum apic_register reg)
{
    return (word)MSR_X2APIC + reg / 16;
}

static void x2_refusals(void)
{
    static const struct {
        const struct snippet *code;
        enum apic_register reg;
    } rows[] = {
        {&write_msr_zero, APIC_ID},
        {&write_msr_zero, APIC_VERSION},
        {&write_msr_zero, APIC_PPR},
        {&write_msr_zero, APIC_LDR},
        {&read_msr_di, APIC_DFR},
        {&write_msr_zero, APIC_DFR},
        {&write_msr_zero, APIC_ISR},
        {&write_msr_zero, APIC_IRR},
        {&read_msr_di, APIC_EOI},
        {&write_msr_one, APIC_EOI},
        {&write_msr_one, APIC_ESR},
        {&read_msr_di, APIC_ICR_HIGH},
        {&write_msr_zero, APIC_TIMER_CURRENT},
        {&read_msr_di, APIC_SELF_IPI},
        {&write_msr_high, APIC_SVR},
        {&write_msr_high, APIC_LVT_TIMER},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++)
        check_fault(KERNEL, rows[i].code, x2_msr(rows[i].reg), GP, 0);
    check_fault(KERNEL, &write_tpr_100, 0, GP, 0);
    check_fault(KERNEL, &read_msr_di, 0x8ff, GP, 0);
}

static void x2_work(void)
{
    uint64_t base = read_msr(MSR_APIC_BASE);

    check_fault(KERNEL, &read_msr_di, x2_msr(APIC_ID), GP, 0);
    write_msr(MSR_APIC_BASE, base | APIC_BASE_X2);
    apic_start();
    check_equal(apic_id(), 0, "x2APIC: id 0");
    check_equal(apic_read(APIC_LDR), 1, "the logical id is cluster 0, bit 0");
    check_fault(KERNEL, &write_base, base, GP, 0);
    x2_refusals();
    start_counting();
    apic_write(APIC_SELF_IPI, LOW);
    apic_send(0, ICR_ASSERT | MIDDLE);
    apic_send(0, ICR_SELF | ICR_ASSERT | HIGH);
    check(apic_bit(APIC_IRR, LOW) && apic_bit(APIC_IRR, MIDDLE), "IPIs wait in IRR");
    open_window();
    check(taken == 3 && order[0] == HIGH && order[1] == MIDDLE && order[2] == LOW,
          "self-IPI register, own id and shorthand arrive, highest first");
    send_and_count(1, ICR_LOGICAL, 1, "logical destination: own bit");
    send_and_count(0x10001, ICR_LOGICAL, 0, "another cluster");
    send_and_count(0xffffffff, 0, 1, "broadcast");
    check_equal(read_msr(MSR_X2APIC + APIC_ICR / 16), 0xffffffff00000000ull | ICR_ASSERT | LOW,
                "the ICR reads back as 64 bits");
    one_shot();
}

/* Out of x2APIC mode leads only the way through the disabled state (SDM vol. 3A § 10.12.5). */
static void x2_leave(void)
{
    uint64_t base = read_msr(MSR_APIC_BASE) & ~(uint64_t)(APIC_BASE_X2 | APIC_BASE_ENABLE);

    write_msr(MSR_APIC_BASE, base);
    check_equal(has_1d(9), 0, "CPUID hides a disabled APIC");
    check_fault(KERNEL, &write_base, base | APIC_BASE_X2, GP, 0);
    check_fault(KERNEL, &write_base, base | APIC_BASE_X2 | APIC_BASE_ENABLE, GP, 0);
    write_msr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    check_equal(has_1d(9), 1, "CPUID shows an enabled APIC");
    check_equal(apic_read(APIC_SVR) & SVR_ENABLE, 0, "which is as after reset");
    apic_start();
    send_and_count(0, 0, 1, "an IPI works again");
}

static void x2apic(void)
{
    if (!HAS_X2APIC) {
        skip("x2APIC", "no x2APIC");
        return;
    }
    x2_work();
    x2_leave();
}

/* --- I/O APIC --- */

enum { ENTRY_LEVEL = 1 << 15, ENTRY_REMOTE_IRR = 1 << 14, LINE_PORTS = 0x2000, ECHO_PORT = 0xe0 };

static bool has_test_devices(void)
{
    uint32_t echo;
    asm volatile("outl %1, %w2; inl %w2, %0"
                 : "=a"(echo)
                 : "a"(0x12345678), "Nd"((uint16_t)ECHO_PORT));
    return echo == 0x12345678;
}

static void ioapic_registers(void)
{
    unsigned pins = (ioapic_read(1) >> 16 & 0xff) + 1;

    check_equal(pins, 24, "the I/O APIC has 24 pins");
    for (unsigned pin = 0; pin < pins && pin < 24; pin++)
        ioapic_entry_set(pin, LVT_MASKED);
    ioapic_entry_set(9, 0x0500000000018a31ull);
    check_equal(ioapic_entry(9) & 0xff0000000001afffull,
                0x0500000000018a31ull & 0xff0000000001afffull, "a redirection entry reads back");
    ioapic_entry_set(9, LVT_MASKED);
}

static void set_line(unsigned line, unsigned level)
{
    out8((uint16_t)(LINE_PORTS + line), (uint8_t)level);
}

static void edge_lines(unsigned line)
{
    start_counting();
    ioapic_entry_set(line, DEVICE);
    set_line(line, 1);
    open_window();
    check_equal(counts[DEVICE], 1, "edge: a rise interrupts");
    set_line(line, 1);
    open_window();
    check_equal(counts[DEVICE], 1, "edge: staying high does not");
    set_line(line, 0);
    open_window();
    check_equal(counts[DEVICE], 1, "edge: a fall does not");
    set_line(line, 1);
    set_line(line, 0);
    open_window();
    check_equal(counts[DEVICE], 2, "edge: a short rise is kept");
    ioapic_entry_set(line, LVT_MASKED | DEVICE);
}

static void drop_line(struct frame *frame)
{
    (void)frame;
    counts[DEVICE]++;
    if (counts[DEVICE] == 3)
        set_line(20, 0);
    apic_eoi();
}

static void level_lines(unsigned line)
{
    start_counting();
    trap_handlers[DEVICE] = drop_line;
    ioapic_entry_set(line, ENTRY_LEVEL | DEVICE);
    set_line(line, 1);
    check_equal(ioapic_entry(line) & ENTRY_REMOTE_IRR, ENTRY_REMOTE_IRR,
                "level: remote IRR is set until EOI");
    check(apic_bit(APIC_TMR, DEVICE), "level: TMR is set");
    for (unsigned i = 0; i < 10; i++)
        open_window();
    check_equal(counts[DEVICE], 3, "level: it comes again until the line falls");
    check_equal(ioapic_entry(line) & ENTRY_REMOTE_IRR, 0, "level: remote IRR is clear");
    ioapic_entry_set(line, LVT_MASKED | ENTRY_LEVEL | DEVICE);
    counts[DEVICE] = 0;
    set_line(line, 1);
    open_window();
    check_equal(counts[DEVICE], 0, "level: masked, nothing comes");
    ioapic_entry_set(line, ENTRY_LEVEL | DEVICE);
    counts[DEVICE] = 2;
    open_window();
    check_equal(counts[DEVICE], 3, "level: unmasked, it comes");
    ioapic_entry_set(line, LVT_MASKED);
}

static void ioapic(void)
{
    ioapic_registers();
    if (!has_test_devices()) {
        skip("interrupt lines", "no test devices");
        return;
    }
    edge_lines(20);
    level_lines(20);
}

enum { PIT_CHANNEL_0 = 0x40, PIT_CONTROL = 0x43 };

static void pit_start(unsigned ticks)
{
    out8(PIT_CONTROL, 0x34); /* channel 0, both bytes, mode 2 */
    out8(PIT_CHANNEL_0, (uint8_t)ticks);
    out8(PIT_CHANNEL_0, (uint8_t)(ticks >> 8));
}

static void pit(void)
{
    start_counting();
    ioapic_entry_set(0, DEVICE); /* pin 2 when the MADT says so, pin 0 otherwise */
    ioapic_entry_set(2, DEVICE);
    pit_start(1193);
    interrupts_on();
    check(wait_for_count(&counts[DEVICE], 20, 3000), "the PIT interrupts through the I/O APIC");
    interrupts_off();
    ioapic_entry_set(0, LVT_MASKED);
    ioapic_entry_set(2, LVT_MASKED);
    open_window();
}

static void end_pic_interrupt(struct frame *frame)
{
    (void)frame;
    counts[DEVICE]++;
    out8(0x20, 0x20);
}

static void pic(void)
{
    static const uint8_t words[][2] = {{0x20, 0x11}, {0x21, 0xb0}, {0x21, 4}, {0x21, 1},
                                       {0xa0, 0x11}, {0xa1, 0xb8}, {0xa1, 2}, {0xa1, 1}};

    start_counting();
    trap_handlers[0xb0] = end_pic_interrupt;
    for (unsigned i = 0; i < ARRAY_LENGTH(words); i++)
        out8(words[i][0], words[i][1]);
    out8(0xa1, 0xff);
    out8(0x21, 0xfe);
    apic_write(APIC_LVT_LINT0, 7 << 8); /* ExtINT */
    pit_start(1193);
    interrupts_on();
    check(wait_for_count(&counts[DEVICE], 20, 3000), "the PIT interrupts through the 8259");
    interrupts_off();
    out8(0x21, 0xff);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    open_window();
}

void test_main(void)
{
    static const struct test_group groups[] = {
        {"identity", identity},
        {"software-disable", software_disable},
        {"priorities", priorities},
        {"pending", pending},
        {"task-priority", task_priority},
        {"nesting", nesting},
        {"destinations", destinations},
        {"errors", errors},
        {"shadows", shadows},
        {"halting", halting},
        {"nmi", non_maskable},
        {"one-shot", one_shot},
        {"dividers", dividers},
        {"periodic", periodic},
        {"deadline", deadline},
        {"ioapic", ioapic},
        {"pit", pit},
        {"pic", pic},
        {"x2apic", x2apic},
    };
    smp_start();
    run_groups(groups, ARRAY_LENGTH(groups));
}
