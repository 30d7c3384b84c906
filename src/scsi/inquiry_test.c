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

static bool page(struct fixture *f, uint8_t code)
{
    memset(f->data, 0xee, 256);
    return fixture_read_cdb(f, 255, 0x12, 1, code, 0, 255, 0);
}

static void standard_data_names_a_disk_of_hyper_v(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x12, 0, 0, 0, 255, 0));
    assert_int_equal(f->command.transferred, 74);
    assert_int_equal(f->data[0], 0);
    assert_int_equal(f->data[1], 0);
    assert_int_equal(f->data[4], 69);
    assert_int_equal(f->data[7] & 2, 2); /* queues */
    assert_memory_equal(f->data + 8, "Msft    Virtual Disk    1.0 ", 28);
}

static void standard_data_is_cut_to_the_allocation_length(void **state)
{
    struct fixture *f = *state;
    memset(f->data, 0xee, 64);
    assert_true(fixture_read_cdb(f, 255, 0x12, 0, 0, 0, 36, 0));
    assert_int_equal(f->command.transferred, 36);
    assert_int_equal(f->data[36], 0xee);
    assert_true(fixture_read_cdb(f, 0, 0x12, 0, 0, 0, 0, 0));
    assert_int_equal(f->command.transferred, 0);
}

static void page_without_evpd_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_read_cdb(f, 255, 0x12, 0, 0x80, 0, 255, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_int_equal(f->command.sense[15], 0xc0);
    assert_int_equal(f->command.sense[17], 2);
}

