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

static void pattern(uint8_t *bytes, size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 512 + seed);
}

/* READ or WRITE (10) of `blocks` blocks from 3 on, with pieces of these lengths (0 ends them). */
static void move_pieces(struct fixture *f, bool write, uint8_t blocks, const size_t *lengths)
{
    struct scsi_command *c = &f->command;
    uint8_t *at = f->data;
    memset(c, 0, sizeof(*c));
    c->cdb[0] = write ? 0x2a : 0x28;
    c->cdb[5] = 3;
    c->cdb[8] = blocks;
    c->cdb_length = 10;
    c->direction = write ? SCSI_TO_TARGET : SCSI_FROM_TARGET;
    c->iov = f->iov;
    for (; lengths[c->iov_count] != 0; c->iov_count++) {
        f->iov[c->iov_count] = (struct iovec){at, lengths[c->iov_count]};
        at += lengths[c->iov_count];
        c->data_length += lengths[c->iov_count];
    }
    c->done = fixture_done;
    f->done = 0;
    scsi_submit(f->target, c);
}

static void aligned_pieces_go_to_the_disk_as_they_are(void **state)
{
    struct fixture *f = *state;
    pattern(f->disk->bytes, FIXTURE_SIZE, 1);
    move_pieces(f, false, 200, (const size_t[]){512, 1024, 200 * 512, 0});
    assert_int_equal(f->done, 1);
    assert_int_equal(f->command.transferred, 200 * 512);
    assert_int_equal(f->disk->count[DISK_READ], 1);
    assert_memory_equal(f->data, f->disk->bytes + 3 * 512, 200 * 512);
    assert_int_equal(f->data[200 * 512], 0); /* the rest of the buffer is left alone */
}

static void unaligned_pieces_are_copied_in_parts(void **state)
{
    struct fixture *f = *state;
    pattern(f->disk->bytes, FIXTURE_SIZE, 1);
    move_pieces(f, false, 200, (const size_t[]){4, 508, 1000, 200 * 512, 0});
    assert_int_equal(f->done, 1);
    assert_int_equal(f->command.status, SCSI_STATUS_GOOD);
    assert_int_equal(f->command.transferred, 200 * 512);
    assert_int_equal(f->disk->count[DISK_READ], 2);
    assert_memory_equal(f->data, f->disk->bytes + 3 * 512, 200 * 512);
    pattern(f->data, 200 * 512, 99);
    move_pieces(f, true, 200, (const size_t[]){4, 508, 1000, 200 * 512, 0});
    assert_int_equal(f->command.transferred, 200 * 512);
    assert_int_equal(f->disk->count[DISK_WRITE], 2);
    assert_memory_equal(f->data, f->disk->bytes + 3 * 512, 200 * 512);
}

