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

static void verify_reads_the_medium(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 0, 0x2f, 0, 0, 0, 0, 8, 0, 1, 0, 0));
    assert_int_equal(f->disk->count[DISK_READ], 2);
    assert_int_equal(f->command.transferred, 0);
    f->disk->fail[DISK_READ] = -EIO;
    assert_false(fixture_read_cdb(f, 0, 0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0));
    assert_int_equal(fixture_sense(f), SENSE_READ_ERROR);
}

static void verify_compares_with_the_buffer(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 200 * 512; i++)
        f->data[i] = f->disk->bytes[8 * 512 + i] = (uint8_t)(i * 3 + 1);
    assert_true(fixture_write_cdb(f, 200 * 512, 0x2f, 2, 0, 0, 0, 8, 0, 0, 200, 0));
    assert_int_equal(f->command.transferred, 200 * 512);
    f->data[170 * 512 + 77] ^= 0x10;
    assert_false(fixture_write_cdb(f, 200 * 512, 0x2f, 2, 0, 0, 0, 8, 0, 0, 200, 0));
    assert_int_equal(fixture_sense(f), SENSE_MISCOMPARE);
    assert_int_equal(get_be32(f->command.sense + 3), 170 * 512 + 77);
    assert_false(fixture_write_cdb(f, 512, 0x2f, 2, 0, 0, 0, 8, 0, 0, 2, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_false(fixture_write_cdb(f, 512, 0x2f, 6, 0, 0, 0, 8, 0, 0, 2, 0)); /* BYTCHK 11b */
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
}

static void write_same_repeats_the_block(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 512; i++)
        f->data[i] = (uint8_t)(i + 1);
    /* 0x1001 blocks: two whole requests and one block */
    assert_true(fixture_write_cdb(f, 512, 0x41, 0, 0, 0, 0, 7, 0, 0x10, 0x01, 0));
    assert_int_equal(f->command.transferred, 512);
    assert_int_equal(f->disk->count[DISK_WRITE], 3);
    for (unsigned block = 7; block < 7 + 0x1001; block++)
        assert_memory_equal(f->disk->bytes + block * UINT64_C(512), f->data, 512);
    assert_int_equal(f->disk->bytes[6 * 512], 0);
    assert_int_equal(f->disk->bytes[(7 + 0x1001) * 512], 0);
}

static void write_same_without_buffer_writes_zeroes(void **state)
{
    struct fixture *f = *state;
    memset(f->disk->bytes, 0xaa, FIXTURE_SIZE);
    assert_true(fixture_read_cdb(f, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0));
    assert_int_equal(f->disk->bytes[4 * 512 - 1], 0xaa);
    assert_int_equal(f->disk->bytes[4 * 512], 0);
    assert_int_equal(f->disk->bytes[12 * 512 - 1], 0);
    assert_int_equal(f->disk->bytes[12 * 512], 0xaa);
    assert_int_equal(f->disk->count[DISK_UNMAP], 0);
}

static void write_same_unmaps_zeroes_and_leaves_none_of_the_old(void **state)
{
    struct fixture *f = *state;
    for (unsigned keep = 0; keep < 2; keep++) {
        memset(f->disk->bytes, 0xaa, FIXTURE_SIZE);
        memset(f->data, 0, 512);
        f->disk->keep_unmapped = keep != 0;
        f->disk->count[DISK_WRITE] = f->disk->count[DISK_READ] = 0;
        assert_true(
            fixture_write_cdb(f, 512, 0x93, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0x10, 0, 0, 0));
        assert_int_equal(f->disk->count[DISK_UNMAP], keep + 1);
        /* Rests at both ends only are written. */
        assert_int_equal(f->disk->count[DISK_WRITE], keep * 2);
        assert_int_equal(f->disk->count[DISK_READ], 0x1000 * 512 / SCSI_STAGE_SIZE);
        for (size_t i = 0; i < 0x1000 * 512; i++)
            assert_int_equal(f->disk->bytes[3 * 512 + i], 0);
        assert_int_equal(f->disk->bytes[3 * 512 - 1], 0xaa);
        assert_int_equal(f->disk->bytes[(3 + 0x1000) * 512], 0xaa);
    }
}

