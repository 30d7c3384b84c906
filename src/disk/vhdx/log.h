/*
 * The log of a VHDX file (MS-VHDX § 2.3): changes of metadata, made whole or not at all.
 *
 * Each commit is one entry, and a sequence of its own (its tail is itself): the flush that begins
 * the next commit makes this one's changes durable at home before its entry is needed no more.
 * An entry is at most half of the log, so that the one before it stays whole while it is written.
 */
#ifndef DISK_VHDX_LOG_H
#define DISK_VHDX_LOG_H

#include "disk/file.h"
#include "disk/vhdx/wire.h"

/* ---- what an unclean end has left ---- */

struct vhdx_change {
    uint64_t offset, length; /* in the file, multiples of 4 KiB */
    const uint8_t *page;     /* 4 KiB; NULL: zeroes */
};

struct vhdx_replay {
    struct vhdx_change *changes; /* in their order */
    size_t count;
    uint64_t file_end; /* the file is at least that long */
    uint8_t *log;      /* sectors of it, which the changes point into */
};

/*
 * The changes that a log holds, none when its guid is zero or it is empty. Errors are those of the
 * file, -EINVAL with a reason when the log cannot be what it says, -ENOMEM.
 */
int vhdx_replay_read(struct file *file, const struct vhdx_header *header, struct vhdx_replay *ret,
                     struct reason *reason);
/* Carry them out, durably. */
int vhdx_replay_apply(const struct vhdx_replay *replay, struct file *file);
/* Change what was read from `offset` as if they had been carried out. */
void vhdx_replay_patch(const struct vhdx_replay *replay, uint8_t *bytes, size_t length,
                       uint64_t offset);
void vhdx_replay_release(struct vhdx_replay *replay);

/* ---- writing ---- */

struct vhdx_log {
    uint64_t offset, sequence;
    uint32_t length, head;
    struct partition_guid guid;
    unsigned most, count;   /* pages in one entry */
    uint64_t *homes;        /* where each page belongs */
    uint8_t *pages, *entry; /* the entry is made when it is sealed */
    size_t entry_length;
};

void vhdx_log_init(struct vhdx_log *log, const struct vhdx_header *header);
/* Have memory for entries, which a disk that is only read needs not; -ENOMEM. */
int vhdx_log_reserve(struct vhdx_log *log);
void vhdx_log_release(struct vhdx_log *log);
/* A new log under `guid`: nothing that is in it counts. */
void vhdx_log_restart(struct vhdx_log *log, const struct partition_guid *guid);
/* One more page of the next entry, of which there are at most `most`. */
uint8_t *vhdx_log_add(struct vhdx_log *log, uint64_t home);
/* All pages are there; the file is `file_end` bytes long. */
void vhdx_log_seal(struct vhdx_log *log, uint64_t file_end);
/* Write the entry; durable after the next flush. */
int vhdx_log_write(struct vhdx_log *log, struct file *file);
/* Then the pages to their homes; and the next entry begins. */
int vhdx_log_write_home(struct vhdx_log *log, struct file *file);

#endif
