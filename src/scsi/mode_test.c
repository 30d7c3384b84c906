/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "tests/harness/scsi_fixture.h"

static int set_up(void **state)
{
    *state = fixture_open(512, "P-0001");
    return 0;
}

static int tear_down(void **state)
{
    fixture_close(*state);
    return 0;
}

static bool sense_6(struct fixture *f, uint8_t page)
{
    memset(f->data, 0xee, 256);
    return fixture_read_cdb(f, 255, 0x1a, 0x08, page, 0, 255, 0);
}

/* MODE SELECT (10) of the caching page with this byte 2. */
static bool set_caching(struct fixture *f, uint8_t byte)
{
    memset(f->data, 0, 28);
    f->data[8] = 0x08;
    f->data[9] = 18;
    f->data[10] = byte;
    return fixture_write_cdb(f, 28, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 28, 0);
}

static void caching_page_tells_of_the_write_cache(void **state)
{
    struct fixture *f = *state;
    assert_true(sense_6(f, 0x08));
    assert_int_equal(f->command.transferred, 4 + 20);
    assert_int_equal(f->data[0], 23);
    assert_int_equal(f->data[2], 0x10); /* FUA, not protected */
    assert_int_equal(f->data[3], 0);
    assert_int_equal(f->data[4], 0x08);
    assert_int_equal(f->data[5], 18);
    assert_int_equal(f->data[6], 0x04);
}

static void long_form_has_the_same_pages(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x5a, 0x08, 0x3f, 0, 0, 0, 0, 0, 255, 0));
    size_t length = f->command.transferred;
    assert_int_equal(get_be16(f->data), length - 2);
    assert_int_equal(f->data[3], 0x10);
    uint8_t pages[256];
    memcpy(pages, f->data + 8, length - 8);
    assert_true(sense_6(f, 0x3f));
    assert_int_equal(f->command.transferred, length - 4);
    assert_memory_equal(f->data + 4, pages, length - 8);
}

static void all_pages_come_in_order(void **state)
{
    struct fixture *f = *state;
    static const uint8_t codes[] = {0x01, 0x08, 0x0a, 0x1c};
    assert_true(sense_6(f, 0x3f));
    size_t at = 4;
    for (unsigned i = 0; i < sizeof(codes); i++, at += f->data[at + 1] + 2u)
        assert_int_equal(f->data[at], codes[i]);
    assert_int_equal(at, f->command.transferred);
}

static void block_descriptor_tells_of_the_medium(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x1a, 0, 0x08, 0, 255, 0));
    assert_int_equal(f->data[3], 8);
    assert_int_equal(get_be32(f->data + 4), FIXTURE_SIZE / 512);
    assert_int_equal(get_be24(f->data + 9), 512);
    assert_int_equal(f->data[12], 0x08);
}

static void changeable_values_are_the_write_cache_alone(void **state)
{
    struct fixture *f = *state;
    assert_true(sense_6(f, 0x40 | 0x3f));
    for (size_t at = 4; at < f->command.transferred; at += f->data[at + 1] + 2u) {
        for (unsigned i = 2; i < f->data[at + 1] + 2u; i++)
            assert_int_equal(f->data[at + i], f->data[at] == 0x08 && i == 2 ? 0x04 : 0);
    }
}

static void default_values_outlast_changes(void **state)
{
    struct fixture *f = *state;
    assert_true(set_caching(f, 0));
    assert_true(sense_6(f, 0x08));
    assert_int_equal(f->data[6], 0);
    assert_true(sense_6(f, 0x80 | 0x08));
    assert_int_equal(f->data[6], 0x04);
    assert_false(sense_6(f, 0xc0 | 0x08));
    assert_int_equal(fixture_sense(f), SENSE_SAVING_NOT_SUPPORTED);
}

static void unknown_pages_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_false(sense_6(f, 0x02));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_false(fixture_read_cdb(f, 255, 0x1a, 0x08, 0x08, 1, 255, 0)); /* subpage */
    assert_int_equal(f->command.sense[17], 3);
}

