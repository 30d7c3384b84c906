/* A whole machine on the fake engine: its processors are the C functions below. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "machine/machine_private.h"
#include "tests/harness/fake_engine.h"

enum {
    ENTRY = 0x100020,
    MARK_GPA = 0x800000,
    UART_DATA = 0x3f8,
    UART_LINE_STATUS = 0x3fd,
    DEBUG_EXIT_PORT = 0xf4,
    POWER_OFF_VALUE = 1 << 13 | CHIPSET_SLEEP_TYPE_S5 << 10,
};

#define MIB UINT64_C(0x100000)

/* What the tests see of the machine that runs. */
static struct {
    struct machine *machine;
    struct loop *loop;
    char output[256];
    size_t output_length;
    atomic_uint stopped, ready;
    atomic_uint seen; /* for the programs */
    struct engine_registers start[2];
} test;

/* A multiboot 1 image whose code nobody runs, Multiboot 1 § 3.1. */
static uint8_t image[64];

static void make_image(void)
{
    const uint32_t flags = 1 << 16;
    const uint32_t words[] = {
        0x1badb002, flags,    -(0x1badb002 + flags),
        0x100000, /* magic, flags, checksum, header at */
        0x100000,   0x100040, 0x100040,
        ENTRY, /* load from, to; bss to; entry */
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        put_le32(image + i * 4, words[i]);
    memset(image + ENTRY - 0x100000, 0xf4, 16);
}

static void collect(void *owner, const uint8_t *bytes, size_t length)
{
    (void)owner;
    if (length > sizeof(test.output) - 1 - test.output_length)
        length = sizeof(test.output) - 1 - test.output_length;
    memcpy(test.output + test.output_length, bytes, length);
    test.output_length += length;
}

static void note_ready(void *owner)
{
    (void)owner;
    atomic_fetch_add(&test.ready, 1);
}

static void note_stopped(void *owner)
{
    (void)owner;
    atomic_fetch_add(&test.stopped, 1);
    loop_stop(test.loop);
}

static struct machine_config config_of(unsigned vcpus)
{
    return (struct machine_config){
        .engine = &fake_engine,
        .vcpu_count = vcpus,
        .memory_size = 16 * MIB,
        .boot.kernel = {.name = "image", .bytes = image, .length = sizeof(image)},
        .boot.command_line = "",
        .loop = test.loop,
        .serial_output = collect,
        .serial_ready = note_ready,
        .stopped = note_stopped,
    };
}

typedef enum fake_action (*step_fn)(struct fake_vcpu *vcpu, struct engine_exit *exit);

static void start(step_fn step, const struct machine_config *config)
{
    struct reason reason = {0};

    fake_engine_load(&(struct fake_program){.step = step});
    if (machine_create(config, &test.machine, &reason) < 0)
        fail_msg("machine_create: %s", reason.text);
    if (machine_start(test.machine, &reason) < 0)
        fail_msg("machine_start: %s", reason.text);
}

static struct machine_end run(step_fn step, const struct machine_config *config)
{
    struct machine_end end = {0};

    start(step, config);
    assert_int_equal(loop_run(test.loop), 0);
    machine_wait(test.machine, &end);
    return end;
}

static int set_up(void **state)
{
    (void)state;
    memset(&test, 0, sizeof(test));
    make_image();
    return loop_create(&test.loop);
}

static int tear_down(void **state)
{
    (void)state;
    machine_destroy(test.machine);
    loop_destroy(test.loop);
    return (int)atomic_load(&fake_engine_counts()->alive);
}

/* ---- steps ---- */

static enum fake_action write_port(struct engine_exit *exit, uint16_t port, uint8_t size,
                                   uint32_t value)
{
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_PORT_WRITE};
    exit->port.port = port;
    exit->port.size = size;
    exit->port.value = value;
    return FAKE_EXIT;
}

static enum fake_action power_off(struct engine_exit *exit)
{
    return write_port(exit, CHIPSET_PM1_CONTROL_PORT, 2, POWER_OFF_VALUE);
}

static enum fake_action halt(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)vcpu;
    (void)exit;
    return FAKE_HALT;
}

static enum fake_action say_and_power_off(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    static const char text[] = "hello, serial port";

    if (vcpu->index != 0)
        return FAKE_HALT;
    if (vcpu->step == 0)
        test.start[0] = *vcpu->registers;
    if (vcpu->step < sizeof(text) - 1)
        return write_port(exit, UART_DATA, 1, (uint8_t)text[vcpu->step]);
    return power_off(exit);
}

