/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>

#include "tests/harness/storvsc_guest.h"

static int set_up(void **state)
{
    struct guest *g = guest_create(0);
    guest_connect(g, STORVSP_VERSION_6_2);
    *state = g;
    return 0;
}

static int tear_down(void **state)
{
    guest_destroy(*state);
    return 0;
}

static uint8_t *memory(struct guest *g, uint64_t gpa)
{
    return mem_pin(g->mem, gpa, 4096);
}

static struct guest_command inquiry(uint8_t path, uint8_t target, uint8_t lun)
{
    return (struct guest_command){.id = 7,
                                  .path = path,
                                  .target = target,
                                  .lun = lun,
                                  .cdb = {0x12, 0, 0, 0, 36},
                                  .cdb_length = 6,
                                  .data_in = STORVSP_DATA_IN,
                                  .length = 36,
                                  .gpa = 0x10000};
}

/* What scsi_scan_host makes of the answers, for all channels and targets that storvsc has. */
static void scan_finds_the_units_and_no_phantoms(void **state)
{
    struct guest *g = *state;
    for (unsigned at = 0; at < 8 * 2; at++) {
        struct guest_command command = inquiry((uint8_t)(at / 2), at % 2, 0);
        assert_int_equal(guest_execute(g, &command), SRB_STATUS_SUCCESS);
        assert_int_equal(guest_transferred(g), 36);
        const uint8_t *data = memory(g, 0x10000);
        assert_int_equal(data[0], at == 0 ? 0 : 0x7f);
        assert_int_equal(data[2], 6); /* else REPORT LUNS is not asked for */
        if (at == 0)
            assert_memory_equal(data + 8, "Msft    Virtual Disk    ", 24);
        struct guest_command report = {.id = 8,
                                       .path = (uint8_t)(at / 2),
                                       .target = at % 2,
                                       .cdb = {0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 0},
                                       .cdb_length = 12,
                                       .data_in = STORVSP_DATA_IN,
                                       .length = 512,
                                       .gpa = 0x11000};
        assert_int_equal(guest_execute(g, &report), SRB_STATUS_SUCCESS);
        data = memory(g, 0x11000);
        assert_int_equal(data[3], at == 0 ? 16 : 0);
        assert_int_equal(guest_transferred(g), at == 0 ? 24 : 8);
        if (at == 0) {
            assert_int_equal(data[9], 0);
            assert_int_equal(data[17], 2);
        }
    }
}

static void report_luns_works_when_unit_0_is_absent(void **state)
{
    struct guest *g = *state;
    assert_int_equal(storvsp_remove(g->storvsp, 0, guest_removed, g), 0);
    assert_true(guest_take(g, 0)); /* ENUMERATE_BUS */
    struct guest_command command = inquiry(0, 0, 0);
    assert_int_equal(guest_execute(g, &command), SRB_STATUS_SUCCESS);
    assert_int_equal(*memory(g, 0x10000), 0x7f);
    memcpy(command.cdb, (const uint8_t[12]){0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 36}, 12);
    command.cdb_length = 12;
    assert_int_equal(guest_execute(g, &command), SRB_STATUS_SUCCESS);
    assert_int_equal(memory(g, 0x10000)[3], 8);
    assert_int_equal(memory(g, 0x10000)[9], 2);
}

static void commands_to_absent_units_say_invalid_lun(void **state)
{
    struct guest *g = *state;
    static const uint8_t luns[] = {1, 3, 63, 64, 254, 255};
    for (unsigned i = 0; i < sizeof(luns); i++) {
        assert_int_equal(guest_test_ready(g, luns[i]), SRB_STATUS_INVALID_LUN);
        assert_int_equal(g->answer.payload[STORVSP_AT_SCSI_STATUS], 0);
        assert_int_equal(guest_transferred(g), 0);
        struct guest_command read = guest_move(luns[i], false, 0, 8, 0x20000);
        assert_int_equal(guest_execute(g, &read), SRB_STATUS_INVALID_LUN);
    }
    struct guest_command elsewhere = {.id = 1, .path = 1, .cdb_length = 6};
    assert_int_equal(guest_execute(g, &elsewhere), SRB_STATUS_INVALID_LUN);
    elsewhere.path = 0;
    elsewhere.target = 1;
    assert_int_equal(guest_execute(g, &elsewhere), SRB_STATUS_INVALID_LUN);
}

