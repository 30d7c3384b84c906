/* The disks of a machine: SCSI targets behind the storage controllers of VMBus. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "disk/disk.h"
#include "disk/queue.h"
#include "machine/machine_private.h"

_Static_assert((int)MACHINE_MAX_CONTROLLERS == (int)STORVSP_MAX_CONTROLLERS &&
                   (int)MACHINE_MAX_LUNS == (int)STORVSP_MAX_LUNS,
               "places of disks are the storage service's");

/* More than these share no work: one thread serves them all. */
enum { MOST_SUBCHANNELS = 3 };

static int create_controller(struct machine *machine, unsigned index, struct reason *reason)
{
    unsigned others = machine->config.vcpu_count - 1;
    const struct storvsp_config config = {
        .vmbus = machine->vmbus,
        .mem = machine->mem,
        .controller = index,
        .max_subchannels = others < MOST_SUBCHANNELS ? others : MOST_SUBCHANNELS,
    };

    if (machine->controllers[index] != NULL)
        return 0;
    return storvsp_create(&config, &machine->controllers[index], reason);
}

/* An image without an id, a raw one, is known by its place. */
static int create_target(const struct machine_disk *disk, struct scsi_target **ret)
{
    static const uint8_t none[16];
    char place[32];
    struct scsi_identity identity = {.serial = disk->serial};

    (void)snprintf(place, sizeof(place), "PARTITA-%u-%u", disk->controller, disk->lun);
    if (!disk->dvd && identity.serial == NULL &&
        memcmp(disk_geometry(disk->disk)->id, none, sizeof(none)) == 0)
        identity.serial = place;
    return disk->dvd ? scsi_dvd_create(disk->disk, ret)
                     : scsi_disk_create(disk->disk, &identity, ret);
}

int machine_add_disk(struct machine *machine, const struct machine_disk *disk,
                     struct reason *reason)
{
    if (machine->vmbus == NULL)
        return reason_set(reason, -EINVAL, "a machine without Hyper-V has no disks");
    if (disk->controller >= MACHINE_MAX_CONTROLLERS || disk->lun >= MACHINE_MAX_LUNS)
        return reason_set(reason, -EINVAL, "no place %u:%u; controllers are 0 to %d, disks 0 to %d",
                          disk->controller, disk->lun, MACHINE_MAX_CONTROLLERS - 1,
                          MACHINE_MAX_LUNS - 1);
    struct machine_slot *slot = &machine->slots[disk->controller][disk->lun];
    if (slot->target != NULL)
        return reason_set(reason, -EEXIST, "%u:%u is taken", disk->controller, disk->lun);

    int error = create_controller(machine, disk->controller, reason);
    if (error < 0)
        return error;
    struct scsi_target *target = NULL;
    error = create_target(disk, &target);
    if (error == 0)
        error = storvsp_add(machine->controllers[disk->controller], disk->lun, target);
    if (error < 0) {
        scsi_destroy(target);
        return reason_set(reason, error, "no disk can be added at %u:%u: error %d",
                          disk->controller, disk->lun, -error);
    }
    *slot = (struct machine_slot){.target = target, .disk = disk->disk};
    return 0;
}

static void target_removed(void *owner, struct scsi_target *target)
{
    struct machine_slot *slot = owner;
    const struct machine_slot was = *slot;

    scsi_destroy(target);
    *slot = (struct machine_slot){0};
    was.removed(was.removed_owner, was.disk);
}

int machine_remove_disk(struct machine *machine, unsigned controller, unsigned lun,
                        void (*removed)(void *owner, struct disk *disk), void *owner)
{
    if (controller >= MACHINE_MAX_CONTROLLERS || lun >= MACHINE_MAX_LUNS ||
        machine->slots[controller][lun].target == NULL)
        return -ENOENT;
    struct machine_slot *slot = &machine->slots[controller][lun];
    if (slot->removed != NULL) /* it is leaving */
        return -ENOENT;
    slot->removed = removed;
    slot->removed_owner = owner;
    return storvsp_remove(machine->controllers[controller], lun, target_removed, slot);
}

int machine_change_disc(struct machine *machine, const struct machine_disk *disc,
                        void (*released)(void *owner, struct disk *disk), void *owner)
{
    if (disc->controller >= MACHINE_MAX_CONTROLLERS || disc->lun >= MACHINE_MAX_LUNS)
        return -ENOENT;
    struct machine_slot *slot = &machine->slots[disc->controller][disc->lun];
    if (slot->target == NULL || slot->removed != NULL)
        return -ENOENT;
    int error = scsi_dvd_insert(slot->target, disc->disk, released, owner);
    if (error == 0)
        slot->disk = disc->disk;
    return error;
}

int machine_create_storage(struct machine *machine, struct reason *reason)
{
    int error = create_controller(machine, 0, reason);

    for (size_t i = 0; error == 0 && i < machine->config.disk_count; i++)
        error = machine_add_disk(machine, &machine->config.disks[i], reason);
    return error;
}

static void controller_rests(void *owner)
{
    struct machine *machine = owner;

    /* Not from here: this is in the midst of the end of a request. */
    if (--machine->controllers_at_work == 0)
        loop_timer_set(machine->reset_timer, 1);
}

bool machine_pause_storage(struct machine *machine)
{
    if (machine->storage_pauses)
        return machine->controllers_at_work == 0;
    machine->storage_pauses = true;
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS; i++) {
        if (machine->controllers[i] == NULL)
            continue;
        machine->controllers_at_work++;
        storvsp_pause(machine->controllers[i], controller_rests, machine);
    }
    return machine->controllers_at_work == 0;
}

void machine_resume_storage(struct machine *machine)
{
    machine->storage_pauses = false;
    machine->controllers_at_work = 0;
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS; i++) {
        if (machine->controllers[i] != NULL)
            storvsp_resume(machine->controllers[i]);
    }
}

/* What is in flight writes into the guest's memory, and uses targets. */
static void let_disks_end(struct machine *machine)
{
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS; i++) {
        if (machine->controllers[i] != NULL)
            storvsp_pause(machine->controllers[i], NULL, NULL);
    }
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        struct disk *disk = machine->slots[i / MACHINE_MAX_LUNS][i % MACHINE_MAX_LUNS].disk;
        if (disk != NULL)
            disk_queue_drain(disk);
    }
}

void machine_destroy_storage(struct machine *machine)
{
    let_disks_end(machine);
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS; i++) {
        storvsp_destroy(machine->controllers[i]);
        machine->controllers[i] = NULL;
        for (unsigned lun = 0; lun < MACHINE_MAX_LUNS; lun++) {
            scsi_destroy(machine->slots[i][lun].target);
            machine->slots[i][lun] = (struct machine_slot){0};
        }
    }
}
