/*
 * Invariant: each command of any bytes ends once, within the bounds of its buffer; the disk is
 * asked only for what it allows (fake_disk.c aborts); and a read-only disk never changes.
 */
#include "tests/harness/scsi_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const uint8_t disk_byte = 0x5a;

static void check_unchanged(const struct disk *disk)
{
    scsi_fuzz_require(disk->bytes[0] == disk_byte &&
                      memcmp(disk->bytes, disk->bytes + 1, SCSI_FUZZ_DISK - 1) == 0);
}

/* Two units, of sectors of 512 and 4096 bytes, for all runs. */
static struct scsi_target *unit_of(uint32_t sector)
{
    static struct scsi_target *target[2];
    struct scsi_target **unit = &target[sector == 4096];
    const struct scsi_identity identity = {.serial = "fuzz"};

    if (*unit == NULL)
        scsi_fuzz_require(
            scsi_disk_create(fake_disk_create(SCSI_FUZZ_DISK, sector), &identity, unit) == 0);
    return *unit;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct fuzz_input in = {bytes, length};
    struct scsi_fuzz_command slots[SCSI_FUZZ_COMMANDS];
    uint8_t kind = (uint8_t)fuzz_take(&in, 1);
    bool read_only = (kind & 1) != 0;
    struct scsi_target *target = unit_of((kind & 2) != 0 ? 4096 : 512);
    struct disk *disk = target->medium;

    memset(slots, 0, sizeof(slots));
    memset(disk->fail, 0, sizeof(disk->fail));
    disk->late = false;
    disk->geometry.read_only = read_only;
    scsi_fuzz_renew(target, disk);
    if (read_only)
        memset(disk->bytes, disk_byte, SCSI_FUZZ_DISK);
    for (unsigned i = 0; i < 40 && in.left > 0; i++)
        scsi_fuzz_act(target, disk, slots, &in, (uint8_t)fuzz_take(&in, 1));
    scsi_fuzz_end_all(disk, slots);
    if (read_only)
        check_unchanged(disk);
    return 0;
}