static void power_off_ends_all_processors(void **state)
{
    const struct machine_config config = config_of(4);
    (void)state;

    struct machine_end end = run(say_and_power_off, &config);
    assert_int_equal(end.kind, MACHINE_END_POWER_OFF);
    assert_string_equal(test.output, "hello, serial port");
    assert_int_equal(atomic_load(&test.stopped), 1);
    assert_int_equal(test.start[0].rip, ENTRY);
    assert_int_equal(test.start[0].gpr[GPR_RAX], 0x2badb002);
    assert_int_equal(atomic_load(&fake_engine_counts()->sets), 1);
}

static enum fake_action reset_twice(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    uint8_t marks[2] = {0xff, 0xff};

    if (vcpu->index != 0)
        return FAKE_HALT;
    test.start[vcpu->life != 0] = *vcpu->registers;
    /* A reset finds RAM cleared and the image back in its place. */
    assert_int_equal(mem_read(test.machine->mem, MARK_GPA, &marks[0], 1), 0);
    assert_int_equal(mem_read(test.machine->mem, ENTRY, &marks[1], 1), 0);
    if (marks[0] == 0 && marks[1] == 0xf4)
        atomic_fetch_add(&test.seen, 1);
    assert_int_equal(mem_write(test.machine->mem, MARK_GPA, "x", 1), 0);
    assert_int_equal(mem_write(test.machine->mem, ENTRY, "x", 1), 0);
    return vcpu->life < 2 ? write_port(exit, CHIPSET_RESET_PORT, 1, 6) : power_off(exit);
}

static void reset_boots_anew(void **state)
{
    const struct machine_config config = config_of(3);
    (void)state;

    struct machine_end end = run(reset_twice, &config);
    assert_int_equal(end.kind, MACHINE_END_POWER_OFF);
    assert_int_equal(atomic_load(&test.seen), 3);
    assert_int_equal(atomic_load(&fake_engine_counts()->partitions), 3);
    assert_int_equal(atomic_load(&fake_engine_counts()->sets), 3);
    assert_int_equal(test.start[1].rip, ENTRY);
    assert_int_equal(test.start[1].gpr[GPR_RBX], test.start[0].gpr[GPR_RBX]);
}

static void reset_may_be_the_end(void **state)
{
    struct machine_config config = config_of(2);
    (void)state;

    config.end_on_reset = true;
    struct machine_end end = run(reset_twice, &config);
    assert_int_equal(end.kind, MACHINE_END_RESET);
    assert_int_equal(atomic_load(&test.seen), 1);
}

static void reset_that_fails_ends_with_its_reason(void **state)
{
    const struct machine_config config = config_of(2);
    struct machine_end end = {0};
    struct reason reason;
    (void)state;

    fake_engine_load(&(struct fake_program){.step = reset_twice, .refuse_partition = 2});
    assert_int_equal(machine_create(&config, &test.machine, &reason), 0);
    assert_int_equal(machine_start(test.machine, &reason), 0);
    assert_int_equal(loop_run(test.loop), 0);
    machine_wait(test.machine, &end);
    assert_int_equal(end.kind, MACHINE_END_FAILED);
    assert_non_null(strstr(end.reason.text, "refuses partition 2"));
}

static void stop_ends_halted_processors(void **state)
{
    const struct machine_config config = config_of(8);
    struct machine_end end = {0};
    (void)state;

    start(halt, &config);
    machine_stop(test.machine);
    machine_wait(test.machine, &end);
    assert_int_equal(end.kind, MACHINE_END_STOPPED);
    assert_int_equal(atomic_load(&test.stopped), 0);
}

/* Every processor asks for a reset all the time. */
static enum fake_action reset_always(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    atomic_fetch_add(&test.seen, 1);
    if (vcpu->step % 3 == vcpu->index % 3)
        return write_port(exit, CHIPSET_RESET_PORT, 1, 6);
    return write_port(exit, 0x80, 1, 0);
}

struct patience {
    struct loop_timer *timer;
    unsigned steps;
};

static void stop_after_steps(void *owner)
{
    const struct patience *patience = owner;
    if (atomic_load(&test.seen) < patience->steps) {
        loop_timer_set(patience->timer, clock_monotonic_ns() + 100000);
        return;
    }
    machine_stop(test.machine);
    loop_stop(test.loop);
}

