/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/uart.h"

#include "chipset/fake_host.h"

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH };
enum { FCR = IIR };

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct uart *uart;
};

static void expired(void *device, unsigned timer)
{
    struct fixture *f = device;
    assert_int_equal(timer, CHIPSET_TIMER_UART);
    uart_timer_expired(f->uart);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    f->fake.device = f;
    f->fake.expired = expired;
    struct line line = fake_line(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(uart_create(&f->fake.host, &line, &f->uart), 0);
    assert_int_equal(uart_attach(f->uart, f->bus, UART_COM1_PORT), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    uart_destroy(f->uart);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static void out(struct fixture *f, unsigned port, uint8_t value)
{
    bus_port_write(f->bus, (uint16_t)port, 1, value);
}

static unsigned in(struct fixture *f, unsigned port)
{
    return bus_port_read(f->bus, (uint16_t)port, 1);
}

static size_t input(struct fixture *f, const char *text)
{
    return uart_input(f->uart, (const uint8_t *)text, strlen(text));
}

/* As Linux runs it: FIFO on with trigger level 8, OUT2 set, 115200 baud. */
static void start(struct fixture *f, uint8_t ier)
{
    out(f, LCR, 0x83);
    out(f, DATA, 1);
    out(f, IER, 0);
    out(f, LCR, 0x03);
    out(f, FCR, 0x87);
    out(f, MCR, 0x0b);
    out(f, IER, ier);
}

static void registers_after_reset(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in(f, IER), 0);
    assert_int_equal(in(f, IIR), 0x01);
    assert_int_equal(in(f, LCR), 0);
    assert_int_equal(in(f, MCR), 0);
    assert_int_equal(in(f, LSR), 0x60);
    assert_int_equal(in(f, MSR), 0xb0);
    out(f, SCRATCH, 0xa5);
    assert_int_equal(in(f, SCRATCH), 0xa5);
    out(f, IER, 0xff);
    assert_int_equal(in(f, IER), 0x0f);
    out(f, MCR, 0xff);
    assert_int_equal(in(f, MCR), 0x1f);
}

static void divisor_hides_behind_dlab(void **state)
{
    struct fixture *f = *state;
    out(f, IER, 0x05);
    out(f, LCR, 0x83);
    bus_port_write(f->bus, DATA, 2, 0x1234);
    assert_int_equal(in(f, DATA), 0x34);
    assert_int_equal(in(f, IER), 0x12);
    out(f, LCR, 0x03);
    assert_int_equal(in(f, IER), 0x05);
    assert_int_equal(f->fake.output_length, 0);
}

static void output_leaves_at_once(void **state)
{
    struct fixture *f = *state;
    out(f, DATA, 'o');
    assert_int_equal(f->fake.output_length, 1);
    assert_int_equal(in(f, LSR), 0x60);
    out(f, DATA, 'k');
    assert_memory_equal(f->fake.output, "ok", 2);
}

/* The questions of Linux's autoconfiguration: is it there, has it FIFOs, does THRE work. */
static void linux_recognizes_a_16550a(void **state)
{
    struct fixture *f = *state;
    out(f, IER, 0x00);
    assert_int_equal(in(f, IER) & 0x0f, 0);
    out(f, IER, 0x0f);
    assert_int_equal(in(f, IER) & 0x0f, 0x0f);
    out(f, IER, 0x00);
    out(f, MCR, 0x1a);
    assert_int_equal(in(f, MSR) & 0xf0, 0x90);
    out(f, MCR, 0x00);
    out(f, FCR, 0x01);
    assert_int_equal(in(f, IIR) >> 6, 3);
    out(f, FCR, 0x00);
    assert_int_equal(in(f, IIR) >> 6, 0);
    out(f, FCR, 0x40); /* nothing without the enable bit */
    assert_int_equal(in(f, IIR) >> 6, 0);
    out(f, IER, 0x02);
    assert_int_equal(in(f, IIR), 0x02);
    assert_int_equal(in(f, IIR), 0x01);
    out(f, IER, 0x00);
    out(f, IER, 0x02); /* enabling it again tells it again */
    assert_int_equal(in(f, IIR), 0x02);
}

static void empty_transmitter_interrupts_with_an_edge_a_byte(void **state)
{
    struct fixture *f = *state;
    start(f, 0x02);
    assert_true(f->fake.level);
    assert_int_equal(in(f, IIR), 0xc2);
    assert_false(f->fake.level);
    unsigned rises = f->fake.rises;
    out(f, DATA, 'a');
    assert_true(f->fake.level);
    out(f, DATA, 'b'); /* the line falls between, or an edge-triggered input would miss it */
    assert_int_equal(f->fake.rises, rises + 2);
    assert_int_equal(in(f, IIR), 0xc2);
    assert_false(f->fake.level);
}

static void out2_and_loopback_gate_the_line(void **state)
{
    struct fixture *f = *state;
    out(f, IER, 0x02);
    assert_int_equal(f->fake.rises, 0);
    out(f, MCR, 0x08);
    assert_true(f->fake.level);
    out(f, MCR, 0x18);
    assert_false(f->fake.level);
    out(f, MCR, 0x08);
    assert_true(f->fake.level);
}

static void input_interrupts_at_the_trigger_level(void **state)
{
    struct fixture *f = *state;
    static const uint8_t level[4] = {1, 4, 8, 14};
    for (unsigned i = 0; i < 4; i++) {
        start(f, 0x01);
        out(f, FCR, (uint8_t)(i << 6 | 0x03));
        for (unsigned n = 1; n < level[i]; n++) {
            assert_int_equal(input(f, "x"), 1);
            assert_false(f->fake.level);
            assert_int_equal(in(f, LSR), 0x61);
        }
        assert_int_equal(input(f, "x"), 1);
        assert_true(f->fake.level);
        assert_int_equal(in(f, IIR), 0xc4);
        assert_int_equal(in(f, DATA), 'x'); /* below the level again */
        assert_false(f->fake.level);
    }
}

static void waiting_bytes_time_out_after_four_characters(void **state)
{
    struct fixture *f = *state;
    start(f, 0x01);
    assert_int_equal(input(f, "ab"), 2);
    const uint64_t character = UINT64_C(10) * NS_PER_SECOND / 115200;
    fake_pass(&f->fake, 4 * character - 1000);
    assert_int_equal(in(f, IIR), 0xc1);
    assert_int_equal(input(f, "c"), 1); /* starts the time anew */
    fake_pass(&f->fake, 4 * character - 1000);
    assert_false(f->fake.level);
    fake_pass(&f->fake, 2000);
    assert_true(f->fake.level);
    assert_int_equal(in(f, IIR), 0xcc);
    assert_int_equal(in(f, DATA), 'a'); /* reading ends it, and starts the time anew */
    assert_false(f->fake.level);
    fake_pass(&f->fake, 4 * character + 1000);
    assert_int_equal(in(f, IIR), 0xcc);
    assert_int_equal(in(f, DATA), 'b');
    assert_int_equal(in(f, DATA), 'c');
    fake_pass(&f->fake, 100 * character);
    assert_int_equal(in(f, IIR), 0xc1);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_UART], 0);
}

