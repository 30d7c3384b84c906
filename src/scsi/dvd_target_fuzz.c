/*
 * Invariant: each command of any bytes ends once, within the bounds of its buffer, whatever becomes
 * of the disc meanwhile; and no disc is ever written (fake_disk.c aborts).
 */
#include "tests/harness/scsi_fuzz.h"

static unsigned taken, released;

static void note_released(void *owner, struct disk *medium)
{
    (void)owner;
    scsi_fuzz_require(medium != NULL);
    released++;
}

static void change(struct scsi_target *target, struct disk *medium)
{
    const struct disk *old = target->medium;
    if (scsi_dvd_insert(target, medium, note_released, NULL) == 0)
        taken += old != NULL && medium != old;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct disk *disc; /* one disc and drive for all runs */
    static struct scsi_target *target;
    struct fuzz_input in = {bytes, length};
    struct scsi_fuzz_command slots[SCSI_FUZZ_COMMANDS];

    if (disc == NULL) {
        disc = fake_disk_create(SCSI_FUZZ_DISK, 512);
        disc->geometry.read_only = true;
        scsi_fuzz_require(scsi_dvd_create(NULL, &target) == 0);
    }
    memset(slots, 0, sizeof(slots));
    memset(disc->fail, 0, sizeof(disc->fail));
    disc->late = false;
    scsi_fuzz_renew(target, (fuzz_take(&in, 1) & 1) != 0 ? disc : NULL);
    for (unsigned i = 0; i < 40 && in.left > 0; i++) {
        uint8_t action = (uint8_t)fuzz_take(&in, 1);
        if (action % 16 == 15)
            change(target, (action & 0x10) != 0 ? disc : NULL);
        else
            scsi_fuzz_act(target, disc, slots, &in, action);
    }
    scsi_fuzz_end_all(disc, slots);
    scsi_fuzz_require(taken == released && target->users == 0);
    scsi_fuzz_require(disc->count[DISK_WRITE] == 0 && disc->count[DISK_UNMAP] == 0);
    return 0;
}
