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
    *state = fixture_open_dvd(true);
    return 0;
}

static int set_up_empty(void **state)
{
    *state = fixture_open_dvd(false);
    return 0;
}

static int tear_down(void **state)
{
    fixture_close(*state);
    return 0;
}

static void note_released(void *owner, struct disk *medium)
{
    struct fixture *f = owner;
    assert_ptr_equal(medium, f->disk);
    f->released++;
}

static void note_nothing(void *owner, struct disk *medium)
{
    (void)owner;
    (void)medium;
}

static int insert(struct fixture *f, struct disk *medium)
{
    return scsi_dvd_insert(f->target, medium, note_released, f);
}

static bool test_ready(struct fixture *f)
{
    return fixture_read_cdb(f, 0, 0x00, 0, 0, 0, 0, 0);
}

/* GET EVENT STATUS NOTIFICATION of the media class: its event, and status in the second byte. */
static unsigned poll_media(struct fixture *f)
{
    assert_true(fixture_read_cdb(f, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0));
    assert_int_equal(f->data[2], 4);
    return (unsigned)(f->data[4] | f->data[5] << 8);
}

static void drive_is_a_removable_dvd_rom(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 96, 0x12, 0, 0, 0, 96, 0));
    assert_int_equal(f->data[0], 5);
    assert_int_equal(f->data[1], 0x80);
    assert_int_equal(f->data[2], 0);
    assert_int_equal(f->data[3], 2);
    assert_int_equal(f->data[4] + 5, 36);
    assert_int_equal(f->command.transferred, 36);
    assert_memory_equal(f->data + 8, "Msft    Virtual DVD-ROM 1.0 ", 28);
    assert_true(fixture_read_cdb(f, 96, 0x12, 1, 0, 0, 96, 0));
    assert_int_equal(get_be16(f->data + 2), 1); /* no names, no limits */
}

static void blocks_are_of_2048_bytes(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_int_equal(get_be32(f->data), FIXTURE_SIZE / 2048 - 1);
    assert_int_equal(get_be32(f->data + 4), 2048);
    memset(f->disk->bytes + 5 * 2048, 0x33, 4096);
    assert_true(fixture_read_cdb(f, 4096, 0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0));
    assert_int_equal(f->command.transferred, 4096);
    assert_int_equal(f->data[4095], 0x33);
    assert_true(fixture_read_cdb(f, 4096, 0xa8, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0));
    assert_false(fixture_read_cdb(f, 4096, 0x28, 0, 0, 0, 0x07, 0xff, 0, 0, 2, 0));
    assert_int_equal(fixture_sense(f), SENSE_LBA_OUT_OF_RANGE);
}

static void discs_cannot_be_written(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_write_cdb(f, 2048, 0x2a, 0, 0, 0, 0, 5, 0, 0, 1, 0));
    assert_int_equal(fixture_sense(f), SENSE_UNKNOWN_OPCODE);
}

