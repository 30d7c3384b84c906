/*
 * The room of a VHDX file, in units of 1 MiB: what is in use, and what will be free again.
 *
 * Room that is released stays in use until the commit after it is durable: until then what is on
 * the medium still names it. It goes released → committing (vhdx_room_prepare) → free
 * (vhdx_room_committed). Only `committing` is looked at on the thread that commits.
 */
#ifndef DISK_VHDX_ROOM_H
#define DISK_VHDX_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vhdx_room_set {
    uint64_t *bits;
    uint64_t words;     /* of bits */
    uint64_t low, high; /* what is set lies in [low, high) */
};

struct vhdx_room {
    struct vhdx_room_set used, released, committing;
    uint64_t units;                      /* of the file; all behind it is free */
    uint64_t in_use;                     /* units */
    uint64_t no_fit_below, no_fit_count; /* a search for so many found nothing before there */
};

int vhdx_room_init(struct vhdx_room *room, uint64_t units);
void vhdx_room_release_all(struct vhdx_room *room);

/* -EEXIST: it is in use in part, and nothing is changed. -ENOMEM. May lie behind the file's end. */
int vhdx_room_take(struct vhdx_room *room, uint64_t first, uint64_t count);
/* The first free room of `count` units, perhaps behind the file's end; -ENOMEM. */
int vhdx_room_find(struct vhdx_room *room, uint64_t count, uint64_t *ret_first);

/* -ENOMEM */
int vhdx_room_release(struct vhdx_room *room, uint64_t first, uint64_t count);
void vhdx_room_prepare(struct vhdx_room *room);
void vhdx_room_committed(struct vhdx_room *room);
/* The next run at or behind `*first` that will be free after this commit; false: no more. */
bool vhdx_room_next_committing(const struct vhdx_room *room, uint64_t *first, uint64_t *ret_count);

/* The next run of room in use, from `*first` on. */
bool vhdx_room_next_used(const struct vhdx_room *room, uint64_t *first, uint64_t *ret_count);

#endif
