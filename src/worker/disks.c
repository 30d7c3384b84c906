#include "worker/disks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"
struct disks {
    size_t count;
    const struct worker_config *config;
    struct machine_disk places[WORKER_MAX_DISKS];
    bool taken[MACHINE_MAX_CONTROLLERS][MACHINE_MAX_LUNS];
};

static int take_place(struct disks *disks, const struct worker_disk *disk, struct reason *reason)
{
    if (disk->controller >= MACHINE_MAX_CONTROLLERS || disk->lun >= MACHINE_MAX_LUNS)
        return reason_set(reason, -EINVAL, "%s: no place %u:%u; it is 0:0 to %d:%d", disk->path,
                          disk->controller, disk->lun, MACHINE_MAX_CONTROLLERS - 1,
                          MACHINE_MAX_LUNS - 1);
    if (disks->taken[disk->controller][disk->lun])
        return reason_set(reason, -EEXIST, "%s: place %u:%u is taken by another disk", disk->path,
                          disk->controller, disk->lun);
    disks->taken[disk->controller][disk->lun] = true;
    return 0;
}

static int find_place(struct disks *disks, struct machine_disk *place, struct reason *reason)
{
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        place->controller = i / MACHINE_MAX_LUNS;
        place->lun = i % MACHINE_MAX_LUNS;
        if (disks->taken[place->controller][place->lun])
            continue;
        disks->taken[place->controller][place->lun] = true;
        return 0;
    }
    return reason_set(reason, -ENOSPC, "there are places for %d disks",
                      MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS);
}

/* Those with a place of their own first: the others go around them. */
static int place_all(struct disks *disks, struct reason *reason)
{
    const struct worker_config *config = disks->config;
    int error = 0;

    for (size_t i = 0; error == 0 && i < config->disk_count; i++) {
        const struct worker_disk *disk = &config->disks[i];
        disks->places[i].controller = disk->controller;
        disks->places[i].lun = disk->lun;
        if (disk->placed)
            error = take_place(disks, disk, reason);
    }
    for (size_t i = 0; error == 0 && i < config->disk_count; i++) {
        if (!config->disks[i].placed)
            error = find_place(disks, &disks->places[i], reason);
    }
    return error;
}

static int open_all(struct disks *disks, struct reason *reason)
{
    const struct worker_config *config = disks->config;

    for (size_t i = 0; i < config->disk_count; i++) {
        const struct worker_disk *disk = &config->disks[i];
        struct machine_disk *place = &disks->places[i];
        unsigned flags = disk->read_only || disk->dvd ? 0 : DISK_WRITABLE;
        place->dvd = disk->dvd;
        place->serial = disk->serial;
        disks->count = i + 1;
        if (disk->path == NULL)
            continue;
        int error = disk_open(disk->path, flags, &place->disk, reason);
        if (error < 0)
            return error;
    }
    return 0;
}

int disks_open(const struct worker_config *config, struct disks **ret, struct reason *reason)
{
    struct disks *disks = calloc(1, sizeof(*disks));

    if (disks == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    disks->config = config;
    int error = place_all(disks, reason);
    if (error == 0)
        error = open_all(disks, reason);
    if (error < 0) {
        (void)disks_close(disks, NULL);
        return error;
    }
    *ret = disks;
    return 0;
}

const struct machine_disk *disks_places(const struct disks *disks, size_t *ret_count)
{
    *ret_count = disks->count;
    return disks->places;
}

static int describe(const struct worker_disk *disk, const struct machine_disk *place,
                    struct control_disk *ret)
{
    ret->controller = place->controller;
    ret->lun = place->lun;
    ret->read_only = disk->read_only || disk->dvd;
    ret->dvd = disk->dvd;
    if (place->disk == NULL)
        return 0;
    const struct disk_counts *counts = disk_counts(place->disk);
    ret->capacity = disk_geometry(place->disk)->capacity;
    ret->reads = counts->reads;
    ret->writes = counts->writes;
    ret->read_bytes = counts->read_bytes;
    ret->written_bytes = counts->written_bytes;
    ret->path = strdup(disk->path);
    return ret->path != NULL ? 0 : -ENOMEM;
}

_Static_assert((int)CONTROL_MOST_DISKS >= (int)WORKER_MAX_DISKS, "all disks can be told");

int disks_describe(const struct disks *disks, struct control_status *ret)
{
    int error = 0;

    ret->disks = calloc(disks->count + 1, sizeof(*ret->disks)); /* none is no error */
    if (ret->disks == NULL)
        return -ENOMEM;
    ret->disk_count = disks->count;
    for (size_t i = 0; error == 0 && i < disks->count; i++)
        error = describe(&disks->config->disks[i], &disks->places[i], &ret->disks[i]);
    return error;
}

int disks_close(struct disks *disks, struct reason *reason)
{
    int first = 0;

    for (size_t i = 0; disks != NULL && i < disks->count; i++) {
        int error = disk_close(disks->places[i].disk);
        if (error < 0 && first == 0)
            first = reason_set(reason, error, "%s: what the guest wrote last may be lost: %s",
                               disks->config->disks[i].path, strerrordesc_np(-error));
    }
    free(disks);
    return first;
}