static void ata_pass_through_is_unknown(void **state)
{
    struct fixture *f = *state;
    assert_false(
        fixture_read_cdb(f, 512, 0x85, 0x08, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xa1, 0));
    assert_int_equal(fixture_sense(f), SENSE_UNKNOWN_OPCODE);
    assert_false(fixture_read_cdb(f, 512, 0xa1, 0x08, 0x0e, 1, 0, 0, 0, 0, 0, 0xa1, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_UNKNOWN_OPCODE);
    assert_true(test_ready(f));
}

static void table_of_contents_has_one_track(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 64, 0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0));
    assert_int_equal(f->command.transferred, 20);
    assert_int_equal(get_be16(f->data), 18);
    assert_int_equal(f->data[2], 1);
    assert_int_equal(f->data[3], 1);
    assert_int_equal(f->data[6], 1);
    assert_int_equal(get_be32(f->data + 8), 0);
    assert_int_equal(f->data[14], 0xaa);
    assert_int_equal(get_be32(f->data + 16), FIXTURE_SIZE / 2048);
    assert_true(fixture_read_cdb(f, 64, 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 64, 0)); /* MSF, lead-out */
    assert_int_equal(f->command.transferred, 12);
    assert_int_equal(f->data[9], 0);
    assert_int_equal(f->data[10], 29); /* (2048 + 150) / 75 */
    assert_int_equal(f->data[11], 23);
    assert_true(fixture_read_cdb(f, 64, 0x43, 0, 1, 0, 0, 0, 0, 0, 64, 0)); /* sessions */
    assert_int_equal(f->command.transferred, 12);
    assert_true(fixture_read_cdb(f, 64, 0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0x40)); /* as of old */
    assert_int_equal(f->command.transferred, 12);
    assert_false(fixture_read_cdb(f, 64, 0x43, 0, 0, 0, 0, 0, 2, 0, 64, 0));
    assert_false(fixture_read_cdb(f, 64, 0x43, 0, 2, 0, 0, 0, 0, 0, 64, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
}

static void configuration_follows_the_disc(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x46, 0, 0, 0, 0, 0, 0, 0, 255, 0));
    assert_int_equal(get_be32(f->data), f->command.transferred - 4);
    assert_int_equal(get_be16(f->data + 6), 8); /* CD-ROM: it is small */
    size_t at = 8;
    unsigned count = 0;
    for (; at < f->command.transferred; at += f->data[at + 3] + 4u, count++)
        assert_true(at == 8 || get_be16(f->data + at) > 0);
    assert_int_equal(at, f->command.transferred);
    assert_int_equal(count, 8);
    assert_true(fixture_read_cdb(f, 255, 0x46, 2, 0, 0x10, 0, 0, 0, 0, 255, 0));
    assert_int_equal(f->command.transferred, 20);
    assert_int_equal(f->data[10] & 1, 1);
    assert_int_equal(insert(f, NULL), 0);
    assert_true(fixture_read_cdb(f, 255, 0x46, 1, 0, 0, 0, 0, 0, 0, 255, 0));
    assert_int_equal(get_be16(f->data + 6), 0);
    assert_int_equal(f->command.transferred, 8 + 12 + 12 + 8 + 8);
    assert_false(fixture_read_cdb(f, 255, 0x46, 3, 0, 0, 0, 0, 0, 0, 255, 0));
    f->disk->geometry.capacity = UINT64_C(4) << 30;
    assert_int_equal(insert(f, f->disk), 0);
    assert_true(fixture_read_cdb(f, 255, 0x46, 0, 0, 0, 0, 0, 0, 0, 255, 0));
    assert_int_equal(get_be16(f->data + 6), 0x10);
}

static void disc_information_is_of_a_complete_disc(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 64, 0x51, 0, 0, 0, 0, 0, 0, 0, 64, 0));
    assert_int_equal(f->command.transferred, 34);
    assert_int_equal(f->data[2], 0x0e);
}

static void track_information_is_of_the_one_track(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 64, 0x52, 1, 0, 0, 0, 1, 0, 0, 64, 0)); /* track 1 */
    assert_int_equal(f->command.transferred, 36);
    assert_int_equal(f->data[2], 1);
    assert_int_equal(get_be32(f->data + 24), FIXTURE_SIZE / 2048);
    assert_true(fixture_read_cdb(f, 64, 0x52, 0, 0, 0, 0x07, 0xff, 0, 0, 64, 0)); /* last block */
    assert_false(fixture_read_cdb(f, 64, 0x52, 0, 0, 0, 0x08, 0, 0, 0, 64, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_false(fixture_read_cdb(f, 64, 0x52, 1, 0, 0, 0, 2, 0, 0, 64, 0));
}

static void guest_ejects_and_loads(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(poll_media(f), 0x0200);
    assert_true(fixture_read_cdb(f, 0, 0x1e, 0, 0, 0, 1, 0));
    assert_false(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 2, 0));
    assert_int_equal(fixture_sense(f), SENSE_REMOVAL_PREVENTED);
    assert_true(test_ready(f));
    assert_true(fixture_read_cdb(f, 255, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255, 0));
    assert_int_equal(f->data[8 + 6] & 2, 2); /* locked */
    assert_true(fixture_read_cdb(f, 0, 0x1e, 0, 0, 0, 0, 0));
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 2, 0));
    assert_int_equal(poll_media(f), 0x0103);
    assert_int_equal(poll_media(f), 0x0100);
    assert_false(test_ready(f));
    assert_int_equal(fixture_sense(f), SENSE_NO_MEDIUM);
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 3, 0));
    assert_int_equal(poll_media(f), 0x0202);
    assert_false(test_ready(f));
    assert_int_equal(fixture_sense(f), SENSE_MEDIUM_CHANGED);
    assert_true(test_ready(f));
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 1, 0)); /* spin up */
}

