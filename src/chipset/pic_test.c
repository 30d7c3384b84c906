/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/pic.h"

#include "chipset/fake_host.h"

enum { MASTER = 0x20, SLAVE = 0xa0, ELCR = 0x4d0, EOI = 0x20 };

struct fixture {
    struct fake_host fake;
    struct bus *bus;
    struct pic *pic;
};

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
    bus_port_write(f->bus, port, 1, value);
}

static unsigned in(struct fixture *f, uint16_t port)
{
    return bus_port_read(f->bus, port, 1);
}

static void initialize(struct fixture *f, uint8_t master_icw4)
{
    out(f, MASTER, 0x11);
    out(f, MASTER + 1, 0x30);
    out(f, MASTER + 1, 0x04);
    out(f, MASTER + 1, master_icw4);
    out(f, SLAVE, 0x11);
    out(f, SLAVE + 1, 0x38);
    out(f, SLAVE + 1, 0x02);
    out(f, SLAVE + 1, 0x01);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    fake_init(&f->fake);
    assert_int_equal(bus_create(&f->bus), 0);
    assert_int_equal(pic_create(&f->fake.host, &f->pic), 0);
    assert_int_equal(pic_attach(f->pic, f->bus), 0);
    initialize(f, 0x01);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pic_destroy(f->pic);
    bus_destroy(f->bus);
    free(f);
    return 0;
}

static void raise_irq(struct fixture *f, unsigned irq)
{
    pic_set_irq(f->pic, irq, false);
    pic_set_irq(f->pic, irq, true);
}

static unsigned in_service(struct fixture *f, uint16_t port)
{
    out(f, port, 0x0b);
    return in(f, port);
}

static unsigned requested(struct fixture *f, uint16_t port)
{
    out(f, port, 0x0a);
    return in(f, port);
}

static void mask_register_reads_back(void **state)
{
    struct fixture *f = *state;
    out(f, MASTER + 1, 0xfb);
    out(f, SLAVE + 1, 0xff);
    assert_int_equal(in(f, MASTER + 1), 0xfb);
    assert_int_equal(in(f, SLAVE + 1), 0xff);
    assert_int_equal(bus_port_read(f->bus, MASTER, 2), 0xfb00);
}

static void request_service_and_end(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    assert_true(f->fake.extint);
    assert_int_equal(requested(f, MASTER), 0x08);
    assert_int_equal(pic_acknowledge(f->pic), 0x33);
    assert_false(f->fake.extint);
    assert_int_equal(requested(f, MASTER), 0);
    assert_int_equal(in_service(f, MASTER), 0x08);
    out(f, MASTER, EOI);
    assert_int_equal(in_service(f, MASTER), 0);
    assert_false(f->fake.extint); /* the line is still high, but no new edge came */
}

static void masked_request_waits(void **state)
{
    struct fixture *f = *state;
    out(f, MASTER + 1, 0xff);
    raise_irq(f, 4);
    assert_false(f->fake.extint);
    out(f, MASTER + 1, 0xef);
    assert_true(f->fake.extint);
    out(f, MASTER + 1, 0xff);
    assert_false(f->fake.extint);
}

static void higher_priority_nests_lower_waits(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 5);
    assert_int_equal(pic_acknowledge(f->pic), 0x35);
    raise_irq(f, 6);
    assert_false(f->fake.extint);
    raise_irq(f, 1);
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x31);
    assert_int_equal(in_service(f, MASTER), 0x22);
    out(f, MASTER, EOI); /* non-specific: the highest, 1 */
    assert_int_equal(in_service(f, MASTER), 0x20);
    assert_false(f->fake.extint);
    out(f, MASTER, 0x65); /* specific: 5 */
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x36);
}

static void slave_comes_through_the_cascade(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 12);
    assert_int_equal(requested(f, SLAVE), 0x10);
    assert_int_equal(requested(f, MASTER), 0x04);
    assert_int_equal(pic_acknowledge(f->pic), 0x3c);
    assert_int_equal(in_service(f, SLAVE), 0x10);
    assert_int_equal(in_service(f, MASTER), 0x04);
    /* A higher one of the slave waits for the master's EOI unless specially nested. */
    raise_irq(f, 8);
    assert_false(f->fake.extint);
    raise_irq(f, 1); /* ranks before the cascade */
    assert_int_equal(pic_acknowledge(f->pic), 0x31);
    out(f, MASTER, EOI);
    out(f, MASTER, 0x62);
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x38);
}

static void special_fully_nested_lets_the_slave_interrupt_again(void **state)
{
    struct fixture *f = *state;
    initialize(f, 0x11);
    raise_irq(f, 12);
    assert_int_equal(pic_acknowledge(f->pic), 0x3c);
    raise_irq(f, 14);
    assert_false(f->fake.extint);
    raise_irq(f, 8);
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x38);
    assert_int_equal(in_service(f, SLAVE), 0x11);
}