static void timeout_follows_speed_and_format(void **state)
{
    struct fixture *f = *state;
    start(f, 0x01);
    out(f, LCR, 0x8f); /* 8 bits, two stop bits, parity: 12 bits a character */
    out(f, DATA, 12);  /* 9600 baud */
    out(f, LCR, 0x0f);
    assert_int_equal(input(f, "a"), 1);
    const uint64_t four = UINT64_C(4) * 12 * NS_PER_SECOND / 9600;
    fake_pass(&f->fake, four - 1000);
    assert_false(f->fake.level);
    fake_pass(&f->fake, 2000);
    assert_true(f->fake.level);
}

static void fifo_takes_sixteen_and_no_more(void **state)
{
    struct fixture *f = *state;
    start(f, 0x00);
    assert_int_equal(uart_room(f->uart), 16);
    assert_int_equal(input(f, "0123456789abcdefXYZ"), 16);
    assert_int_equal(uart_room(f->uart), 0);
    assert_int_equal(input(f, "X"), 0);
    assert_int_equal(in(f, LSR), 0x61); /* nothing was overrun */
    const char *wanted = "0123456789abcdef";
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(f, DATA), wanted[i]);
    assert_int_equal(in(f, LSR), 0x60);
    assert_int_equal(in(f, DATA), 'f'); /* the receive register keeps its last */
}