static void write_same_with_unmap_writes_what_is_not_zero(void **state)
{
    struct fixture *f = *state;
    memset(f->data, 5, 512);
    assert_true(fixture_write_cdb(f, 512, 0x41, 8, 0, 0, 0, 7, 0, 0, 4, 0));
    assert_int_equal(f->disk->count[DISK_UNMAP], 0);
    assert_int_equal(f->disk->bytes[10 * 512], 5);
}

static void write_same_has_limits(void **state)
{
    struct fixture *f = *state;
    assert_false(fixture_write_cdb(f, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0)); /* WSNZ */
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    assert_int_equal(f->command.sense[17], 7);
    assert_false(fixture_write_cdb(f, 511, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_false(fixture_write_cdb(f, 512, 0x41, 0, 0, 0, 0x20, 0, 0, 0, 1, 0));
    assert_int_equal(fixture_sense(f), SENSE_LBA_OUT_OF_RANGE);
    assert_false(fixture_write_cdb(f, 512, 0x41, 1, 0, 0, 0, 0, 0, 0, 1, 0)); /* NDOB: of 16 only */
    assert_int_equal(f->disk->count[DISK_WRITE], 0);
}

static void put_range(uint8_t *list, unsigned index, uint64_t lba, uint32_t blocks)
{
    put_be64(list + 8 + (size_t)index * 16, lba);
    put_be32(list + 16 + (size_t)index * 16, blocks);
    put_be16(list, (uint16_t)(6 + 16 * (index + 1)));
    put_be16(list + 2, (uint16_t)(16 * (index + 1)));
}

static void unmap_frees_each_range(void **state)
{
    struct fixture *f = *state;
    memset(f->disk->bytes, 0xaa, FIXTURE_SIZE);
    put_range(f->data, 0, 8, 8);
    put_range(f->data, 1, 5, 0); /* nothing */
    put_range(f->data, 2, 64, 1);
    assert_true(fixture_write_cdb(f, 56, 0x42, 0, 0, 0, 0, 0, 0, 0, 56, 0));
    assert_int_equal(f->disk->count[DISK_UNMAP], 2);
    assert_int_equal(f->command.transferred, 56);
    assert_int_equal(f->disk->bytes[8 * 512], 0);
    assert_int_equal(f->disk->bytes[16 * 512 - 1], 0);
    assert_int_equal(f->disk->bytes[16 * 512], 0xaa);
    assert_int_equal(f->disk->bytes[64 * 512], 0);
    assert_int_equal(f->disk->bytes[65 * 512], 0xaa);
    assert_true(fixture_write_cdb(f, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0)); /* no list */
    put_be16(f->data + 2, 0);
    assert_true(fixture_write_cdb(f, 8, 0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0)); /* an empty one */
}

static void unmap_checks_all_ranges_before_the_first(void **state)
{
    struct fixture *f = *state;
    put_range(f->data, 0, 8, 8);
    put_range(f->data, 1, FIXTURE_SIZE / 512 - 1, 2);
    assert_false(fixture_write_cdb(f, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0));
    assert_int_equal(fixture_sense(f), SENSE_LBA_OUT_OF_RANGE);
    put_range(f->data, 1, UINT64_MAX, 1);
    assert_false(fixture_write_cdb(f, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0));
    assert_false(fixture_write_cdb(f, 39, 0x42, 0, 0, 0, 0, 0, 0, 0, 39, 0)); /* cut */
    assert_int_equal(fixture_sense(f), SENSE_PARAMETER_LIST_LENGTH);
    assert_false(fixture_write_cdb(f, 20, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0)); /* short buffer */
    assert_false(fixture_write_cdb(f, 7, 0x42, 0, 0, 0, 0, 0, 0, 0, 7, 0));
    assert_false(fixture_write_cdb(f, 40, 0x42, 1, 0, 0, 0, 0, 0, 0, 40, 0)); /* ANCHOR */
    assert_int_equal(f->disk->count[DISK_UNMAP], 0);
}

static void unmap_takes_so_many_ranges_and_no_more(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 257; i++)
        put_range(f->data, i, i * 2, 1);
    assert_false(fixture_write_cdb(f, 4120, 0x42, 0, 0, 0, 0, 0, 0, 0x10, 0x18, 0));
    put_be16(f->data + 2, 256 * 16);
    assert_true(fixture_write_cdb(f, 4104, 0x42, 0, 0, 0, 0, 0, 0, 0x10, 0x08, 0));
    assert_int_equal(f->disk->count[DISK_UNMAP], 256);
}

static void unmap_of_too_many_blocks_is_refused(void **state)
{
    struct fixture *f = *state;
    const uint32_t most = (uint32_t)(SCSI_MOST_UNMAP / 512);
    f->disk->geometry.capacity = UINT64_C(64) << 30; /* none of which is touched */
    put_range(f->data, 0, 0, most);
    put_range(f->data, 1, 0, 1);
    assert_false(fixture_write_cdb(f, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0));
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_LIST);
    assert_int_equal(f->command.sense[17], 8 + 16 + 8);
    assert_int_equal(f->disk->count[DISK_UNMAP], 0);
    f->disk->geometry.capacity = FIXTURE_SIZE;
}

