/*
 * 1. A place is free, has a disk or a drive, or is being left: then a departure has its disk, and
 *    the place is free again when the file is closed.
 * 2. A disk that the machine has let go of is closed by the departure's timer, not in the midst of
 *    what the machine and the disk are doing.
 */
#include "worker/disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/loop.h"
#include "disk/disk.h"
#include "disk/queue.h"

struct place {
    bool taken, leaving;
    bool read_only, dvd;
    char *path;        /* NULL: a drive without a disc */
    struct disk *disk; /* NULL: the same, or it is leaving */
};

/* A disk on its way out. */
struct departure {
    struct disks *disks;
    struct departure *next;
    struct place *place; /* to be freed; NULL: the drive stays */
    char *path;
    struct disk *disk; /* NULL: a drive without a disc leaves */
    bool released;     /* by the machine */
    struct loop_timer *timer;
    struct disks_answer answer; /* `ended` NULL: it was given */
};

struct disks {
    struct loop *loop;
    struct machine *machine;
    struct disk_io *io; /* NULL: not yet in use, or requests are served at once */
    unsigned patience_ms;
    size_t count; /* of those from the start */
    struct machine_disk initial[WORKER_MAX_DISKS];
    struct place places[MACHINE_MAX_CONTROLLERS][MACHINE_MAX_LUNS];
    struct departure *departures;
    int late_error; /* the first that came when its order was answered already */
    struct reason late_reason;
};

/* ---- files ---- */

static int open_disk(const struct disks *disks, const struct worker_disk *disk, struct disk **ret,
                     struct reason *reason)
{
    unsigned flags = disk->read_only || disk->dvd ? 0 : DISK_WRITABLE;
    struct disk *opened = NULL;
    int error = disk_open(disk->path, flags, &opened, reason);

    if (error < 0)
        return error;
    if (disks->io != NULL && disk_queue_start(opened, disks->io) < 0) {
        (void)disk_close(opened);
        return reason_set(reason, -ENOMEM, "out of memory");
    }
    *ret = opened;
    return 0;
}

static int close_disk(struct disk *disk, const char *path, struct reason *reason)
{
    int error = disk_close(disk);

    return error < 0 ? reason_set(reason, error, "%s: what the guest wrote last may be lost: %s",
                                  path, strerrordesc_np(-error))
                     : 0;
}

static void keep_first(int error, const struct reason *why, int *first, struct reason *reason)
{
    if (error < 0 && *first == 0)
        *first = reason_set(reason, error, "%s", why->text);
}

/* ---- places ---- */

static const char *name_of(const struct worker_disk *disk)
{
    return disk->path != NULL ? disk->path : "a DVD drive";
}

static int check_place(const struct worker_disk *disk, struct reason *reason)
{
    if (disk->controller < MACHINE_MAX_CONTROLLERS && disk->lun < MACHINE_MAX_LUNS)
        return 0;
    return reason_set(reason, -EINVAL, "%s: no place %u:%u; it is 0:0 to %d:%d", name_of(disk),
                      disk->controller, disk->lun, MACHINE_MAX_CONTROLLERS - 1,
                      MACHINE_MAX_LUNS - 1);
}

static int take_place(struct disks *disks, const struct worker_disk *disk, struct machine_disk *ret,
                      struct reason *reason)
{
    int error = check_place(disk, reason);

    if (error < 0)
        return error;
    struct place *place = &disks->places[disk->controller][disk->lun];
    if (place->taken)
        return reason_set(reason, -EEXIST, "%s: place %u:%u is taken by another disk",
                          name_of(disk), disk->controller, disk->lun);
    place->taken = true;
    ret->controller = disk->controller;
    ret->lun = disk->lun;
    return 0;
}

static int find_place(struct disks *disks, struct machine_disk *ret, struct reason *reason)
{
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        ret->controller = i / MACHINE_MAX_LUNS;
        ret->lun = i % MACHINE_MAX_LUNS;
        struct place *place = &disks->places[ret->controller][ret->lun];
        if (place->taken)
            continue;
        place->taken = true;
        return 0;
    }
    return reason_set(reason, -ENOSPC, "there are places for %d disks",
                      MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS);
}

static struct place *place_of(struct disks *disks, const struct machine_disk *disk)
{
    return &disks->places[disk->controller][disk->lun];
}

static void free_place(struct place *place)
{
    free(place->path);
    *place = (struct place){0};
}

/* Who is told of it may stand in another folder. */
static char *absolute(const char *path)
{
    auto_free char *folder = path[0] != '/' ? get_current_dir_name() : NULL;
    char *ret = NULL;

    if (folder == NULL)
        return strdup(path);
    return asprintf(&ret, "%s/%s", folder, path) < 0 ? NULL : ret;
}