static void withdrawn_request_is_spurious(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    pic_set_irq(f->pic, 3, false);
    assert_false(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x37);
    assert_int_equal(in_service(f, MASTER), 0);
    raise_irq(f, 10);
    pic_set_irq(f->pic, 10, false);
    assert_int_equal(pic_acknowledge(f->pic), 0x37);
    assert_int_equal(in_service(f, MASTER), 0);
    assert_int_equal(in_service(f, SLAVE), 0);
}

static void polled_slave_lets_the_cascade_go(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 9);
    assert_true(f->fake.extint);
    out(f, SLAVE, 0x0c);
    assert_int_equal(in(f, SLAVE), 0x81);
    assert_false(f->fake.extint);
    assert_int_equal(in_service(f, SLAVE), 0x02);
    assert_int_equal(in_service(f, MASTER), 0);
}

static void level_input_asks_again_until_it_falls(void **state)
{
    struct fixture *f = *state;
    out(f, ELCR, 0xff);
    out(f, ELCR + 1, 0xff);
    assert_int_equal(bus_port_read(f->bus, ELCR, 2), 0xdef8);
    pic_set_irq(f->pic, 5, true);
    assert_int_equal(pic_acknowledge(f->pic), 0x35);
    assert_false(f->fake.extint);
    out(f, MASTER, EOI);
    assert_true(f->fake.extint);
    pic_set_irq(f->pic, 5, false);
    assert_false(f->fake.extint);
}

static void elcr_takes_up_an_asserted_line(void **state)
{
    struct fixture *f = *state;
    pic_set_irq(f->pic, 9, true);
    assert_int_equal(pic_acknowledge(f->pic), 0x39);
    out(f, SLAVE, EOI);
    out(f, MASTER, EOI);
    assert_false(f->fake.extint);
    out(f, ELCR + 1, 0x02);
    assert_true(f->fake.extint);
}

static void auto_eoi_leaves_nothing_in_service(void **state)
{
    struct fixture *f = *state;
    initialize(f, 0x03);
    raise_irq(f, 0);
    raise_irq(f, 1);
    assert_int_equal(pic_acknowledge(f->pic), 0x30);
    assert_int_equal(in_service(f, MASTER), 0);
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x31);
}

static void auto_eoi_rotates_when_told(void **state)
{
    struct fixture *f = *state;
    initialize(f, 0x03);
    out(f, MASTER, 0x80);
    raise_irq(f, 3);
    assert_int_equal(pic_acknowledge(f->pic), 0x33); /* now 3 is the lowest */
    raise_irq(f, 3);
    raise_irq(f, 7);
    assert_int_equal(pic_acknowledge(f->pic), 0x37); /* and 7 is */
    raise_irq(f, 0);
    out(f, MASTER, 0x00); /* no more rotation */
    assert_int_equal(pic_acknowledge(f->pic), 0x30);
    raise_irq(f, 0);
    assert_int_equal(pic_acknowledge(f->pic), 0x30);
}

static void rotation_on_eoi_makes_the_served_one_lowest(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 1);
    assert_int_equal(pic_acknowledge(f->pic), 0x31);
    out(f, MASTER, 0xa0); /* rotate on non-specific EOI */
    raise_irq(f, 1);
    raise_irq(f, 4);
    assert_int_equal(pic_acknowledge(f->pic), 0x34);
    out(f, MASTER, 0xe4); /* rotate on specific EOI */
    raise_irq(f, 4);
    raise_irq(f, 0);
    assert_int_equal(pic_acknowledge(f->pic), 0x30);
    out(f, MASTER, EOI);
    assert_int_equal(pic_acknowledge(f->pic), 0x31);
}

static void set_priority_names_the_lowest(void **state)
{
    struct fixture *f = *state;
    out(f, MASTER, 0xc5); /* 5 is the lowest, 6 the highest */
    raise_irq(f, 0);
    raise_irq(f, 5);
    raise_irq(f, 6);
    assert_int_equal(pic_acknowledge(f->pic), 0x36);
    out(f, MASTER, EOI);
    assert_int_equal(pic_acknowledge(f->pic), 0x30);
    out(f, MASTER, EOI);
    assert_int_equal(pic_acknowledge(f->pic), 0x35);
}

static void rotated_priorities_nest_too(void **state)
{
    struct fixture *f = *state;
    out(f, MASTER, 0xc5); /* 6, 7, 0, 1, … 5 */
    raise_irq(f, 0);
    assert_int_equal(pic_acknowledge(f->pic), 0x30);
    raise_irq(f, 1);
    assert_false(f->fake.extint);
    raise_irq(f, 7);
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x37);
    out(f, MASTER, EOI); /* non-specific: 7 ranks before 0 */
    assert_int_equal(in_service(f, MASTER), 0x01);
}