static void host_changes_the_disc(void **state)
{
    struct fixture *f = *state;
    assert_false(test_ready(f));
    assert_int_equal(fixture_sense(f), SENSE_NO_MEDIUM);
    assert_false(fixture_read_cdb(f, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_true(fixture_read_cdb(f, 18, 0x03, 0, 0, 0, 18, 0));
    assert_int_equal(f->data[12], 0x3a);
    assert_int_equal(poll_media(f), 0);
    assert_int_equal(insert(f, f->disk), 0);
    assert_int_equal(poll_media(f), 0x0202);
    assert_false(test_ready(f));
    assert_int_equal(fixture_sense(f), SENSE_MEDIUM_CHANGED);
    assert_true(test_ready(f));
    assert_int_equal(insert(f, NULL), 0);
    assert_int_equal(poll_media(f), 3);
    assert_false(test_ready(f));
    f->disk->geometry.logical_sector = 4096;
    assert_int_equal(insert(f, f->disk), -EINVAL);
    assert_false(test_ready(f));
}

static void command_in_flight_ends_with_the_old_disc(void **state)
{
    struct fixture *f = *state;
    f->disk->late = true;
    f->disk->bytes[2048] = 0x44;
    (void)fixture_read_cdb(f, 2048, 0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0);
    assert_int_equal(insert(f, NULL), 0);
    assert_int_equal(f->released, 0);
    assert_int_equal(insert(f, NULL), 0); /* there is none to be released */
    fake_disk_end_all(f->disk);
    assert_int_equal(f->released, 1);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->command.status, SCSI_STATUS_GOOD);
    assert_int_equal(f->data[0], 0x44);
}

static void another_change_waits_for_the_old_disc(void **state)
{
    struct fixture *f = *state;
    struct disk *other = fake_disk_create(FIXTURE_SIZE, 2048);

    f->disk->late = true;
    (void)fixture_read_cdb(f, 2048, 0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0);
    assert_int_equal(insert(f, other), 0);
    assert_int_equal(insert(f, NULL), -EBUSY);
    assert_int_equal(f->released, 0);
    fake_disk_end_all(f->disk);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->released, 1);
    other->bytes[0] = 0x77;
    assert_false(test_ready(f));
    assert_int_equal(fixture_sense(f), SENSE_MEDIUM_CHANGED);
    assert_true(fixture_read_cdb(f, 2048, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_int_equal(f->data[0], 0x77);
    assert_int_equal(scsi_dvd_insert(f->target, f->disk, note_nothing, f), 0);
    fake_disk_destroy(other);
}

static void disks_have_no_discs(void **state)
{
    struct fixture *disk = fixture_open(512, "x");
    struct fixture *f = *state;
    assert_int_equal(insert(disk, f->disk), -ENOTSUP);
    fixture_close(disk);
}

static void capabilities_page_has_no_block_descriptor(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 255, 0x1a, 0, 0x2a, 0, 255, 0));
    assert_int_equal(f->data[2], 0);
    assert_int_equal(f->data[3], 0);
    assert_int_equal(f->data[4], 0x2a);
    assert_int_equal(f->data[5], 26);
    assert_int_equal(f->data[4 + 6] >> 5, 1); /* tray */
    f->data[0] = 0;                           /* nothing of it can be set */
    assert_true(fixture_write_cdb(f, 32, 0x15, 0x10, 0, 0, 32, 0));
    f->data[4 + 3] ^= 1;
    assert_false(fixture_write_cdb(f, 32, 0x15, 0x10, 0, 0, 32, 0));
}

static void events_are_polled_only(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_read_cdb(f, 8, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_true(fixture_read_cdb(f, 8, 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8, 0));
    assert_int_equal(f->command.transferred, 4);
    assert_int_equal(f->data[2], 0x80); /* none of those */
    assert_int_equal(f->data[3], 0x10);
    assert_int_equal(insert(f, f->disk), 0);
    assert_true(fixture_read_cdb(f, 4, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4, 0));
    assert_int_equal(poll_media(f), 0x0202); /* was not lost */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(drive_is_a_removable_dvd_rom, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocks_are_of_2048_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(discs_cannot_be_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ata_pass_through_is_unknown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(table_of_contents_has_one_track, set_up, tear_down),
        cmocka_unit_test_setup_teardown(configuration_follows_the_disc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disc_information_is_of_a_complete_disc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(track_information_is_of_the_one_track, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guest_ejects_and_loads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(host_changes_the_disc, set_up_empty, tear_down),
        cmocka_unit_test_setup_teardown(command_in_flight_ends_with_the_old_disc, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_change_waits_for_the_old_disc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disks_have_no_discs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(capabilities_page_has_no_block_descriptor, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(events_are_polled_only, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
