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

static void addresses_and_lengths_are_where_each_size_has_them(void **state)
{
    static const uint8_t bytes[16] = {0x80, 0xe1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const uint8_t zero_blocks[6] = {8, 0x1f, 0xff, 0xff, 0, 0};
    struct scsi_cdb cdb = {0};
    (void)state;
    cdb_decode_block_6(bytes, &cdb);
    assert_int_equal(cdb.lba, 0x010203);
    assert_int_equal(cdb.blocks, 4);
    cdb_decode_block_6(zero_blocks, &cdb);
    assert_int_equal(cdb.lba, 0x1fffff);
    assert_int_equal(cdb.blocks, 256);
    cdb_decode_block_10(bytes, &cdb);
    assert_int_equal(cdb.lba, 0x02030405);
    assert_int_equal(cdb.blocks, 0x0708);
    cdb_decode_block_12(bytes, &cdb);
    assert_int_equal(cdb.lba, 0x02030405);
    assert_int_equal(cdb.blocks, 0x06070809);
    cdb_decode_block_16(bytes, &cdb);
    assert_true(cdb.lba == UINT64_C(0x0203040506070809));
    assert_int_equal(cdb.blocks, 0x0a0b0c0d);
    cdb_decode_length_6(bytes, &cdb);
    assert_int_equal(cdb.length, 4);
    cdb_decode_length_3(bytes, &cdb);
    assert_int_equal(cdb.length, 0x0304);
    cdb_decode_length_10(bytes, &cdb);
    assert_int_equal(cdb.length, 0x0708);
    cdb_decode_length_12(bytes, &cdb);
    assert_int_equal(cdb.length, 0x06070809);
    cdb_decode_length_16(bytes, &cdb);
    assert_int_equal(cdb.length, 0x0a0b0c0d);
}

static void unknown_opcodes_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_read_cdb(f, 0, 0xff, 0, 0, 0, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_UNKNOWN_OPCODE);
    /* Too short for its opcode. */
    assert_false(fixture_read_cdb(f, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1));
    assert_int_equal(f->disk->count[DISK_READ], 0);
    assert_int_equal(fixture_sense(f), SENSE_UNKNOWN_OPCODE);
    assert_false(fixture_read_cdb(f, 32, 0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_int_equal(f->command.sense[17], 1);
}

static void reserved_bits_are_pointed_to(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_read_cdb(f, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 1, 0)); /* PMI */
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_int_equal(f->command.sense[15], 0xc8);
    assert_int_equal(f->command.sense[17], 8);
    assert_false(fixture_read_cdb(f, 512, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0)); /* RDPROTECT */
    assert_int_equal(f->command.sense[15], 0xcd);
    assert_int_equal(f->command.sense[17], 1);
    assert_false(fixture_read_cdb(f, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0x04)); /* NACA */
    assert_int_equal(f->command.sense[17], 9);
}

static void every_opcode_of_a_table_reports_itself(void **state)
{
    struct fixture *f = *state;
    const struct scsi_opcodes *opcodes = &f->target->kind->opcodes;
    assert_true(fixture_read_cdb(f, 2048, 0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0));
    assert_int_equal(get_be32(f->data), opcodes->count * 8);
    assert_int_equal(f->command.transferred, 4 + opcodes->count * 8);
    for (size_t i = 0; i < opcodes->count; i++)
        assert_int_equal(f->data[4 + 8 * i], opcodes->row[i].code);
    assert_true(fixture_read_cdb(f, 2048, 0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 8, 0, 0, 0));
    assert_int_equal(get_be32(f->data), opcodes->count * 20); /* with time-outs */
    for (size_t i = 0; i < opcodes->count; i++) {
        const struct scsi_opcode *row = &opcodes->row[i];
        uint8_t action = row->action < 0 ? 0 : (uint8_t)row->action;
        assert_true(
            fixture_read_cdb(f, 64, 0xa3, 0x0c, 3, row->code, 0, action, 0, 0, 0, 64, 0, 0));
        assert_int_equal(f->data[1], 3);
        assert_int_equal(get_be16(f->data + 2), row->length);
        assert_int_equal(f->data[4], row->code);
        assert_int_equal(f->command.transferred, 4 + row->length);
    }
}

static void single_reports_distinguish_service_actions(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 64, 0xa3, 0x0c, 1, 0x93, 0, 0, 0, 0, 0, 64, 0, 0));
    assert_int_equal(f->data[1], 3);
    assert_true(fixture_read_cdb(f, 64, 0xa3, 0x0c, 1, 0xf0, 0, 0, 0, 0, 0, 64, 0, 0));
    assert_int_equal(f->data[1], 1);
    assert_int_equal(f->command.transferred, 4);
    assert_false(fixture_read_cdb(f, 64, 0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 0, 64, 0, 0));
    assert_true(fixture_read_cdb(f, 64, 0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 0, 64, 0, 0));
    assert_int_equal(f->data[1], 3);
    assert_int_equal(f->data[5] & 0x1f, 0x10);
    assert_true(fixture_read_cdb(f, 64, 0xa3, 0x0c, 2, 0x9e, 0, 0x12, 0, 0, 0, 64, 0, 0));
    assert_int_equal(f->data[1], 3);
    assert_int_equal(f->data[6], 0xff); /* a block */
    assert_true(fixture_read_cdb(f, 64, 0xa3, 0x0c, 2, 0x9e, 1, 0x10, 0, 0, 0, 64, 0, 0));
    assert_int_equal(f->data[1], 1);
    assert_false(fixture_read_cdb(f, 64, 0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 0, 64, 0, 0));
    assert_false(fixture_read_cdb(f, 64, 0xa3, 0x0c, 4, 0x28, 0, 0, 0, 0, 0, 64, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(addresses_and_lengths_are_where_each_size_has_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(unknown_opcodes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reserved_bits_are_pointed_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_opcode_of_a_table_reports_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(single_reports_distinguish_service_actions, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
