/*
 * What a log holds after an unclean end: the newest sequence of whole entries, MS-VHDX § 2.3.3.
 *
 * The log is read once, into memory, without its holes: a log of 64 MiB is mostly one. An entry
 * counts when all of it is consistent: that is looked at before its checksum is made, so that
 * overlapping entries of a hostile log cost no more than its length.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "disk/vhdx/log.h"
#include "disk/vhdx/log_wire.h"

struct log_view {
    uint8_t *sectors; /* the first is zero, as all are that lie in holes */
    uint32_t *slots;  /* by sector of the log: its place in `sectors`, ascending but for holes */
    uint32_t length;
    uint32_t count; /* of `sectors` */
    const struct partition_guid *guid;
};

struct log_entry {
    uint64_t sequence, flushed_end, last_end;
    uint32_t at, length, tail, count;
};

static uint8_t *sector_at(const struct log_view *view, uint64_t at)
{
    uint64_t within = at % view->length;
    return view->sectors + (size_t)view->slots[within / LOG_SECTOR] * LOG_SECTOR +
           within % LOG_SECTOR;
}

static uint8_t *descriptor_at(const struct log_view *view, const struct log_entry *entry,
                              uint32_t index)
{
    return sector_at(view, entry->at + LOG_ENTRY_HEADER + (uint64_t)index * LOG_DESCRIPTOR);
}

static bool is_data(const uint8_t *descriptor)
{
    return memcmp(descriptor, "desc", 4) == 0;
}

static uint64_t sectors_before_data(uint32_t count)
{
    return (LOG_ENTRY_HEADER + (uint64_t)count * LOG_DESCRIPTOR + LOG_SECTOR - 1) / LOG_SECTOR;
}

static bool decode_entry_header(const struct log_view *view, uint32_t at, struct log_entry *ret)
{
    const uint8_t *bytes = sector_at(view, at);

    if (memcmp(bytes, "loge", 4) != 0 || memcmp(bytes + ENTRY_GUID, view->guid->bytes, 16) != 0)
        return false;
    *ret = (struct log_entry){.sequence = get_le64(bytes + ENTRY_SEQUENCE),
                              .flushed_end = get_le64(bytes + ENTRY_FLUSHED_END),
                              .last_end = get_le64(bytes + ENTRY_LAST_END),
                              .at = at,
                              .length = get_le32(bytes + ENTRY_LENGTH),
                              .tail = get_le32(bytes + ENTRY_TAIL),
                              .count = get_le32(bytes + ENTRY_COUNT)};
    return ret->length != 0 && ret->length % LOG_SECTOR == 0 && ret->length <= view->length &&
           ret->tail % LOG_SECTOR == 0 && ret->tail < view->length && ret->sequence != 0 &&
           sectors_before_data(ret->count) * LOG_SECTOR <= ret->length;
}

/* Descriptors of the entry's own sequence, and as many sectors of data as they want. */
static bool entry_is_consistent(const struct log_view *view, const struct log_entry *entry)
{
    uint64_t at = entry->at + sectors_before_data(entry->count) * LOG_SECTOR;
    uint64_t end = (uint64_t)entry->at + entry->length;

    for (uint32_t i = 0; i < entry->count; i++) {
        const uint8_t *descriptor = descriptor_at(view, entry, i);
        if (get_le64(descriptor + DESCRIPTOR_SEQUENCE) != entry->sequence)
            return false;
        if (!is_data(descriptor)) {
            if (memcmp(descriptor, "zero", 4) != 0)
                return false;
            continue;
        }
        const uint8_t *sector = sector_at(view, at);
        if (at == end || memcmp(sector, "data", 4) != 0 ||
            get_le32(sector + 4) != entry->sequence >> 32 ||
            get_le32(sector + LOG_SECTOR - 4) != (uint32_t)entry->sequence)
            return false;
        at += LOG_SECTOR;
    }
    return at == end;
}

static bool checksum_is_right(const struct log_view *view, const struct log_entry *entry)
{
    static const uint8_t zero[4];
    const uint8_t *first = sector_at(view, entry->at);
    uint32_t crc = crc32c(0, first, ENTRY_CHECKSUM);

    crc = crc32c(crc, zero, sizeof(zero));
    crc = crc32c(crc, first + ENTRY_CHECKSUM + 4, LOG_SECTOR - ENTRY_CHECKSUM - 4);
    for (uint64_t i = LOG_SECTOR; i < entry->length; i += LOG_SECTOR)
        crc = crc32c(crc, sector_at(view, entry->at + i), LOG_SECTOR);
    return crc == get_le32(first + ENTRY_CHECKSUM);
}