/* Open the file of a place that is taken. */
static int fill_place(struct disks *disks, const struct worker_disk *disk,
                      struct machine_disk *placed, struct reason *reason)
{
    struct place *place = place_of(disks, placed);

    place->read_only = disk->read_only || disk->dvd;
    place->dvd = placed->dvd = disk->dvd;
    placed->serial = disk->serial;
    if (disk->path == NULL)
        return 0;
    place->path = absolute(disk->path);
    if (place->path == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    int error = open_disk(disks, disk, &place->disk, reason);
    placed->disk = place->disk;
    return error;
}

/* ---- the start ---- */

/* Those with a place of their own first: the others go around them. */
static int place_all(struct disks *disks, const struct worker_config *config, struct reason *reason)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < config->disk_count; i++) {
        if (config->disks[i].placed)
            error = take_place(disks, &config->disks[i], &disks->initial[i], reason);
    }
    for (size_t i = 0; error == 0 && i < config->disk_count; i++) {
        if (!config->disks[i].placed)
            error = find_place(disks, &disks->initial[i], reason);
    }
    return error;
}

int disks_open(const struct worker_config *config, struct loop *loop, struct disks **ret,
               struct reason *reason)
{
    struct disks *disks = calloc(1, sizeof(*disks));

    if (disks == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    disks->loop = loop;
    disks->patience_ms = DISKS_PATIENCE_MS;
    disks->count = config->disk_count;
    int error = place_all(disks, config, reason);
    for (size_t i = 0; error == 0 && i < config->disk_count; i++)
        error = fill_place(disks, &config->disks[i], &disks->initial[i], reason);
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
    return disks->initial;
}

/* For those who look for faults, and for comparisons; partita-run(1). */
static int create_io(struct disks *disks, struct reason *reason)
{
    static const char *const names[] = {
        [DISK_IO_BEST] = "best", [DISK_IO_URING] = "io_uring", [DISK_IO_THREADS] = "threads"};
    const char *wish = getenv("PARTITA_DISK_IO"); /* NOLINT(concurrency-mt-unsafe) */
    unsigned kind = 0;

    if (wish != NULL && strcmp(wish, "sync") == 0)
        return 0;
    while (wish != NULL && kind < sizeof(names) / sizeof(names[0]) &&
           strcmp(wish, names[kind]) != 0)
        kind++;
    if (kind == sizeof(names) / sizeof(names[0]))
        return reason_set(reason, -EINVAL,
                          "PARTITA_DISK_IO is '%s'; it may be best, io_uring, threads or sync",
                          wish);
    int error = disk_io_create(disks->loop, (enum disk_io_kind)kind, &disks->io);
    return error < 0 ? reason_set(reason, error, "the host serves no disks by %s: %s", names[kind],
                                  strerrordesc_np(-error))
                     : 0;
}

int disks_serve(struct disks *disks, struct machine *machine, struct reason *reason)
{
    int error = create_io(disks, reason);

    disks->machine = machine;
    if (disks->io == NULL)
        return error;
    for (unsigned i = 0; error == 0 && i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        struct disk *disk = disks->places[i / MACHINE_MAX_LUNS][i % MACHINE_MAX_LUNS].disk;
        if (disk != NULL)
            error = disk_queue_start(disk, disks->io);
    }
    return error < 0 ? reason_set(reason, error, "out of memory") : 0;
}

void disks_set_patience(struct disks *disks, unsigned ms)
{
    disks->patience_ms = ms;
}

/* ---- what is told ---- */

static int describe(const struct place *place, struct control_disk *ret)
{
    ret->read_only = place->read_only;
    ret->dvd = place->dvd;
    if (place->disk == NULL)
        return 0;
    const struct disk_counts *counts = disk_counts(place->disk);
    ret->capacity = disk_geometry(place->disk)->capacity;
    ret->reads = counts->reads;
    ret->writes = counts->writes;
    ret->read_bytes = counts->read_bytes;
    ret->written_bytes = counts->written_bytes;
    ret->path = strdup(place->path);
    return ret->path != NULL ? 0 : -ENOMEM;
}

_Static_assert((int)CONTROL_MOST_DISKS >= MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS,
               "all disks can be told");

int disks_describe(const struct disks *disks, struct control_status *ret)
{
    int error = 0;

    ret->disks = calloc(CONTROL_MOST_DISKS, sizeof(*ret->disks));
    if (ret->disks == NULL)
        return -ENOMEM;
    for (unsigned i = 0; error == 0 && i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        const struct place *place = &disks->places[i / MACHINE_MAX_LUNS][i % MACHINE_MAX_LUNS];
        struct control_disk *told = &ret->disks[ret->disk_count];
        if (!place->taken || place->leaving)
            continue;
        told->controller = i / MACHINE_MAX_LUNS;
        told->lun = i % MACHINE_MAX_LUNS;
        ret->disk_count++;
        error = describe(place, told);
    }
    return error;
}

/* ---- departures ---- */

static void give_answer(struct departure *departure, int error, const struct reason *reason)
{
    const struct disks_answer answer = departure->answer;

    departure->answer.ended = NULL;
    if (answer.ended != NULL)
        answer.ended(answer.owner, error, reason);
}

static void drop_departure(struct departure *departure)
{
    struct departure **link = &departure->disks->departures;

    while (*link != departure)
        link = &(*link)->next;
    *link = departure->next;
    loop_timer_destroy(departure->timer);
    free(departure->path);
    free(departure);
}

static void finish_departure(struct departure *departure)
{
    struct reason reason = {0};
    int error = close_disk(departure->disk, departure->path, &reason);

    if (departure->place != NULL)
        free_place(departure->place);
    if (departure->answer.ended == NULL)
        keep_first(error, &reason, &departure->disks->late_error, &departure->disks->late_reason);
    give_answer(departure, error, &reason);
    drop_departure(departure);
}

static void departure_timer(void *owner)
{
    struct departure *departure = owner;
    struct reason reason;

    if (departure->released) {
        finish_departure(departure);
        return;
    }
    reason_fill(&reason, "%s: still in use after %u ms; it leaves when the last command has ended",
                departure->path, departure->disks->patience_ms);
    give_answer(departure, -EBUSY, &reason);
}

static void disk_released(void *owner, struct disk *disk)
{
    struct departure *departure = owner;

    (void)disk;
    departure->released = true;
    loop_timer_set(departure->timer, 1);
}

/* For the disk that is at the place now. */
static struct departure *make_departure(struct disks *disks, const struct place *place,
                                        const struct disks_answer *answer)
{
    struct departure *departure = calloc(1, sizeof(*departure));

    if (departure == NULL)
        return NULL;
    *departure = (struct departure){.disks = disks, .disk = place->disk, .answer = *answer};
    departure->path = strdup(place->path != NULL ? place->path : "a drive without a disc");
    if (departure->path == NULL ||
        loop_timer_create(disks->loop, departure_timer, departure, &departure->timer) < 0) {
        free(departure->path);
        free(departure);
        return NULL;
    }
    departure->next = disks->departures;
    disks->departures = departure;
    loop_timer_set(departure->timer,
                   clock_monotonic_ns() + NS_PER_SECOND / 1000 * (uint64_t)disks->patience_ms);
    return departure;
}

/* ---- orders ---- */

static int plug_in(struct disks *disks, const struct worker_disk *disk, struct machine_disk *placed,
                   struct reason *reason)
{
    int error = fill_place(disks, disk, placed, reason);