static void supported_pages_are_those_that_answer(void **state)
{
    struct fixture *f = *state;
    static const uint8_t expected[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
    uint8_t list[16];
    assert_true(page(f, 0));
    assert_int_equal(get_be16(f->data + 2), sizeof(expected));
    assert_memory_equal(f->data + 4, expected, sizeof(expected));
    memcpy(list, f->data + 4, sizeof(expected));
    for (unsigned code = 0, at = 0; code < 256; code++) {
        bool listed = at < sizeof(expected) && list[at] == code;
        at += listed;
        assert_int_equal(page(f, (uint8_t)code), listed);
        if (listed) {
            assert_int_equal(f->data[1], code);
            assert_int_equal(f->command.transferred, 4 + get_be16(f->data + 2));
        }
    }
}

static void serial_and_designators_come_from_the_identity(void **state)
{
    struct fixture *f = *state;
    assert_true(page(f, 0x80));
    assert_int_equal(f->command.transferred, 4 + 6);
    assert_memory_equal(f->data + 4, "P-0001", 6);
    assert_true(page(f, 0x83));
    assert_int_equal(f->data[4], 1); /* binary */
    assert_int_equal(f->data[5], 3); /* NAA */
    assert_int_equal(f->data[7], 8);
    assert_int_equal(f->data[8] >> 4, 3); /* locally assigned */
    assert_int_equal(f->data[16], 2);     /* ASCII */
    assert_int_equal(f->data[17], 1);     /* T10 vendor id */
    assert_memory_equal(f->data + 20, "Msft    P-0001", 14);
}

static void disk_id_names_the_unit_the_same_each_time(void **state)
{
    struct fixture *f = *state;
    uint8_t first[64];
    for (unsigned i = 0; i < 16; i++)
        f->disk->geometry.id[i] = (uint8_t)(0xa0 + i * 7);
    for (unsigned i = 0; i < 2; i++) {
        scsi_destroy(f->target);
        assert_int_equal(scsi_disk_create(f->disk, NULL, &f->target), 0);
        assert_true(page(f, 0x80));
        assert_int_equal(f->command.transferred, 4 + 32);
        assert_memory_equal(f->data + 4, "a0a7aeb5bcc3cad1d8dfe6edf4fb0209", 32);
        assert_true(page(f, 0x83));
        if (i == 0)
            memcpy(first, f->data, sizeof(first));
    }
    assert_memory_equal(f->data, first, sizeof(first));
    assert_int_equal(f->data[8] >> 4, 3);
}

static void given_wwn_is_used_as_it_is(void **state)
{
    struct fixture *f = *state;
    const struct scsi_identity identity = {"x", {0x50, 1, 2, 3, 4, 5, 6, 7}};
    scsi_destroy(f->target);
    assert_int_equal(scsi_disk_create(f->disk, &identity, &f->target), 0);
    assert_true(page(f, 0x83));
    assert_memory_equal(f->data + 8, identity.wwn, 8);
}

static void nameless_unit_claims_no_names(void **state)
{
    struct fixture *f = *state;
    scsi_destroy(f->target);
    assert_int_equal(scsi_disk_create(f->disk, NULL, &f->target), 0);
    assert_false(page(f, 0x80));
    assert_false(page(f, 0x83));
    assert_true(page(f, 0x00));
    assert_int_equal(get_be16(f->data + 2), 4);
}

static void limits_are_in_blocks(void **state)
{
    struct fixture *f = *state;
    assert_true(page(f, 0xb0));
    assert_int_equal(f->command.transferred, 64);
    assert_int_equal(f->data[4], 1);
    assert_int_equal(get_be16(f->data + 6), 8);
    assert_int_equal(get_be32(f->data + 8), 65536);
    assert_int_equal(get_be32(f->data + 12), 2048);
    assert_int_equal(get_be32(f->data + 20), 8 << 20);
    assert_int_equal(get_be32(f->data + 24), 256);
    assert_int_equal(get_be32(f->data + 28), 8);
    assert_int_equal(get_be32(f->data + 32), 0x80000000);
    assert_int_equal(get_be64(f->data + 36), 65536);
    assert_true(page(f, 0xb1));
    assert_int_equal(get_be16(f->data + 4), 1); /* does not rotate */
    assert_true(page(f, 0xb2));
    assert_int_equal(f->data[5], 0xe0);
    assert_int_equal(f->data[6], 2);
}

static void limits_of_4096_byte_sectors(void **state)
{
    struct fixture *f = fixture_open(4096, "4k");
    (void)state;
    assert_true(page(f, 0xb0));
    assert_int_equal(get_be16(f->data + 6), 1);
    assert_int_equal(get_be32(f->data + 8), 8192);
    assert_int_equal(get_be32(f->data + 28), 1);
    fixture_close(f);
}

static void long_serial_is_refused(void **state)
{
    struct fixture *f = *state;
    struct scsi_target *none = NULL;
    struct scsi_identity identity = {.serial = "123456789012345678901234567890123"};
    assert_int_equal(scsi_disk_create(f->disk, &identity, &none), -EINVAL);
    identity.serial++;
    assert_int_equal(scsi_disk_create(f->disk, &identity, &none), 0);
    scsi_destroy(none);
}

static void absent_unit_has_standard_data_only(void **state)
{
    struct fixture *f = *state;
    struct scsi_command *c = &f->command;
    (void)fixture_read_cdb(f, 36, 0x12, 0, 0, 0, 36, 0);
    scsi_submit_absent(c);
    assert_int_equal(c->status, SCSI_STATUS_GOOD);
    assert_int_equal(f->data[0], 0x7f);
    c->cdb[1] = 1;
    scsi_submit_absent(c);
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    c->cdb[0] = 0x28;
    scsi_submit_absent(c);
    assert_int_equal(fixture_sense(f), SENSE_NO_SUCH_UNIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(standard_data_names_a_disk_of_hyper_v, set_up, tear_down),
        cmocka_unit_test_setup_teardown(standard_data_is_cut_to_the_allocation_length, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(page_without_evpd_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(supported_pages_are_those_that_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(serial_and_designators_come_from_the_identity, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(disk_id_names_the_unit_the_same_each_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(given_wwn_is_used_as_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nameless_unit_claims_no_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_are_in_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_of_4096_byte_sectors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_serial_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(absent_unit_has_standard_data_only, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