static void special_mask_lets_lower_ones_in(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 3);
    assert_int_equal(pic_acknowledge(f->pic), 0x33);
    raise_irq(f, 6);
    assert_false(f->fake.extint);
    out(f, MASTER + 1, 0x08);
    assert_false(f->fake.extint);
    out(f, MASTER, 0x68); /* special mask mode */
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x36);
    out(f, MASTER, EOI); /* non-specific leaves the masked 3 alone */
    assert_int_equal(in_service(f, MASTER), 0x08);
    out(f, MASTER, EOI);
    assert_int_equal(in_service(f, MASTER), 0x08);
    out(f, MASTER, 0x48); /* off */
    out(f, MASTER, EOI);
    assert_int_equal(in_service(f, MASTER), 0);
}

static void poll_acknowledges_without_a_vector(void **state)
{
    struct fixture *f = *state;
    out(f, MASTER, 0x0c);
    assert_int_equal(in(f, MASTER), 0);
    raise_irq(f, 5);
    out(f, MASTER, 0x0c);
    assert_int_equal(in(f, MASTER), 0x85);
    assert_false(f->fake.extint);
    assert_int_equal(in_service(f, MASTER), 0x20);
    assert_int_equal(in(f, MASTER + 1), 0); /* one poll a command */
}

static void initialization_forgets_edges_and_masks(void **state)
{
    struct fixture *f = *state;
    out(f, MASTER + 1, 0xff);
    raise_irq(f, 4);
    out(f, MASTER, 0x13); /* single, ICW4 follows */
    assert_int_equal(in(f, MASTER + 1), 0);
    out(f, MASTER + 1, 0x50);
    out(f, MASTER + 1, 0x01);
    assert_false(f->fake.extint);
    raise_irq(f, 4);
    assert_int_equal(pic_acknowledge(f->pic), 0x54);
    out(f, MASTER, 0x1a); /* single, level-triggered, no ICW4 */
    assert_true(f->fake.extint);
    out(f, MASTER + 1, 0x60);
    out(f, MASTER + 1, 0xef);
    assert_int_equal(in(f, MASTER + 1), 0xef);
    assert_int_equal(pic_acknowledge(f->pic), 0x64);
}

static void inputs_that_are_not_there_are_refused(void **state)
{
    struct fixture *f = *state;
    pic_set_irq(f->pic, 2, true);
    pic_set_irq(f->pic, 16, true);
    pic_set_irq(f->pic, UINT32_MAX, true);
    assert_false(f->fake.extint);
    assert_int_equal(requested(f, MASTER), 0);
}

static void state_brings_back_request_and_service(void **state)
{
    struct fixture *f = *state;
    raise_irq(f, 5);
    assert_int_equal(pic_acknowledge(f->pic), 0x35);
    raise_irq(f, 12);
    assert_true(f->fake.extint);
    struct state_visitor *save = NULL;
    assert_int_equal(state_save_create(&save), 0);
    assert_int_equal(pic_visit_state(f->pic, save), 0);
    pic_reset(f->pic);
    assert_false(f->fake.extint);

    size_t length;
    const uint8_t *bytes = state_saved(save, &length);
    struct state_visitor *load = NULL;
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(pic_visit_state(f->pic, load), 0);
    assert_true(f->fake.extint);
    assert_int_equal(pic_acknowledge(f->pic), 0x3c);
    assert_int_equal(in_service(f, MASTER), 0x24);
    state_destroy(load);
    state_destroy(save);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mask_register_reads_back),
        TEST(request_service_and_end),
        TEST(masked_request_waits),
        TEST(higher_priority_nests_lower_waits),
        TEST(slave_comes_through_the_cascade),
        TEST(special_fully_nested_lets_the_slave_interrupt_again),
        TEST(withdrawn_request_is_spurious),
        TEST(polled_slave_lets_the_cascade_go),
        TEST(level_input_asks_again_until_it_falls),
        TEST(elcr_takes_up_an_asserted_line),
        TEST(auto_eoi_leaves_nothing_in_service),
        TEST(auto_eoi_rotates_when_told),
        TEST(rotation_on_eoi_makes_the_served_one_lowest),
        TEST(set_priority_names_the_lowest),
        TEST(rotated_priorities_nest_too),
        TEST(special_mask_lets_lower_ones_in),
        TEST(poll_acknowledges_without_a_vector),
        TEST(initialization_forgets_edges_and_masks),
        TEST(inputs_that_are_not_there_are_refused),
        TEST(state_brings_back_request_and_service),
    };
    return cmocka_run_group_tests_name("pic", tests, NULL, NULL);
}