static void without_fifo_there_is_room_for_one(void **state)
{
    struct fixture *f = *state;
    out(f, MCR, 0x08);
    out(f, IER, 0x01);
    assert_int_equal(input(f, "ab"), 1);
    assert_int_equal(in(f, IIR), 0x04);
    assert_int_equal(in(f, DATA), 'a');
    assert_int_equal(in(f, IIR), 0x01);
    assert_int_equal(f->fake.deadline[CHIPSET_TIMER_UART], 0);
}

static void fifo_control_clears(void **state)
{
    struct fixture *f = *state;
    start(f, 0x00);
    assert_int_equal(input(f, "abc"), 3);
    out(f, FCR, 0x85); /* only the transmitter */
    assert_int_equal(in(f, LSR), 0x61);
    out(f, FCR, 0x83);
    assert_int_equal(in(f, LSR), 0x60);
    assert_int_equal(input(f, "abc"), 3);
    out(f, FCR, 0x00); /* turning FIFOs off loses what is in them */
    assert_int_equal(in(f, LSR), 0x60);
}

static void loopback_hears_itself_and_overruns(void **state)
{
    struct fixture *f = *state;
    start(f, 0x00);
    out(f, MCR, 0x13);
    assert_int_equal(uart_room(f->uart), 0);
    assert_int_equal(input(f, "x"), 0);
    for (unsigned i = 0; i < 17; i++)
        out(f, DATA, (uint8_t)i);
    assert_int_equal(f->fake.output_length, 0);
    assert_int_equal(in(f, LSR), 0x63);
    assert_int_equal(in(f, LSR), 0x61); /* reading tells the overrun once */
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(f, DATA), i);
    out(f, FCR, 0x00);
    out(f, DATA, 1);
    out(f, DATA, 2); /* without FIFO the new byte destroys the old */
    assert_int_equal(in(f, LSR), 0x63);
    assert_int_equal(in(f, DATA), 2);
}

static void loopback_turns_outputs_to_inputs(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint8_t mcr, msr;
    } pair[] = {{0x10, 0x00}, {0x11, 0x20}, {0x12, 0x10}, {0x14, 0x40}, {0x18, 0x80}, {0x1f, 0xf0}};
    for (unsigned i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
        out(f, MCR, pair[i].mcr);
        assert_int_equal(in(f, MSR) & 0xf0, pair[i].msr);
    }
    out(f, MCR, 0x10);
    assert_int_equal(in(f, MSR), 0x0f); /* all four changed */
    assert_int_equal(in(f, MSR), 0x00);
    out(f, MCR, 0x14);
    assert_int_equal(in(f, MSR), 0x40); /* the beginning of a ring is not told */
}

static void interrupts_come_by_priority(void **state)
{
    struct fixture *f = *state;
    start(f, 0x0f);
    out(f, FCR, 0x01);
    out(f, MCR, 0x1a);
    for (unsigned i = 0; i < 17; i++)
        out(f, DATA, (uint8_t)i);
    assert_int_equal(in(f, IIR), 0xc6);
    assert_int_equal(in(f, LSR) & 0x02, 0x02);
    assert_int_equal(in(f, IIR), 0xc4);
    for (unsigned i = 0; i < 16; i++)
        (void)in(f, DATA);
    assert_int_equal(in(f, IIR), 0xc2);
    assert_int_equal(in(f, IIR), 0xc0); /* DSR changed with loopback */
    (void)in(f, MSR);
    assert_int_equal(in(f, IIR), 0xc1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_after_reset),
        TEST(divisor_hides_behind_dlab),
        TEST(output_leaves_at_once),
        TEST(linux_recognizes_a_16550a),
        TEST(empty_transmitter_interrupts_with_an_edge_a_byte),
        TEST(out2_and_loopback_gate_the_line),
        TEST(input_interrupts_at_the_trigger_level),
        TEST(waiting_bytes_time_out_after_four_characters),
        TEST(timeout_follows_speed_and_format),
        TEST(fifo_takes_sixteen_and_no_more),
        TEST(without_fifo_there_is_room_for_one),
        TEST(fifo_control_clears),
        TEST(loopback_hears_itself_and_overruns),
        TEST(loopback_turns_outputs_to_inputs),
        TEST(interrupts_come_by_priority),
    };
    return cmocka_run_group_tests_name("uart", tests, NULL, NULL);
}
