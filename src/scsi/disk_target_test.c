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

static void capacity_is_that_of_the_disk(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_int_equal(get_be32(f->data), FIXTURE_SIZE / 512 - 1);
    assert_int_equal(get_be32(f->data + 4), 512);
    assert_int_equal(f->command.transferred, 8);
    assert_true(fixture_read_cdb(f, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0));
    assert_int_equal(get_be64(f->data), FIXTURE_SIZE / 512 - 1);
    assert_int_equal(get_be32(f->data + 8), 512);
    assert_int_equal(f->data[14], 0x80); /* thin */
    assert_int_equal(f->command.transferred, 32);
}

static void capacity_is_cut_to_the_allocation_length(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0));
    assert_int_equal(f->command.transferred, 12);
    assert_true(fixture_read_cdb(f, 4, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0));
    assert_int_equal(f->command.transferred, 4);
}

static void what_is_written_is_read_by_all_sizes_of_cdb(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 1024; i++)
        f->data[i] = (uint8_t)(i / 4 + 1);
    assert_true(fixture_write_cdb(f, 1024, 0x2a, 0, 0, 0, 0, 5, 0, 0, 2, 0));
    assert_int_equal(f->command.transferred, 1024);
    assert_int_equal(f->disk->bytes[5 * 512 + 1023], 0);
    assert_int_equal(f->disk->bytes[5 * 512 + 1019], 255);
    memset(f->data, 0, 1024);
    assert_true(fixture_read_cdb(f, 1024, 0x08, 0, 0, 5, 2, 0));
    assert_int_equal(f->data[1019], 255);
    memset(f->data, 0, 1024);
    assert_true(fixture_read_cdb(f, 1024, 0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0));
    assert_int_equal(f->data[1019], 255);
    memset(f->data, 0, 1024);
    assert_true(fixture_read_cdb(f, 1024, 0xa8, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0));
    assert_int_equal(f->data[1019], 255);
    memset(f->data, 0, 1024);
    assert_true(fixture_read_cdb(f, 1024, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0));
    assert_int_equal(f->data[1019], 255);
    memset(f->data, 7, 512);
    assert_true(fixture_write_cdb(f, 512, 0x0a, 0, 0, 9, 1, 0));
    assert_int_equal(f->disk->bytes[9 * 512], 7);
    assert_true(fixture_write_cdb(f, 512, 0xaa, 0, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0));
    assert_int_equal(f->disk->bytes[10 * 512], 7);
    assert_true(fixture_write_cdb(f, 512, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0));
    assert_int_equal(f->disk->bytes[11 * 512], 7);
    assert_int_equal(f->disk->bytes[12 * 512], 0);
}

static void stopped_disk_is_not_ready_until_it_is_started(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 0, 0x00, 0, 0, 0, 0, 0));
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 0, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 1);
    assert_false(fixture_read_cdb(f, 0, 0x00, 0, 0, 0, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_START_NEEDED);
    assert_false(fixture_read_cdb(f, 512, 0x28, 0, 0, 0, 0, 5, 0, 0, 1, 0));
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 1, 0));
    assert_true(fixture_read_cdb(f, 0, 0x00, 0, 0, 0, 0, 0));
}

static void self_test_passes_and_other_diagnostics_are_unknown(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 0, 0x1d, 0x04, 0, 0, 0, 0));
    assert_false(fixture_write_cdb(f, 8, 0x1d, 0x10, 0, 0, 8, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
}

static void log_pages_are_none_but_their_list(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0));
    assert_int_equal(f->command.transferred, 5);
    assert_int_equal(get_be16(f->data + 2), 1);
    assert_false(fixture_read_cdb(f, 255, 0x4d, 0, 0x4d, 0, 0, 0, 0, 0, 255, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
}

static void reservations_are_granted(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 0, 0x16, 0, 0, 0, 0, 0));
    assert_true(fixture_read_cdb(f, 0, 0x17, 0, 0, 0, 0, 0));
    assert_true(fixture_read_cdb(f, 0, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_true(fixture_read_cdb(f, 0, 0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(capacity_is_that_of_the_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(capacity_is_cut_to_the_allocation_length, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_by_all_sizes_of_cdb, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(stopped_disk_is_not_ready_until_it_is_started, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(self_test_passes_and_other_diagnostics_are_unknown, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(log_pages_are_none_but_their_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reservations_are_granted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