static bool read_entry(const struct log_view *view, uint32_t at, struct log_entry *ret)
{
    return decode_entry_header(view, at, ret) && entry_is_consistent(view, ret) &&
           checksum_is_right(view, ret);
}

/* ---- reading ---- */

/* Give each sector that has data its slot; a sector that has some at all is read as a whole. */
static int find_data(struct file *file, uint64_t offset, struct log_view *view)
{
    int error = 0;

    view->count = 1;
    for (uint64_t at = 0; error == 0 && at < view->length;) {
        uint64_t stop = 0;
        bool data = true;
        error = file_extent(file, offset + at, &stop, &data);
        uint64_t end = stop - offset < view->length ? stop - offset : view->length;
        for (uint64_t i = at / LOG_SECTOR; error == 0 && data && i * LOG_SECTOR < end; i++) {
            if (view->slots[i] == 0)
                view->slots[i] = view->count++;
        }
        at = end;
    }
    return error;
}

static int read_data(struct file *file, uint64_t offset, const struct log_view *view)
{
    uint32_t sectors = view->length / LOG_SECTOR;
    int error = 0;

    for (uint32_t i = 0; error == 0 && i < sectors;) {
        uint32_t run = 1;
        if (view->slots[i] != 0) {
            while (i + run < sectors && view->slots[i + run] != 0)
                run++;
            error = file_read(file, sector_at(view, (uint64_t)i * LOG_SECTOR),
                              (size_t)run * LOG_SECTOR, offset + (uint64_t)i * LOG_SECTOR);
        }
        i += run;
    }
    return error;
}

static int read_log(struct file *file, const struct vhdx_header *header, struct log_view *ret)
{
    *ret = (struct log_view){.length = header->log_length, .guid = &header->log};
    ret->slots = calloc(ret->length / LOG_SECTOR, sizeof(*ret->slots));
    int error = ret->slots != NULL ? find_data(file, header->log_offset, ret) : -ENOMEM;
    if (error < 0)
        return error;
    ret->sectors = malloc((size_t)ret->count * LOG_SECTOR);
    if (ret->sectors == NULL)
        return -ENOMEM;
    memset(ret->sectors, 0, LOG_SECTOR);
    return read_data(file, header->log_offset, ret);
}

/* ---- its entries ---- */

/*
 * Valid entries by the slot of the sector at which they begin, so that each is looked at once.
 * NULL: none begins there.
 */
struct log_index {
    struct log_entry *entries;
    size_t count;
    uint32_t *by_slot; /* index + 1 */
};

static int index_log(const struct log_view *view, struct log_index *index)
{
    uint32_t sectors = view->length / LOG_SECTOR;

    index->by_slot = calloc(view->count, sizeof(*index->by_slot));
    index->entries = calloc(view->count, sizeof(*index->entries));
    if (index->by_slot == NULL || index->entries == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < sectors; i++) {
        if (view->slots[i] != 0 && read_entry(view, i * LOG_SECTOR, &index->entries[index->count]))
            index->by_slot[view->slots[i]] = (uint32_t)++index->count;
    }
    return 0;
}

static const struct log_entry *entry_at(const struct log_view *view, const struct log_index *index,
                                        uint64_t at)
{
    uint32_t found = index->by_slot[view->slots[at % view->length / LOG_SECTOR]];
    return found != 0 ? &index->entries[found - 1] : NULL;
}

static const struct log_entry *entry_after(const struct log_view *view,
                                           const struct log_index *index,
                                           const struct log_entry *entry)
{
    const struct log_entry *next = entry_at(view, index, (uint64_t)entry->at + entry->length);
    return next != NULL && next->sequence == entry->sequence + 1 ? next : NULL;
}

/* The newest entry whose sequence, from its tail on, is whole; `*ret_first` is the oldest of it. */
static const struct log_entry *find_active(const struct log_view *view,
                                           const struct log_index *index,
                                           const struct log_entry **ret_first)
{
    const struct log_entry *newest = NULL;

    for (size_t i = 0; i < index->count; i++) {
        const struct log_entry *head = &index->entries[i];
        if (newest != NULL && head->sequence <= newest->sequence)
            continue;
        const struct log_entry *first = entry_at(view, index, head->tail);
        const struct log_entry *at = first;
        size_t steps = index->count;
        while (at != NULL && at != head && steps-- > 0)
            at = entry_after(view, index, at);
        if (at != head)
            continue;
        newest = head;
        *ret_first = first;
    }
    return newest;
}

/* ---- its changes ---- */