static void stop_wins_against_a_storm_of_resets(void **state)
{
    const struct machine_config config = config_of(16);
    struct machine_end end = {0};
    struct patience patience = {0};
    (void)state;

    assert_int_equal(loop_timer_create(test.loop, stop_after_steps, &patience, &patience.timer), 0);
    for (int i = 0; i < 20; i++) {
        atomic_store(&test.seen, 0);
        patience.steps = (unsigned)i * 5;
        start(reset_always, &config);
        loop_timer_set(patience.timer, 1);
        assert_int_equal(loop_run(test.loop), 0);
        machine_wait(test.machine, &end);
        assert_int_equal(end.kind, MACHINE_END_STOPPED);
        machine_destroy(test.machine);
        test.machine = NULL;
        assert_int_equal(atomic_load(&fake_engine_counts()->alive), 0);
    }
    loop_timer_destroy(patience.timer);
}

static enum fake_action crash_on_two(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    if (vcpu->index != 2)
        return FAKE_HALT;
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_SHUTDOWN};
    return FAKE_EXIT;
}

static void triple_fault_names_the_processor(void **state)
{
    const struct machine_config config = config_of(4);
    struct engine_registers registers;
    uint8_t code = 0;
    (void)state;

    struct machine_end end = run(crash_on_two, &config);
    assert_int_equal(end.kind, MACHINE_END_TRIPLE_FAULT);
    assert_int_equal(end.vcpu, 2);
    assert_int_equal(machine_vcpu_registers(test.machine, 4, &registers), -ENOENT);
    assert_int_equal(machine_vcpu_registers(test.machine, 0, &registers), 0);
    assert_int_equal(registers.rip, ENTRY);
    assert_int_equal(machine_read_linear(test.machine, &registers, registers.rip, &code, 1), 0);
    assert_int_equal(code, 0xf4);
}

static enum fake_action exit_with_21(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    if (vcpu->step == 0)
        return write_port(exit, DEBUG_EXIT_PORT, 4, 21);
    return power_off(exit);
}

static void debug_exit_gives_its_code(void **state)
{
    struct machine_config config = config_of(1);
    (void)state;

    config.debug_exit = true;
    struct machine_end end = run(exit_with_21, &config);
    assert_int_equal(end.kind, MACHINE_END_DEBUG_EXIT);
    assert_int_equal(end.code, 43);
}

static void debug_exit_is_off_by_default(void **state)
{
    const struct machine_config config = config_of(1);
    (void)state;

    assert_int_equal(run(exit_with_21, &config).kind, MACHINE_END_POWER_OFF);
}

static enum fake_action ask_everything(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    const struct engine_exit answer = *exit;

    *exit = (struct engine_exit){.kind = ENGINE_EXIT_MSR_READ};
    switch (vcpu->step) {
    case 0:
        exit->msr.index = 0x40000000;
        return FAKE_EXIT;
    case 1:
        assert_true(answer.msr.refused);
        *exit = (struct engine_exit){.kind = ENGINE_EXIT_MMIO_READ};
        exit->mmio.gpa = 0xd0000000;
        exit->mmio.size = 8;
        return FAKE_EXIT;
    case 2:
        assert_int_equal(answer.mmio.value, UINT64_MAX);
        *exit = (struct engine_exit){.kind = ENGINE_EXIT_PORT_READ};
        exit->port.port = UART_LINE_STATUS;
        exit->port.size = 1;
        return FAKE_EXIT;
    case 3:
        assert_int_equal(answer.port.value & 0x60, 0x60); /* transmitter empty */
        *exit = (struct engine_exit){.kind = ENGINE_EXIT_EXTINT};
        return FAKE_EXIT;
    case 4:
        assert_int_equal(vcpu->last_event.kind, ENGINE_EVENT_EXTINT_VECTOR);
        *exit = (struct engine_exit){.kind = ENGINE_EXIT_EOI};
        exit->eoi.vector = 0x31;
        return FAKE_EXIT;
    case 5:
        *exit = (struct engine_exit){.kind = ENGINE_EXIT_KICKED};
        return FAKE_EXIT;
    default:
        return power_off(exit);
    }
}

static void each_exit_is_answered(void **state)
{
    const struct machine_config config = config_of(1);
    (void)state;

    assert_int_equal(run(ask_everything, &config).kind, MACHINE_END_POWER_OFF);
    assert_int_equal(atomic_load(&fake_engine_counts()->extint_vectors), 1);
}

static enum fake_action fail_to_go_on(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)vcpu;
    *exit = (struct engine_exit){.kind = ENGINE_EXIT_FAILED};
    (void)reason_set(&exit->failed.reason, 0, "instruction of the future");
    return FAKE_EXIT;
}

