#include "firmware/bios.h"

#include "firmware/boot_fixture.h"

/* Where a vector leads to. */
static const uint8_t *handler(const struct fixture *f, unsigned vector)
{
    const uint8_t *at = fixture_at(f, (uint64_t)vector * 4, 4);
    return fixture_at(f, (uint64_t)get_le16(at + 2) * 16 + get_le16(at), 16);
}

static void interrupts_return(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bios_write(f->mem), 0);
    assert_memory_equal(handler(f, 0), "\xcf", 1);
    assert_memory_equal(handler(f, 0x10), "\xcf", 1);
    assert_memory_equal(handler(f, 0xff), "\xcf", 1);
}

static void what_the_8259_asks_is_dismissed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bios_write(f->mem), 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_memory_equal(handler(f, 0x08 + i), "\x50\xb0\x20\xe6\x20\x58\xcf", 7);
        assert_memory_equal(handler(f, 0x70 + i), "\x50\xb0\x20\xe6\xa0\xe6\x20\x58\xcf", 9);
    }
}

static void data_area_names_com1_and_low_memory(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bios_write(f->mem), 0);
    assert_int_equal(get_le16(fixture_at(f, 0x400, 2)), 0x3f8);
    assert_int_equal(get_le16(fixture_at(f, 0x40e, 2)), 0x9fc0);
    assert_int_equal(get_le16(fixture_at(f, 0x413, 2)), 639);
    assert_int_equal(*fixture_at(f, 0x9fc00, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(interrupts_return),
        fixture_test(what_the_8259_asks_is_dismissed),
        fixture_test(data_area_names_com1_and_low_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