    return error < 0 ? error : machine_add_disk(disks->machine, placed, reason);
}

int disks_attach(struct disks *disks, const struct worker_disk *disk, unsigned *ret_controller,
                 unsigned *ret_lun, struct reason *reason)
{
    struct machine_disk placed = {0};
    int error = disk->placed ? take_place(disks, disk, &placed, reason)
                             : find_place(disks, &placed, reason);

    if (error < 0)
        return error;
    struct place *place = place_of(disks, &placed);
    error = plug_in(disks, disk, &placed, reason);
    if (error < 0) {
        (void)disk_close(place->disk);
        free_place(place);
        return error;
    }
    *ret_controller = placed.controller;
    *ret_lun = placed.lun;
    return 0;
}

static struct place *find_present(struct disks *disks, unsigned controller, unsigned lun)
{
    if (controller >= MACHINE_MAX_CONTROLLERS || lun >= MACHINE_MAX_LUNS)
        return NULL;
    struct place *place = &disks->places[controller][lun];
    return place->taken && !place->leaving ? place : NULL;
}

static void refuse(const struct disks_answer *answer, int error, const struct reason *reason)
{
    answer->ended(answer->owner, error, reason);
}

void disks_detach(struct disks *disks, unsigned controller, unsigned lun,
                  const struct disks_answer *answer)
{
    struct place *place = find_present(disks, controller, lun);
    struct reason reason = {0};

    if (place == NULL) {
        refuse(answer, reason_set(&reason, -ENOENT, "no disk at %u:%u", controller, lun), &reason);
        return;
    }
    struct departure *departure = make_departure(disks, place, answer);
    if (departure == NULL) {
        refuse(answer, reason_set(&reason, -ENOMEM, "out of memory"), &reason);
        return;
    }
    departure->place = place;
    place->leaving = true;
    place->disk = NULL;
    /* It is there: that is known. */
    (void)machine_remove_disk(disks->machine, controller, lun, disk_released, departure);
}

/* What the machine says to another disc. */
static int explain_refusal(int error, const struct machine_disk *disc, struct reason *reason)
{
    switch (error) {
    case -ENOTSUP:
        return reason_set(reason, error, "no DVD drive at %u:%u, but a disk", disc->controller,
                          disc->lun);
    case -EBUSY:
        return reason_set(reason, error, "the disc before this one is still in use");
    case -EINVAL:
        return reason_set(reason, error, "it has larger sectors than a DVD");
    default:
        return reason_set(reason, error, "the disc cannot be changed: error %d", -error);
    }
}

/* Open, and put in; what was in departs. */
static int put_disc(struct disks *disks, struct machine_disk *disc, const char *path,
                    struct departure *departure, struct reason *reason)
{
    const struct worker_disk file = {.path = path, .dvd = true};
    int error = path != NULL ? open_disk(disks, &file, &disc->disk, reason) : 0;
    if (error < 0)
        return error;
    error = machine_change_disc(disks->machine, disc, disk_released, departure);
    if (error < 0) {
        (void)disk_close(disc->disk);
        return explain_refusal(error, disc, reason);
    }
    return 0;
}

/* The same, and note what is there now. */
static int change_disc(struct disks *disks, struct machine_disk *disc, const char *path,
                       struct departure *departure, struct reason *reason)
{
    struct place *place = place_of(disks, disc);
    char *copy = path != NULL ? strdup(path) : NULL;