static enum fake_action break_down(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    (void)exit;
    return vcpu->index == 1 ? FAKE_BREAK : FAKE_HALT;
}

static void failures_of_the_engine_end_with_a_reason(void **state)
{
    const struct machine_config config = config_of(2);
    (void)state;

    struct machine_end end = run(fail_to_go_on, &config);
    assert_int_equal(end.kind, MACHINE_END_FAILED);
    assert_string_equal(end.reason.text, "instruction of the future");
    machine_destroy(test.machine);
    test.machine = NULL;

    end = run(break_down, &config);
    assert_int_equal(end.kind, MACHINE_END_FAILED);
    assert_non_null(strstr(end.reason.text, "vCPU 1"));
}

/* Reads what was typed, and switches off after the whole alphabet. */
static enum fake_action read_alphabet(struct fake_vcpu *vcpu, struct engine_exit *exit)
{
    const struct engine_exit answer = *exit;

    *exit = (struct engine_exit){.kind = ENGINE_EXIT_PORT_READ};
    exit->port.size = 1;
    exit->port.port = UART_LINE_STATUS;
    if (vcpu->step == 0 || answer.kind != ENGINE_EXIT_PORT_READ)
        return FAKE_EXIT;
    if (answer.port.port == UART_LINE_STATUS) {
        exit->port.port = answer.port.value & 1 ? UART_DATA : UART_LINE_STATUS;
        return FAKE_EXIT;
    }
    if (answer.port.value != 'a' + atomic_load(&test.seen))
        return FAKE_BREAK;
    return atomic_fetch_add(&test.seen, 1) == 25 ? power_off(exit) : FAKE_EXIT;
}

static void serial_input_arrives_whole_though_the_fifo_is_small(void **state)
{
    const struct machine_config config = config_of(1);
    struct machine_end end = {0};
    uint8_t alphabet[26];
    unsigned ready = 0;
    (void)state;

    for (size_t i = 0; i < sizeof(alphabet); i++)
        alphabet[i] = (uint8_t)('a' + i);
    start(read_alphabet, &config);
    for (size_t done = 0; done < sizeof(alphabet);) {
        size_t taken = machine_serial_input(test.machine, alphabet + done, sizeof(alphabet) - done);
        done += taken;
        if (done == sizeof(alphabet))
            break;
        while (atomic_load(&test.ready) == ready)
            (void)usleep(100);
        ready++;
    }
    machine_wait(test.machine, &end);
    assert_int_equal(end.kind, MACHINE_END_POWER_OFF);
    assert_true(ready > 0);
}

static void senseless_configurations_are_refused(void **state)
{
    struct machine_config config = config_of(0);
    struct reason reason = {0};
    (void)state;

    fake_engine_load(&(struct fake_program){.step = halt});
    assert_int_equal(machine_create(&config, &test.machine, &reason), -EINVAL);
    config = config_of(ENGINE_MAX_VCPUS + 1);
    assert_int_equal(machine_create(&config, &test.machine, &reason), -EINVAL);
    config = config_of(1);
    config.memory_size += 4096;
    assert_int_equal(machine_create(&config, &test.machine, &reason), -EINVAL);
    config = config_of(1);
    config.memory_size = UINT64_C(1) << 60;
    assert_int_equal(machine_create(&config, &test.machine, &reason), -ENOMEM);
    config = config_of(1);
    config.boot.kernel.length = 5;
    assert_int_equal(machine_create(&config, &test.machine, &reason), -ENOEXEC);
    assert_non_null(strstr(reason.text, "image"));
    assert_null(test.machine);
}

#define MACHINE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MACHINE_TEST(power_off_ends_all_processors),
        MACHINE_TEST(reset_boots_anew),
        MACHINE_TEST(reset_may_be_the_end),
        MACHINE_TEST(reset_that_fails_ends_with_its_reason),
        MACHINE_TEST(stop_ends_halted_processors),
        MACHINE_TEST(stop_wins_against_a_storm_of_resets),
        MACHINE_TEST(triple_fault_names_the_processor),
        MACHINE_TEST(debug_exit_gives_its_code),
        MACHINE_TEST(debug_exit_is_off_by_default),
        MACHINE_TEST(each_exit_is_answered),
        MACHINE_TEST(failures_of_the_engine_end_with_a_reason),
        MACHINE_TEST(serial_input_arrives_whole_though_the_fifo_is_small),
        MACHINE_TEST(senseless_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