/* The headers are never changed by the log; all else of the file may be. */
static bool decode_change(const struct log_view *view, const uint8_t *descriptor, uint64_t at,
                          struct vhdx_change *ret)
{
    *ret = (struct vhdx_change){.offset = get_le64(descriptor + DESCRIPTOR_OFFSET),
                                .length = LOG_SECTOR};
    if (is_data(descriptor)) {
        uint8_t *page = sector_at(view, at);
        memcpy(page, descriptor + DESCRIPTOR_LEADING, 8);
        memcpy(page + LOG_SECTOR - 4, descriptor + DESCRIPTOR_TRAILING, 4);
        ret->page = page;
    } else {
        ret->length = get_le64(descriptor + DESCRIPTOR_ZERO_LENGTH);
    }
    return ret->offset % LOG_SECTOR == 0 && ret->length % LOG_SECTOR == 0 &&
           ret->offset >= VHDX_REGIONS_0 && ret->length <= 2 * VHDX_MOST_CAPACITY &&
           ret->offset <= 2 * VHDX_MOST_CAPACITY - ret->length;
}

static int take_changes(const struct log_view *view, const struct log_entry *entry,
                        struct vhdx_replay *replay)
{
    uint64_t at = entry->at + sectors_before_data(entry->count) * LOG_SECTOR;

    for (uint32_t i = 0; i < entry->count; i++) {
        const uint8_t *descriptor = descriptor_at(view, entry, i);
        bool data = is_data(descriptor);
        if (!decode_change(view, descriptor, at, &replay->changes[replay->count++]))
            return -EINVAL;
        at += data ? LOG_SECTOR : 0;
    }
    return 0;
}

static int collect(const struct log_view *view, const struct log_index *index,
                   struct vhdx_replay *replay)
{
    const struct log_entry *first = NULL;
    const struct log_entry *head = find_active(view, index, &first);
    size_t count = 0;
    int error = 0;

    if (head == NULL)
        return 0;
    for (const struct log_entry *at = first;; at = entry_after(view, index, at)) {
        count += at->count;
        if (at == head)
            break;
    }
    replay->changes = calloc(count + 1, sizeof(*replay->changes)); /* an entry may be empty */
    if (replay->changes == NULL)
        return -ENOMEM;
    replay->file_end = head->flushed_end > head->last_end ? head->flushed_end : head->last_end;
    if (replay->file_end > 2 * VHDX_MOST_CAPACITY)
        return -EINVAL;
    for (const struct log_entry *at = first; error == 0; at = entry_after(view, index, at)) {
        error = take_changes(view, at, replay);
        if (at == head)
            break;
    }
    return error;
}

int vhdx_replay_read(struct file *file, const struct vhdx_header *header, struct vhdx_replay *ret,
                     struct reason *reason)
{
    static const struct partition_guid none;
    struct log_view view;
    struct log_index index = {0};

    *ret = (struct vhdx_replay){0};
    if (memcmp(&header->log, &none, sizeof(none)) == 0)
        return 0;
    int error = read_log(file, header, &view);
    ret->log = view.sectors;
    if (error == 0)
        error = index_log(&view, &index);
    if (error == 0)
        error = collect(&view, &index, ret);
    free(index.entries);
    free(index.by_slot);
    free(view.slots);
    if (error == -EINVAL)
        reason_fill(reason, "the log at %#llx changes what no log may",
                    (unsigned long long)header->log_offset);
    if (error < 0)
        vhdx_replay_release(ret);
    return error;
}

static int extend(struct file *file, uint64_t end)
{
    uint64_t size = 0;
    int error = file_size(file, &size);

    return error < 0 || size >= end ? error : file_truncate(file, end);
}

int vhdx_replay_apply(const struct vhdx_replay *replay, struct file *file)
{
    int error = replay->file_end != 0 ? extend(file, replay->file_end) : 0;

    for (size_t i = 0; error == 0 && i < replay->count; i++) {
        const struct vhdx_change *change = &replay->changes[i];
        error = change->page != NULL ? file_write(file, change->page, LOG_SECTOR, change->offset)
                                     : file_punch(file, change->offset, change->length);
    }
    return error < 0 ? error : file_flush(file);
}

void vhdx_replay_patch(const struct vhdx_replay *replay, uint8_t *bytes, size_t length,
                       uint64_t offset)
{
    for (size_t i = 0; i < replay->count; i++) {
        const struct vhdx_change *change = &replay->changes[i];
        uint64_t from = change->offset > offset ? change->offset : offset;
        uint64_t change_end = change->offset + change->length;
        uint64_t to = change_end < offset + length ? change_end : offset + length;
        if (from >= to)
            continue;
        if (change->page != NULL)
            memcpy(bytes + (from - offset), change->page + (from - change->offset), to - from);
        else
            memset(bytes + (from - offset), 0, to - from);
    }
}

void vhdx_replay_release(struct vhdx_replay *replay)
{
    free(replay->changes);
    free(replay->log);
    *replay = (struct vhdx_replay){0};
}