    if (path != NULL && copy == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    int error = put_disc(disks, disc, path, departure, reason);
    if (error < 0) {
        free(copy);
        return error;
    }
    free(place->path);
    place->path = copy;
    place->disk = disc->disk;
    return 0;
}

static int check_drive(const struct place *place, const struct machine_disk *disc, const char *path,
                       struct reason *reason)
{
    if (place == NULL)
        return reason_set(reason, -ENOENT, "no DVD drive at %u:%u", disc->controller, disc->lun);
    if (!place->dvd)
        return explain_refusal(-ENOTSUP, disc, reason);
    if (place->disk == NULL && path == NULL)
        return reason_set(reason, -ENOENT, "no disc is in the drive at %u:%u", disc->controller,
                          disc->lun);
    return 0;
}

void disks_change_disc(struct disks *disks, unsigned controller, unsigned lun, const char *path,
                       const struct disks_answer *answer)
{
    struct machine_disk disc = {.controller = controller, .lun = lun, .dvd = true};
    const struct place *place = find_present(disks, controller, lun);
    struct reason reason = {0};
    int error = check_drive(place, &disc, path, &reason);

    if (error < 0) {
        refuse(answer, error, &reason);
        return;
    }
    struct departure *departure = make_departure(disks, place, answer);
    if (departure == NULL) {
        refuse(answer, reason_set(&reason, -ENOMEM, "out of memory"), &reason);
        return;
    }
    error = change_disc(disks, &disc, path, departure, &reason);
    if (error == 0 && departure->disk != NULL)
        return; /* it ends when the old disc is closed */
    give_answer(departure, error, &reason);
    drop_departure(departure);
}

/* ---- the end ---- */

void disks_drain(struct disks *disks)
{
    for (struct departure *d = disks->departures; d != NULL; d = d->next) {
        if (d->disk != NULL)
            disk_queue_drain(d->disk);
    }
    for (unsigned i = 0; i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        struct disk *disk = disks->places[i / MACHINE_MAX_LUNS][i % MACHINE_MAX_LUNS].disk;
        if (disk != NULL)
            disk_queue_drain(disk);
    }
}

int disks_close(struct disks *disks, struct reason *reason)
{
    struct reason why = {0};
    int first = 0;

    if (disks != NULL)
        keep_first(disks->late_error, &disks->late_reason, &first, reason);
    while (disks != NULL && disks->departures != NULL) {
        struct departure *departure = disks->departures;
        keep_first(close_disk(departure->disk, departure->path, &why), &why, &first, reason);
        drop_departure(departure);
    }
    for (unsigned i = 0; disks != NULL && i < MACHINE_MAX_CONTROLLERS * MACHINE_MAX_LUNS; i++) {
        struct place *place = &disks->places[i / MACHINE_MAX_LUNS][i % MACHINE_MAX_LUNS];
        keep_first(close_disk(place->disk, place->path, &why), &why, &first, reason);
        free_place(place);
    }
    if (disks != NULL)
        disk_io_destroy(disks->io);
    free(disks);
    return first;
}