static void changes_are_written_through_without_a_cache(void **state)
{
    struct fixture *f = *state;
    f->target->write_cache = false;
    put_range(f->data, 0, 8, 8);
    assert_true(fixture_write_cdb(f, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 1);
    assert_true(fixture_write_cdb(f, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 2);
    memset(f->data, 0, 512);
    assert_true(fixture_write_cdb(f, 512, 0x41, 8, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_int_equal(f->disk->count[DISK_FLUSH], 3);
    assert_false(f->disk->unflushed);
}

static void read_only_disks_refuse_every_change(void **state)
{
    struct fixture *f = *state;
    f->disk->geometry.read_only = true;
    put_range(f->data, 0, 8, 8);
    assert_false(fixture_write_cdb(f, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0));
    assert_int_equal(fixture_sense(f), SENSE_WRITE_PROTECTED);
    assert_false(fixture_write_cdb(f, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_int_equal(fixture_sense(f), SENSE_WRITE_PROTECTED);
    assert_false(fixture_write_cdb(f, 512, 0x0a, 0, 0, 0, 1, 0));
    assert_int_equal(fixture_sense(f), SENSE_WRITE_PROTECTED);
    assert_true(fixture_read_cdb(f, 512, 0x08, 0, 0, 0, 1, 0));
}

/* ---- against a flat array: random commands, requests that end at once or later ---- */

enum { MODEL_BLOCKS = 600, MODEL_STEPS = 4000 };

static uint32_t seed;

static uint32_t next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

struct model {
    struct fixture *f;
    uint8_t bytes[MODEL_BLOCKS * 512];
    bool undefined[MODEL_BLOCKS]; /* unmapped: anything may be read */
};

/* Send, with the buffer cut into random pieces; the disk ends requests when it likes. */
static bool model_send(struct model *m, const uint8_t cdb[16], enum scsi_direction direction,
                       size_t length)
{
    struct fixture *f = m->f;
    struct scsi_command *c = &f->command;
    static const uint8_t cdb_lengths[8] = {6, 10, 10, 10, 16, 12, 12, 12};
    *c = (struct scsi_command){.cdb_length = cdb_lengths[cdb[0] >> 5],
                               .direction = length != 0 ? direction : SCSI_NO_DATA,
                               .iov = f->iov,
                               .data_length = length,
                               .done = fixture_done};
    memcpy(c->cdb, cdb, 16);
    bool aligned = next_random() % 2 == 0;
    for (size_t at = 0; at < length; c->iov_count++) {
        size_t part = next_random() % 40000 + 1;
        part = aligned ? (part + 511) / 512 * 512 : part;
        if (part > length - at || c->iov_count == FIXTURE_PIECES - 1)
            part = length - at;
        f->iov[c->iov_count] = (struct iovec){f->data + at, part};
        at += part;
    }
    f->done = 0;
    f->disk->late = next_random() % 2 == 0;
    f->disk->keep_unmapped = next_random() % 2 == 0;
    scsi_submit(f->target, c);
    fake_disk_end_all(f->disk);
    assert_int_equal(f->done, 1);
    return c->status == SCSI_STATUS_GOOD;
}

static void put_block_range(uint8_t cdb[16], uint8_t opcode, uint32_t lba, uint32_t count)
{
    memset(cdb, 0, 16);
    cdb[0] = opcode;
    if (opcode >= 0x80 && opcode < 0xa0) {
        put_be64(cdb + 2, lba);
        put_be32(cdb + 10, count);
    } else {
        put_be32(cdb + 2, lba);
        put_be16(cdb + 7, (uint16_t)count);
    }
}

static void model_read(struct model *m, uint32_t lba, uint32_t count)
{
    uint8_t cdb[16];
    put_block_range(cdb, next_random() % 2 ? 0x28 : 0x88, lba, count);
    assert_true(model_send(m, cdb, SCSI_FROM_TARGET, count * UINT64_C(512)));
    for (uint32_t i = 0; i < count; i++) {
        if (!m->undefined[lba + i])
            assert_memory_equal(m->f->data + i * UINT64_C(512),
                                m->bytes + (lba + i) * UINT64_C(512), 512);
    }
}

static void model_write(struct model *m, uint32_t lba, uint32_t count)
{
    uint8_t cdb[16];
    for (uint32_t i = 0; i < count * 512; i++)
        m->f->data[i] = (uint8_t)next_random();
    put_block_range(cdb, next_random() % 2 ? 0x2a : 0x8a, lba, count);
    cdb[1] = next_random() % 2 ? 0x08 : 0;
    assert_true(model_send(m, cdb, SCSI_TO_TARGET, count * UINT64_C(512)));
    assert_false(cdb[1] != 0 && m->f->disk->unflushed);
    memcpy(m->bytes + lba * UINT64_C(512), m->f->data, count * UINT64_C(512));
    memset(m->undefined + lba, false, count);
}

static void model_write_same(struct model *m, uint32_t lba, uint32_t count)
{
    uint8_t cdb[16];
    bool zero = next_random() % 2 == 0;
    count += count == 0;
    for (uint32_t i = 0; i < 512; i++)
        m->f->data[i] = zero ? 0 : (uint8_t)next_random();
    put_block_range(cdb, next_random() % 2 ? 0x41 : 0x93, lba, count);
    cdb[1] = next_random() % 2 ? 0x08 : 0;
    assert_true(model_send(m, cdb, SCSI_TO_TARGET, 512));
    for (uint32_t i = 0; i < count; i++)
        memcpy(m->bytes + (lba + i) * UINT64_C(512), m->f->data, 512);
    memset(m->undefined + lba, false, count);
}

static void model_unmap(struct model *m, uint32_t lba, uint32_t count)
{
    const uint8_t cdb[16] = {0x42, 0, 0, 0, 0, 0, 0, 0, 24};
    put_range(m->f->data, 0, lba, count);
    assert_true(model_send(m, cdb, SCSI_TO_TARGET, 24));
    memset(m->undefined + lba, true, count);
}

static void model_verify(struct model *m, uint32_t lba, uint32_t count)
{
    uint8_t cdb[16];
    bool differs = count > 0 && next_random() % 2 == 0;
    for (uint32_t i = 0; i < count; i++) {
        if (m->undefined[lba + i])
            return;
    }
    memcpy(m->f->data, m->bytes + lba * UINT64_C(512), count * UINT64_C(512));
    if (differs)
        m->f->data[next_random() % (count * 512)] ^= 0x80;
    put_block_range(cdb, next_random() % 2 ? 0x2f : 0x8f, lba, count);
    cdb[1] = 0x02;
    assert_int_equal(model_send(m, cdb, SCSI_TO_TARGET, count * UINT64_C(512)), !differs);
}

static void disk_is_an_array_of_blocks(void **state)
{
    static void (*const actions[])(struct model *, uint32_t, uint32_t) = {
        model_read, model_write, model_write_same, model_unmap, model_verify};
    struct model *m = calloc(1, sizeof(*m));
    m->f = *state;
    seed = 20;
    for (unsigned step = 0; step < MODEL_STEPS; step++) {
        uint32_t lba = next_random() % MODEL_BLOCKS;
        uint32_t count = next_random() % (MODEL_BLOCKS - lba + 1);
        actions[next_random() % 5](m, lba, next_random() % 4 != 0 ? count % 20 : count);
    }
    m->f->disk->late = false;
    model_read(m, 0, MODEL_BLOCKS);
    free(m);
}

/* GET LBA STATUS: the extents that fit into `length` bytes; 0 and sense when it is refused. */
static unsigned get_status(struct fixture *f, uint32_t lba, uint16_t length)
{
    uint8_t cdb[16] = {0x9e, 0x12};
    put_be64(cdb + 2, lba);
    put_be32(cdb + 10, length);
    memset(f->data, 0xee, 2048);
    if (!fixture_send(f, cdb, sizeof(cdb), SCSI_FROM_TARGET, 2048))
        return 0;
    assert_int_equal(f->data[length], 0xee);
    unsigned count = (get_be32(f->data) - 4) / 16;
    assert_int_equal(f->command.transferred, 8 + 16 * count < length ? 8 + 16 * count : length);
    return count;
}

static void assert_extent(const struct fixture *f, unsigned index, uint32_t lba, uint32_t count,
                          unsigned status)
{
    const uint8_t *at = f->data + 8 + 16 * (size_t)index;
    assert_int_equal(get_be64(at), lba);
    assert_int_equal(get_be32(at + 8), count);
    assert_int_equal(get_be32(at + 12), status << 24);
}

static void status_tells_what_is_allocated(void **state)
{
    struct fixture *f = *state;
    const uint32_t blocks = FIXTURE_SIZE / 512;
    memset(f->disk->bytes + 8 * 512, 1, 4 * 512);
    memset(f->disk->bytes + 100 * 512, 1, 512);
    assert_int_equal(get_status(f, 0, 1024), 5);
    assert_extent(f, 0, 0, 8, 1);
    assert_extent(f, 1, 8, 4, 0);
    assert_extent(f, 2, 12, 88, 1);
    assert_extent(f, 3, 100, 1, 0);
    assert_extent(f, 4, 101, blocks - 101, 1);
    assert_int_equal(get_status(f, 9, 1024), 4);
    assert_extent(f, 0, 9, 3, 0);
    assert_int_equal(get_status(f, blocks - 1, 24), 1);
    assert_extent(f, 0, blocks - 1, 1, 1);
    assert_int_equal(f->disk->count[DISK_READ], 0);
}

static void status_is_cut_to_what_is_asked_for(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 300; i += 2)
        f->disk->bytes[i * UINT64_C(512)] = 1;
    assert_int_equal(get_status(f, 0, 2000), 64);
    assert_extent(f, 63, 63, 1, 1);
    assert_int_equal(get_status(f, 0, 24), 1);
    assert_int_equal(get_status(f, 0, 39), 1);
    assert_int_equal(get_status(f, 0, 40), 2);
    assert_int_equal(get_status(f, 0, 12), 1); /* whose end is not told */
    assert_true(fixture_read_cdb(f, 64, 0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    assert_int_equal(f->command.transferred, 0);
}

static void status_beyond_the_end_or_unreadable_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get_status(f, FIXTURE_SIZE / 512, 64), 0);
    assert_int_equal(fixture_sense(f), SENSE_LBA_OUT_OF_RANGE);
    f->disk->fail[DISK_READ] = -EIO;
    assert_int_equal(get_status(f, 0, 64), 0);
    assert_int_equal(fixture_sense(f), SENSE_READ_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(verify_reads_the_medium, set_up, tear_down),
        cmocka_unit_test_setup_teardown(verify_compares_with_the_buffer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_same_repeats_the_block, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_same_without_buffer_writes_zeroes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_same_unmaps_zeroes_and_leaves_none_of_the_old, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(write_same_with_unmap_writes_what_is_not_zero, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(write_same_has_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unmap_frees_each_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unmap_checks_all_ranges_before_the_first, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(unmap_takes_so_many_ranges_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unmap_of_too_many_blocks_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_are_written_through_without_a_cache, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(read_only_disks_refuse_every_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(status_tells_what_is_allocated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(status_is_cut_to_what_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(status_beyond_the_end_or_unreadable_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(disk_is_an_array_of_blocks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