static void read_only_disk_is_write_protected(void **state)
{
    struct fixture *f = *state;
    f->disk->geometry.read_only = true;
    assert_true(sense_6(f, 0x3f));
    assert_int_equal(f->data[2], 0x90);
}

static void switching_the_cache_off_flushes_it(void **state)
{
    struct fixture *f = *state;
    assert_true(set_caching(f, 0x04));
    assert_int_equal(f->disk->count[DISK_FLUSH], 0);
    assert_true(set_caching(f, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 1);
    assert_true(fixture_write_cdb(f, 512, 0x2a, 0, 0, 0, 0, 5, 0, 0, 1, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 2); /* written through */
    assert_true(set_caching(f, 0x04));
    assert_true(fixture_write_cdb(f, 512, 0x2a, 0, 0, 0, 0, 5, 0, 0, 1, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 2);
}

static void select_of_what_was_sensed_changes_nothing(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0));
    uint8_t length = (uint8_t)f->command.transferred;
    f->data[0] = f->data[1] = 0;
    assert_true(fixture_write_cdb(f, length, 0x55, 0x10, 0, 0, 0, 0, 0, 0, length, 0));
    assert_int_equal(f->command.transferred, length);
    assert_true(sense_6(f, 0x08));
    uint8_t short_length = (uint8_t)f->command.transferred;
    f->data[0] = 0;
    assert_true(fixture_write_cdb(f, short_length, 0x15, 0x10, 0, 0, short_length, 0));
    assert_true(fixture_write_cdb(f, 0, 0x15, 0x10, 0, 0, 0, 0));
}

static void nothing_is_changed_by_a_list_with_a_fault(void **state)
{
    struct fixture *f = *state;
    assert_false(set_caching(f, 0x01)); /* RCD cannot be set */
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_LIST);
    assert_int_equal(f->command.sense[15], 0x80);
    assert_int_equal(f->command.sense[17], 10);
    memset(f->data, 0, 64);
    f->data[8] = 0x08; /* the cache is switched off, then comes a page of no such length */
    f->data[9] = 18;
    f->data[28] = 0x0a;
    f->data[29] = 9;
    assert_false(fixture_write_cdb(f, 40, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 40, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_LIST);
    assert_int_equal(f->command.sense[17], 29);
    assert_true(sense_6(f, 0x08));
    assert_int_equal(f->data[6], 0x04);
}

static void lists_of_wrong_length_are_refused(void **state)
{
    struct fixture *f = *state;
    memset(f->data, 0, 64);
    f->data[8] = 0x08;
    f->data[9] = 18;
    for (uint8_t length = 1; length < 28; length++) {
        bool whole = fixture_write_cdb(f, length, 0x55, 0x10, 0, 0, 0, 0, 0, 0, length, 0);
        assert_int_equal(whole, length == 8);
    }
    assert_false(fixture_write_cdb(f, 20, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 28, 0));
    assert_int_equal(fixture_sense(f), SENSE_PARAMETER_LIST_LENGTH);
    assert_false(fixture_write_cdb(f, 300, 0x55, 0x10, 0, 0, 0, 0, 0, 1, 44, 0));
    assert_false(fixture_write_cdb(f, 28, 0x55, 0x11, 0, 0, 0, 0, 0, 0, 28, 0)); /* SP */
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    f->data[7] = 8; /* a block descriptor that says 0 bytes */
    assert_false(fixture_write_cdb(f, 16, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 16, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_LIST);
    f->data[7] = 9;
    assert_false(fixture_write_cdb(f, 17, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 17, 0));
    f->data[7] = 8;
    assert_false(fixture_write_cdb(f, 12, 0x55, 0x10, 0, 0, 0, 0, 0, 0, 12, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(caching_page_tells_of_the_write_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_form_has_the_same_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_pages_come_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(block_descriptor_tells_of_the_medium, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changeable_values_are_the_write_cache_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(default_values_outlast_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_pages_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(read_only_disk_is_write_protected, set_up, tear_down),
        cmocka_unit_test_setup_teardown(switching_the_cache_off_flushes_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(select_of_what_was_sensed_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_changed_by_a_list_with_a_fault, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lists_of_wrong_length_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
