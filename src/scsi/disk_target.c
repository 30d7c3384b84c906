/* A disk: SBC-3's direct access block device. */
#include <errno.h>
#include <string.h>

#include "scsi/scsi_private.h"

enum {
    START = 0x01, /* byte 4 of START STOP UNIT, SBC-3 § 5.25 */

    SELF_TEST = 0x04, /* byte 1 of SEND DIAGNOSTIC */

    PROVISIONED_THIN = 0x80, /* LBPME of READ CAPACITY (16) */
};

static void read_capacity_10(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint64_t last = target_block_count(command->target) - 1;
    uint8_t reply[8];
    struct scsi_cdb whole = *cdb;

    whole.length = sizeof(reply); /* the CDB has no allocation length */
    put_be32(reply, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    put_be32(reply + 4, command->target->sector);
    transfer_reply(command, &whole, reply, sizeof(reply));
}

static void read_capacity_16(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    const struct disk_geometry *geometry = disk_geometry(command->medium);
    uint32_t blocks_per_physical = geometry->physical_sector / geometry->logical_sector;
    uint8_t reply[32] = {0};

    put_be64(reply, target_block_count(command->target) - 1);
    put_be32(reply + 8, command->target->sector);
    reply[13] = blocks_per_physical > 1 ? (uint8_t)__builtin_ctz(blocks_per_physical) : 0;
    reply[14] = PROVISIONED_THIN;
    transfer_reply(command, cdb, reply, sizeof(reply));
}

static void start_stop(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    command->target->stopped = (cdb->choice & START) == 0;
    command->io.flush = command->target->stopped;
    transfer_begin(command, 0, 0, transfer_ask_flush);
}

static void send_diagnostic(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    /* The self-test finds no fault; no other diagnostics are known. */
    if ((cdb->options & SELF_TEST) == 0 && cdb->length != 0)
        sense_set_cdb_field(command, 3, -1);
}

/* The list of pages, of which it is the only one: SPC-4 § 7.3.19. */
static void log_sense(struct scsi_command *command, const struct scsi_cdb *cdb)
{
    uint8_t reply[] = {0x00, 0x00, 0x00, 0x01, 0x00};

    if ((cdb->page & 0x3f) != 0)
        sense_set_cdb_field(command, 2, 5);
    else
        transfer_reply(command, cdb, reply, sizeof(reply));
}

static const struct mode_page *const mode_pages[] = {&mode_error_recovery, &mode_caching,
                                                     &mode_control, &mode_exceptions, NULL};

enum {
    ANY = 0xff,
    CONTROL = 0xc3, /* vendor specific and obsolete bits; NACA is not supported */
    LUN = 0xe0,     /* of SCSI-2, in byte 1 of old commands */
    READS = SCSI_MEDIUM,
    WRITES = SCSI_MEDIUM | SCSI_CHANGES,
    /* Byte 1 of the block commands: DPO; FUA, its NV kind and RARC have no effect where allowed. */
    READ_BITS = 0x1e,
    WRITE_BITS = 0x1a,
    VERIFY_BITS = 0x12,
    GROUP = 0x3f,
};

#define LBA_4 ANY, ANY, ANY, ANY
#define LBA_8 LBA_4, LBA_4

static const struct scsi_opcode opcodes[] = {
    {0x00, -1, 6, READS, cdb_decode_nothing, target_test_ready, {LUN, 0, 0, 0, CONTROL}},
    {0x03,
     -1,
     6,
     SCSI_ALWAYS,
     cdb_decode_length_6,
     target_request_sense,
     {LUN, 0, 0, ANY, CONTROL}},
    {0x08, -1, 6, READS, cdb_decode_block_6, transfer_read, {ANY, ANY, ANY, ANY, CONTROL}},
    {0x0a, -1, 6, WRITES, cdb_decode_block_6, transfer_write, {ANY, ANY, ANY, ANY, CONTROL}},
    {0x12, -1, 6, SCSI_ALWAYS, cdb_decode_length_3, inquiry_perform, {LUN | 1, ANY, ANY, ANY, ANY}},
    {0x15, -1, 6, 0, cdb_decode_length_6, mode_select, {LUN | 0x10, 0, 0, ANY, CONTROL}},
    {0x16, -1, 6, 0, cdb_decode_nothing, target_accept, {ANY, ANY, ANY, ANY, CONTROL}},
    {0x17, -1, 6, 0, cdb_decode_nothing, target_accept, {ANY, ANY, ANY, ANY, CONTROL}},
    {0x1a, -1, 6, 0, cdb_decode_length_6, mode_sense, {LUN | 0x08, ANY, ANY, ANY, CONTROL}},
    {0x1b, -1, 6, 0, cdb_decode_nothing, start_stop, {LUN | 1, 0, 0, 0x05, CONTROL}},
    {0x1d, -1, 6, 0, cdb_decode_length_3, send_diagnostic, {0xf7, 0, ANY, ANY, CONTROL}},
    {0x1e, -1, 6, 0, cdb_decode_nothing, target_prevent_removal, {LUN, 0, 0, 0x03, CONTROL}},
    {0x25, -1, 10, READS, cdb_decode_nothing, read_capacity_10, {0, 0, 0, 0, 0, 0, 0, 0, CONTROL}},
    {0x28,
     -1,
     10,
     READS,
     cdb_decode_block_10,
     transfer_read,
     {READ_BITS, LBA_4, GROUP, ANY, ANY, CONTROL}},
    {0x2a,
     -1,
     10,
     WRITES,
     cdb_decode_block_10,
     transfer_write,
     {WRITE_BITS, LBA_4, GROUP, ANY, ANY, CONTROL}},
    {0x2f,
     -1,
     10,
     READS,
     cdb_decode_block_10,
     blocks_verify,
     {VERIFY_BITS, LBA_4, GROUP, ANY, ANY, CONTROL}},
    {0x35,
     -1,
     10,
     READS,
     cdb_decode_block_10,
     transfer_flush,
     {0x06, LBA_4, GROUP, ANY, ANY, CONTROL}},
    {0x41,
     -1,
     10,
     WRITES,
     cdb_decode_block_10,
     blocks_write_same,
     {0x08, LBA_4, GROUP, ANY, ANY, CONTROL}},
    {0x42,
     -1,
     10,
     WRITES,
     cdb_decode_length_10,
     blocks_unmap,
     {0, 0, 0, 0, 0, GROUP, ANY, ANY, CONTROL}},
    {0x4d, -1, 10, 0, cdb_decode_length_10, log_sense, {0, ANY, 0, 0, ANY, ANY, ANY, ANY, CONTROL}},
    {0x55, -1, 10, 0, cdb_decode_length_10, mode_select, {0x10, 0, 0, 0, 0, 0, ANY, ANY, CONTROL}},
    {0x56,
     -1,
     10,
     0,
     cdb_decode_nothing,
     target_accept,
     {ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, CONTROL}},
    {0x57,
     -1,
     10,
     0,
     cdb_decode_nothing,
     target_accept,
     {ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY, CONTROL}},
    {0x5a,
     -1,
     10,
     0,
     cdb_decode_length_10,
     mode_sense,
     {0x18, ANY, ANY, 0, 0, 0, ANY, ANY, CONTROL}},
    {0x88,
     -1,
     16,
     READS,
     cdb_decode_block_16,
     transfer_read,
     {READ_BITS, LBA_8, LBA_4, GROUP, CONTROL}},
    {0x8a,
     -1,
     16,
     WRITES,
     cdb_decode_block_16,
     transfer_write,
     {WRITE_BITS, LBA_8, LBA_4, GROUP, CONTROL}},
    {0x8f,
     -1,
     16,
     READS,
     cdb_decode_block_16,
     blocks_verify,
     {VERIFY_BITS, LBA_8, LBA_4, GROUP, CONTROL}},
    {0x91,
     -1,
     16,
     READS,
     cdb_decode_block_16,
     transfer_flush,
     {0x06, LBA_8, LBA_4, GROUP, CONTROL}},
    {0x93,
     -1,
     16,
     WRITES,
     cdb_decode_block_16,
     blocks_write_same,
     {0x09, LBA_8, LBA_4, GROUP, CONTROL}},
    {0x9e,
     0x10,
     16,
     READS,
     cdb_decode_length_16,
     read_capacity_16,
     {0, 0, 0, 0, 0, 0, 0, 0, 0, LBA_4, 0, CONTROL}},
    {0x9e,
     0x12,
     16,
     READS,
     cdb_decode_block_length_16,
     blocks_get_status,
     {0, LBA_8, LBA_4, 0, CONTROL}},
    {0xa3,
     0x0c,
     12,
     0,
     cdb_decode_length_12,
     cdb_report_opcodes,
     {0, 0x87, ANY, ANY, ANY, LBA_4, 0, CONTROL}},
    {0xa8,
     -1,
     12,
     READS,
     cdb_decode_block_12,
     transfer_read,
     {READ_BITS, LBA_4, LBA_4, GROUP, CONTROL}},
    {0xaa,
     -1,
     12,
     WRITES,
     cdb_decode_block_12,
     transfer_write,
     {WRITE_BITS, LBA_4, LBA_4, GROUP, CONTROL}},
};

static const struct scsi_kind disk_kind = {
    .device_type = 0x00,
    .product = "Virtual Disk",
    .opcodes = {opcodes, sizeof(opcodes) / sizeof(opcodes[0])},
    .mode_pages = mode_pages,
};

int scsi_disk_create(struct disk *disk, const struct scsi_identity *identity,
                     struct scsi_target **ret)
{
    const struct disk_geometry *geometry = disk_geometry(disk);
    struct scsi_target *target = NULL;

    if (geometry->capacity < geometry->logical_sector ||
        (identity != NULL && identity->serial != NULL &&
         strlen(identity->serial) > SCSI_SERIAL_LENGTH))
        return -EINVAL;
    int error = target_create(&disk_kind, geometry->logical_sector, &target);
    if (error < 0)
        return error;
    target->medium = disk;
    inquiry_name(target, geometry->id, identity);
    *ret = target;
    return 0;
}