static void data_goes_between_guest_memory_and_disk(void **state)
{
    struct guest *g = *state;
    memset(memory(g, 0x20000), 0x5a, 4096);
    struct guest_command write = guest_move(2, true, 16, 8, 0x20000);
    assert_int_equal(guest_execute(g, &write), SRB_STATUS_SUCCESS);
    assert_int_equal(guest_transferred(g), 4096);
    assert_int_equal(g->disk[2]->bytes[16 * 512 + 4095], 0x5a);
    assert_int_equal(g->disk[0]->bytes[16 * 512], 0);
    struct guest_command read = guest_move(2, false, 16, 8, 0x30000);
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_SUCCESS);
    assert_int_equal(memory(g, 0x30000)[4095], 0x5a);
    assert_int_equal(g->answer.length, 64);
}

static void scattered_and_unaligned_buffers_are_filled_in_order(void **state)
{
    struct guest *g = *state;
    for (unsigned i = 0; i < 4096; i++)
        g->disk[0]->bytes[i] = (uint8_t)(i % 251);
    const struct vmbus_segment segments[] = {
        {0x20000 + 4092, 4}, {0x50000, 1000}, {0x40004, 5000}, {0x60000, 100}};
    struct guest_command read = guest_move(0, false, 0, 8, 0);
    read.segment = segments;
    read.segment_count = 4;
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_SUCCESS);
    assert_memory_equal(memory(g, 0x20000) + 4092, g->disk[0]->bytes, 4);
    assert_memory_equal(memory(g, 0x50000), g->disk[0]->bytes + 4, 1000);
    assert_memory_equal(mem_pin(g->mem, 0x40004, 3092), g->disk[0]->bytes + 1004, 3092);
    assert_int_equal(*(uint8_t *)mem_pin(g->mem, 0x40004 + 3092, 1), 0);
}

static void largest_transfer_has_room_for_every_page_apart(void **state)
{
    struct guest *g = *state;
    struct vmbus_segment segments[258];
    for (unsigned i = 0; i < 258; i++)
        segments[i] = (struct vmbus_segment){0x200000 + i * UINT64_C(0x2000), 4096};
    segments[0].gpa += 512;
    segments[0].length -= 512;
    struct guest_command read = guest_move(0, false, 0, 2048, 0);
    read.segment = segments;
    read.segment_count = 257;
    memset(g->disk[0]->bytes, 0x77, 1 << 20);
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_SUCCESS);
    assert_int_equal(guest_transferred(g), 1 << 20);
    assert_int_equal(memory(g, segments[256].gpa)[511], 0x77);
    assert_int_equal(memory(g, segments[256].gpa)[512], 0);
    segments[1].length = 256; /* one piece too many is needed now */
    read.segment_count = 258;
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_INVALID_REQUEST);
}

static unsigned observed;

static void observe(void *owner, uint64_t gpa, uint64_t length)
{
    (void)owner;
    assert_int_equal(gpa, 0x20000);
    observed += (unsigned)length;
}

static void memory_hears_of_what_reads_have_written(void **state)
{
    struct guest *g = *state;
    observed = 0;
    mem_set_observer(g->mem, observe, NULL);
    struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_SUCCESS);
    assert_int_equal(observed, 4096);
    struct guest_command write = guest_move(0, true, 0, 8, 0x20000);
    assert_int_equal(guest_execute(g, &write), SRB_STATUS_SUCCESS);
    assert_int_equal(observed, 4096);
    g->disk[0]->fail[DISK_READ] = -EIO; /* some of it may be there */
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    assert_int_equal(observed, 8192);
}

static void errors_carry_their_sense(void **state)
{
    struct guest *g = *state;
    struct guest_command read = guest_move(0, false, GUEST_DISK / 512, 1, 0x20000);
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    assert_int_equal(g->answer.payload[STORVSP_AT_SCSI_STATUS], SCSI_STATUS_CHECK_CONDITION);
    assert_int_equal(g->answer.payload[STORVSP_AT_SENSE_LENGTH], 18);
    const uint8_t *sense = g->answer.payload + STORVSP_AT_CDB;
    assert_int_equal(sense[0] & 0x7f, 0x70);
    assert_int_equal(sense[2], 5);
    assert_int_equal(sense[12], 0x21);
    assert_int_equal(sense[18], 0);
    assert_int_equal(guest_transferred(g), 0);
    assert_int_equal(guest_status(g), NT_IO_DEVICE_ERROR);
    g->disk[0]->fail[DISK_READ] = -EBUSY;
    read = guest_move(0, false, 0, 1, 0x20000);
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_BUSY);
    assert_int_equal(g->answer.payload[STORVSP_AT_SCSI_STATUS], SCSI_STATUS_BUSY);
}

