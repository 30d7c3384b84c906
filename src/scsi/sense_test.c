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

static void sense_is_of_fixed_format(void **state)
{
    struct fixture *f = *state;
    sense_set(&f->command, SENSE_WRITE_PROTECTED);
    assert_int_equal(f->command.status, SCSI_STATUS_CHECK_CONDITION);
    assert_int_equal(f->command.sense_length, 18);
    assert_int_equal(f->command.sense[0], 0x70);
    assert_int_equal(f->command.sense[2], 7);
    assert_int_equal(f->command.sense[7], 10);
    assert_int_equal(f->command.sense[12], 0x27);
    assert_int_equal(f->command.sense[13], 0);
    assert_int_equal(f->command.sense[15], 0);
}

static void field_pointer_names_byte_and_bit(void **state)
{
    struct fixture *f = *state;
    sense_set_cdb_field(&f->command, 7, -1);
    assert_int_equal(f->command.sense[15], 0xc0);
    assert_int_equal(get_be16(f->command.sense + 16), 7);
    sense_set_cdb_field(&f->command, 1, 4);
    assert_int_equal(f->command.sense[15], 0xcc);
    sense_set_list_field(&f->command, 0x123, 0);
    assert_int_equal(f->command.sense[15], 0x88);
    assert_int_equal(get_be16(f->command.sense + 16), 0x123);
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_LIST);
}

static void information_is_valid_when_it_fits(void **state)
{
    struct fixture *f = *state;
    sense_set_block(&f->command, SENSE_LBA_OUT_OF_RANGE, UINT32_MAX);
    assert_int_equal(f->command.sense[0], 0xf0);
    assert_int_equal(get_be32(f->command.sense + 3), UINT32_MAX);
    sense_set_block(&f->command, SENSE_LBA_OUT_OF_RANGE, UINT64_C(1) << 32);
    assert_int_equal(f->command.sense[0], 0x70);
    assert_int_equal(get_be32(f->command.sense + 3), 0);
}

static void errors_of_the_disk_have_their_sense(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int error;
        enum disk_op op;
        enum scsi_sense sense; /* SENSE_NONE: BUSY */
    } rows[] = {
        {-EIO, DISK_READ, SENSE_READ_ERROR},
        {-EIO, DISK_WRITE, SENSE_WRITE_ERROR},
        {-EIO, DISK_FLUSH, SENSE_WRITE_ERROR},
        {-EIO, DISK_UNMAP, SENSE_WRITE_ERROR},
        {-EROFS, DISK_WRITE, SENSE_WRITE_PROTECTED},
        {-ENOSPC, DISK_WRITE, SENSE_NO_SPACE},
        {-EDQUOT, DISK_WRITE, SENSE_NO_SPACE},
        {-EINVAL, DISK_READ, SENSE_INTERNAL_FAILURE},
        {-ENOMEM, DISK_READ, SENSE_NONE},
        {-EAGAIN, DISK_WRITE, SENSE_NONE},
        {-EBUSY, DISK_FLUSH, SENSE_NONE},
        {-EUCLEAN, DISK_READ, SENSE_READ_ERROR},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        f->command.status = SCSI_STATUS_GOOD;
        f->command.transferred = 5;
        f->command.disk.op = rows[i].op;
        sense_set_error(&f->command, rows[i].error);
        assert_int_equal(fixture_sense(f), rows[i].sense);
        assert_int_equal(f->command.transferred, 0);
        assert_int_equal(f->command.status == SCSI_STATUS_BUSY, rows[i].sense == SENSE_NONE);
        f->command.sense_length = 0;
    }
}

static void attentions_are_told_once_in_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(sense_take_attention(f->target), SENSE_NONE);
    scsi_capacity_changed(f->target);
    scsi_reset(f->target);
    scsi_reset(f->target);
    assert_int_equal(sense_take_attention(f->target), SENSE_RESET);
    assert_int_equal(sense_take_attention(f->target), SENSE_CAPACITY_CHANGED);
    assert_int_equal(sense_take_attention(f->target), SENSE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sense_is_of_fixed_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(field_pointer_names_byte_and_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(information_is_valid_when_it_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_of_the_disk_have_their_sense, set_up, tear_down),
        cmocka_unit_test_setup_teardown(attentions_are_told_once_in_order, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