static void range_must_lie_on_the_medium(void **state)
{
    struct fixture *f = *state;
    const uint8_t last = (FIXTURE_SIZE / 512 - 1) & 0xff;
    assert_int_equal(FIXTURE_SIZE / 512 - 1, 0x1fff);
    assert_true(fixture_read_cdb(f, 512, 0x28, 0, 0, 0, 0x1f, last, 0, 0, 1, 0));
    assert_false(fixture_read_cdb(f, 1024, 0x28, 0, 0, 0, 0x1f, last, 0, 0, 2, 0));
    assert_int_equal(fixture_sense(f), SENSE_LBA_OUT_OF_RANGE);
    assert_int_equal(get_be32(f->command.sense + 3), 0x1fff);
    assert_true(
        fixture_read_cdb(f, 0, 0x28, 0, 0, 0, 0x20, 0, 0, 0, 0, 0)); /* nothing, at the end */
    assert_false(fixture_read_cdb(f, 0, 0x28, 0, 0, 0, 0x20, 1, 0, 0, 0, 0));
    assert_false(fixture_write_cdb(f, 512, 0x8a, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0, 0, 0, 1, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_LBA_OUT_OF_RANGE);
    assert_int_equal(f->command.sense[0] & 0x80, 0);
    assert_false(
        fixture_read_cdb(f, 512, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0));
    assert_int_equal(f->disk->count[DISK_READ], 1);
}

static void buffer_must_hold_all_blocks(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_read_cdb(f, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_int_equal(f->command.sense[17], 7);
    assert_false(fixture_write_cdb(f, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0)); /* wrong way */
    assert_false(fixture_read_cdb(f, 512, 0x08, 0, 0, 0, 0, 0));              /* 256 blocks */
    assert_int_equal(f->command.sense[17], 4);
    assert_false(fixture_read_cdb(f, 512, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0));
    assert_int_equal(f->command.sense[17], 6);
    assert_false(fixture_read_cdb(f, 512, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0));
    assert_int_equal(f->command.sense[17], 10);
    assert_int_equal(f->disk->count[DISK_READ], 0);
}

static void force_unit_access_flushes_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_write_cdb(f, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_true(f->disk->unflushed);
    assert_true(fixture_write_cdb(f, 512, 0x2a, 8, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_false(f->disk->unflushed);
    assert_int_equal(f->command.transferred, 512);
    f->disk->fail[DISK_FLUSH] = -EIO;
    assert_false(fixture_write_cdb(f, 512, 0x2a, 8, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_int_equal(fixture_sense(f), SENSE_WRITE_ERROR);
}

static void synchronize_cache_ends_when_all_is_on_the_medium(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_write_cdb(f, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    f->disk->late = true;
    (void)fixture_read_cdb(f, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    assert_int_equal(f->done, 0);
    fake_disk_end_all(f->disk);
    assert_int_equal(f->done, 1);
    assert_false(f->disk->unflushed);
    f->disk->late = false;
    assert_true(fixture_read_cdb(f, 0, 0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_false(fixture_read_cdb(f, 0, 0x91, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 2);
}

static void errors_end_the_command_where_they_happen(void **state)
{
    struct fixture *f = *state;
    f->disk->fail[DISK_READ] = -EIO;
    move_pieces(f, false, 200, (const size_t[]){4, 508, 200 * 512, 0});
    assert_int_equal(fixture_sense(f), SENSE_READ_ERROR);
    assert_int_equal(f->command.transferred, 0);
    assert_int_equal(f->disk->count[DISK_READ], 0);
    move_pieces(f, false, 2, (const size_t[]){4, 1020, 0}); /* the buffer is free again */
    assert_int_equal(f->command.status, SCSI_STATUS_GOOD);
}

enum { CROWD = 64 };

struct crowd {
    struct scsi_command command[CROWD];
    struct iovec iov[CROWD][2];
    uint8_t data[CROWD][512];
    unsigned done, last;
};

static struct crowd *crowd;

static void crowd_done(struct scsi_command *command)
{
    assert_int_equal(command->status, SCSI_STATUS_GOOD);
    crowd->last = (unsigned)(command - crowd->command);
    crowd->done++;
}

/* Unaligned writes all want the unit's one buffer, while the disk takes its time. */
static void crowd_gathers(struct fixture *f)
{
    f->disk->late = true;
    for (unsigned i = 0; i < CROWD; i++) {
        struct scsi_command *c = &crowd->command[i];
        memset(crowd->data[i], (int)i + 1, 512);
        crowd->iov[i][0] = (struct iovec){crowd->data[i], 100};
        crowd->iov[i][1] = (struct iovec){crowd->data[i] + 100, 412};
        *c = (struct scsi_command){.cdb = {0x2a, 0, 0, 0, 0, (uint8_t)i, 0, 0, 1},
                                   .cdb_length = 10,
                                   .direction = SCSI_TO_TARGET,
                                   .iov = crowd->iov[i],
                                   .iov_count = 2,
                                   .data_length = 512,
                                   .done = crowd_done};
        scsi_submit(f->target, c);
    }
}

static void commands_share_the_buffer_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    crowd = calloc(1, sizeof(*crowd));
    crowd_gathers(f);
    assert_int_equal(f->disk->pending_count, 1);
    for (unsigned i = 0; i < 10; i++) {
        fake_disk_end(f->disk, 0);
        assert_int_equal(crowd->done, i + 1);
        assert_int_equal(crowd->last, i);
        assert_int_equal(f->disk->pending_count, 1);
    }
    f->disk->late = false; /* the rest runs through as soon as one ends */
    fake_disk_end(f->disk, 0);
    assert_int_equal(crowd->done, CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        assert_int_equal(f->disk->bytes[i * 512 + 511], i + 1);
    crowd->done = 0;
    crowd_gathers(f); /* a second time, after the queue was empty */
    fake_disk_end_all(f->disk);
    assert_int_equal(crowd->done, CROWD);
    free(crowd);
}

static void aligned_commands_do_not_wait_for_the_buffer(void **state)
{
    struct fixture *f = *state;
    struct fixture *other = fixture_open(512, "x");
    struct scsi_command second;
    f->disk->late = true;
    move_pieces(f, false, 1, (const size_t[]){4, 508, 0});
    second = f->command;
    second.iov = other->iov;
    second.iov_count = 1;
    other->iov[0] = (struct iovec){other->data, 512};
    other->command = second;
    scsi_submit(f->target, &other->command);
    assert_int_equal(f->disk->pending_count, 2);
    fake_disk_end_all(f->disk);
    assert_int_equal(f->done, 1);
    assert_int_equal(other->done, 1);
    fixture_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(aligned_pieces_go_to_the_disk_as_they_are, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(unaligned_pieces_are_copied_in_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(range_must_lie_on_the_medium, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buffer_must_hold_all_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(force_unit_access_flushes_what_it_wrote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(synchronize_cache_ends_when_all_is_on_the_medium, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(errors_end_the_command_where_they_happen, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(commands_share_the_buffer_one_after_the_other, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(aligned_commands_do_not_wait_for_the_buffer, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