/* Put a byte into an otherwise good READ, and send it. */
static uint8_t execute_with(struct guest *g, unsigned at, uint8_t value)
{
    struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
    struct fake_packet packet;
    struct vmbus_segment one;
    guest_make_srb(&read, &packet, &one);
    packet.payload[at] = value;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    fake_guest_signal(guest_channel(g, 0));
    assert_true(guest_take(g, 0));
    return g->answer.payload[STORVSP_AT_SRB_STATUS];
}

static void malformed_requests_are_refused(void **state)
{
    struct guest *g = *state;
    assert_int_equal(execute_with(g, STORVSP_AT_SRB_LENGTH, 52), SRB_STATUS_SUCCESS);
    assert_int_equal(execute_with(g, STORVSP_AT_SRB_LENGTH, 36), SRB_STATUS_SUCCESS);
    assert_int_equal(execute_with(g, STORVSP_AT_SRB_LENGTH, 35), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(execute_with(g, STORVSP_AT_SRB_LENGTH, 53), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(execute_with(g, STORVSP_AT_CDB_LENGTH, 0), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(execute_with(g, STORVSP_AT_CDB_LENGTH, 17), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(execute_with(g, STORVSP_AT_DATA_IN, 2), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(execute_with(g, STORVSP_AT_DATA_IN, 3), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(execute_with(g, STORVSP_AT_DATA_LENGTH + 1, 0x11),
                     SRB_STATUS_INVALID_REQUEST); /* more than the segments hold */
    assert_int_equal(execute_with(g, STORVSP_AT_DATA_LENGTH + 2, 0x11),
                     SRB_STATUS_INVALID_REQUEST); /* more than may be asked for */
    assert_int_equal(guest_status(g), NT_INVALID_PARAMETER);
    assert_int_equal(guest_transferred(g), 0);
    /* A buffer that is longer than the command needs is not. */
    assert_int_equal(execute_with(g, STORVSP_AT_CDB + 8, 4), SRB_STATUS_SUCCESS);
    assert_int_equal(guest_transferred(g), 2048);
    /* One that is shorter is the command's fault, which its sense explains. */
    assert_int_equal(execute_with(g, STORVSP_AT_CDB + 8, 9),
                     SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    /* Behind the sense there is nothing of what was sent. */
    assert_int_equal(execute_with(g, STORVSP_AT_CDB + 18, 9), SRB_STATUS_SUCCESS);
    g->disk[0]->fail[DISK_READ] = -EIO;
    assert_int_equal(execute_with(g, STORVSP_AT_CDB + 18, 9),
                     SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    assert_int_equal(g->answer.payload[STORVSP_AT_CDB + 18], 0);
    /* Nor does a read go where a write's data lies. */
    assert_int_equal(execute_with(g, STORVSP_AT_DATA_IN, STORVSP_DATA_OUT),
                     SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
}

static void buffer_outside_memory_is_refused(void **state)
{
    struct guest *g = *state;
    struct guest_command read = guest_move(0, false, 0, 8, GUEST_MEMORY - 2048);
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_INVALID_REQUEST);
    read.gpa = UINT64_MAX - 100;
    assert_int_equal(guest_execute(g, &read), SRB_STATUS_INVALID_REQUEST);
    const struct vmbus_segment empty[2] = {{0x20000, 0}, {0x21000, 4096}};
    read.segment = empty;
    read.segment_count = 2;
    assert_int_not_equal(guest_execute(g, &read), 0);
}

static void packets_of_old_versions_are_shorter(void **state)
{
    struct guest *g = *state;
    struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
    struct fake_packet packet;
    struct vmbus_segment one;
    guest_make_srb(&read, &packet, &one);
    packet.length = 48;
    put_le16(packet.payload + STORVSP_AT_SRB_LENGTH, 36);
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    packet.length = 47;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    fake_guest_signal(guest_channel(g, 0));
    assert_true(guest_take(g, 0));
    assert_int_equal(g->answer.length, 48);
    assert_int_equal(g->answer.payload[STORVSP_AT_SRB_STATUS], SRB_STATUS_SUCCESS);
    assert_true(guest_take(g, 0));
    assert_int_equal(g->answer.payload[STORVSP_AT_SRB_STATUS], SRB_STATUS_INVALID_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(scan_finds_the_units_and_no_phantoms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(report_luns_works_when_unit_0_is_absent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(commands_to_absent_units_say_invalid_lun, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(data_goes_between_guest_memory_and_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scattered_and_unaligned_buffers_are_filled_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(largest_transfer_has_room_for_every_page_apart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(memory_hears_of_what_reads_have_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_carry_their_sense, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_requests_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buffer_outside_memory_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packets_of_old_versions_are_shorter, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
