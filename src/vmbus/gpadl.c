/*
 * GPADLs: lists of guest pages, by a handle that the guest chooses. A list comes in a header and as
 * many bodies as it takes; it is complete when all page numbers that its range needs are there, and
 * only then of use. Room for it is taken at the header, within a bound for the whole guest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vmbus/vmbus_private.h"

enum { STATUS_OK = 0, PFN_BYTES = 8, RANGE_HEADER = 8 };

static struct gpadl **place_of(struct vmbus *vmbus, uint32_t id)
{
    struct gpadl **at = &vmbus->gpadls;
    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

const struct gpadl *gpadl_find(const struct vmbus *vmbus, uint32_t id, uint32_t relid)
{
    const struct gpadl *gpadl = vmbus->gpadls;
    while (gpadl != NULL && gpadl->id != id)
        gpadl = gpadl->next;
    return gpadl != NULL && gpadl->relid == relid && gpadl->filled == gpadl->count ? gpadl : NULL;
}

static void tell_created(struct vmbus *vmbus, uint32_t relid, uint32_t id, uint32_t status)
{
    uint8_t created[GPADL_CREATED_SIZE] = {0};

    put_le32(created, WIRE_GPADL_CREATED);
    put_le32(created + RELID, relid);
    put_le32(created + GPADL_ID, id);
    put_le32(created + GPADL_CREATED_STATUS, status);
    server_send(vmbus, created, sizeof(created));
}

/* Page numbers from a message; more than are wanted are ignored. */
static void take_pfns(struct vmbus *vmbus, struct gpadl *gpadl, const uint8_t *bytes, size_t length)
{
    for (; length >= PFN_BYTES && gpadl->filled < gpadl->count; length -= PFN_BYTES) {
        gpadl->pfns[gpadl->filled++] = get_le64(bytes);
        bytes += PFN_BYTES;
    }
    if (gpadl->filled == gpadl->count)
        tell_created(vmbus, gpadl->relid, gpadl->id, STATUS_OK);
}

/* How many pages the one range needs; 0: it is refused. */
static size_t decode_range(const uint8_t *message)
{
    uint64_t bytes = get_le32(message + GPADL_BYTE_COUNT);
    uint64_t offset = get_le32(message + GPADL_BYTE_OFFSET);
    uint64_t pages = (offset + bytes + MEM_PAGE_SIZE - 1) / MEM_PAGE_SIZE;

    if (get_le16(message + GPADL_RANGE_COUNT) != 1 || bytes == 0 || offset >= MEM_PAGE_SIZE)
        return 0;
    /* The range's length is told in 16 bits, and wraps for long lists: it is of no use. */
    return pages <= VMBUS_MAX_GPADL_PAGES ? (size_t)pages : 0;
}

static struct gpadl *create(struct vmbus *vmbus, const uint8_t *message, size_t count)
{
    uint32_t id = get_le32(message + GPADL_ID);

    if (count == 0 || vmbus->gpadl_count == VMBUS_MAX_GPADLS ||
        count > VMBUS_MAX_GPADL_PAGES - vmbus->gpadl_pages || *place_of(vmbus, id) != NULL)
        return NULL;
    struct gpadl *gpadl = calloc(1, sizeof(*gpadl) + count * sizeof(gpadl->pfns[0]));
    if (gpadl == NULL)
        return NULL;
    gpadl->id = id;
    gpadl->relid = get_le32(message + RELID);
    gpadl->byte_count = get_le32(message + GPADL_BYTE_COUNT);
    gpadl->byte_offset = get_le32(message + GPADL_BYTE_OFFSET);
    gpadl->count = count;
    gpadl->next = vmbus->gpadls;
    vmbus->gpadls = gpadl;
    vmbus->gpadl_count++;
    vmbus->gpadl_pages += count;
    return gpadl;
}

void gpadl_header(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    struct gpadl *gpadl = create(vmbus, message, decode_range(message));

    if (gpadl == NULL)
        tell_created(vmbus, get_le32(message + RELID), get_le32(message + GPADL_ID),
                     WIRE_STATUS_FAILED);
    else
        take_pfns(vmbus, gpadl, message + GPADL_PFNS, length - GPADL_PFNS);
}

void gpadl_body(struct vmbus *vmbus, const uint8_t *message, size_t length)
{
    struct gpadl *gpadl = *place_of(vmbus, get_le32(message + GPADL_BODY_ID));

    if (gpadl != NULL && gpadl->filled < gpadl->count)
        take_pfns(vmbus, gpadl, message + GPADL_BODY_PFNS, length - GPADL_BODY_PFNS);
}

static void drop(struct vmbus *vmbus, struct gpadl **at)
{
    struct gpadl *gpadl = *at;

    *at = gpadl->next;
    vmbus->gpadl_count--;
    vmbus->gpadl_pages -= gpadl->count;
    free(gpadl);
}

/* One whose rings are in use takes the channel with it. */
void gpadl_teardown(struct vmbus *vmbus, const uint8_t *message)
{
    uint32_t id = get_le32(message + GPADL_ID);
    uint8_t torndown[GPADL_TORNDOWN_SIZE] = {0};
    struct gpadl **at = place_of(vmbus, id);

    if (*at != NULL) {
        struct vmbus_channel *channel =
            (*at)->relid < VMBUS_MAX_RELID ? vmbus->by_relid[(*at)->relid] : NULL;
        if (channel != NULL && channel->open && channel->gpadl == id)
            channel_close(channel);
        drop(vmbus, at);
    }
    put_le32(torndown, WIRE_GPADL_TORNDOWN);
    put_le32(torndown + GPADL_TORNDOWN_ID, id);
    server_send(vmbus, torndown, sizeof(torndown));
}

void gpadl_forget_channel(struct vmbus *vmbus, uint32_t relid)
{
    struct gpadl **at = &vmbus->gpadls;

    while (*at != NULL) {
        if ((*at)->relid == relid)
            drop(vmbus, at);
        else
            at = &(*at)->next;
    }
}

void gpadl_forget_all(struct vmbus *vmbus)
{
    while (vmbus->gpadls != NULL)
        drop(vmbus, &vmbus->gpadls);
}

/* ---- for buffers beside the rings ---- */

/* Bytes of page `index` that belong to the range. */
static struct vmbus_segment segment_of(const struct gpadl *gpadl, size_t index)
{
    uint64_t first = index == 0 ? gpadl->byte_offset : 0;
    uint64_t end = (uint64_t)gpadl->byte_offset + gpadl->byte_count - index * MEM_PAGE_SIZE;

    return (struct vmbus_segment){.gpa = gpadl->pfns[index] * MEM_PAGE_SIZE + first,
                                  .length = (end < MEM_PAGE_SIZE ? end : MEM_PAGE_SIZE) - first};
}

int vmbus_gpadl_segments(struct vmbus_channel *channel, uint32_t id, struct vmbus_segment *ret,
                         size_t room, size_t *ret_count)
{
    const struct gpadl *gpadl = gpadl_find(channel->vmbus, id, channel->relid);
    size_t count = 0;

    if (gpadl == NULL)
        return -ENOENT;
    for (size_t i = 0; i < gpadl->count; i++) {
        struct vmbus_segment segment = segment_of(gpadl, i);
        if (!mem_is_ram(channel->vmbus->config.mem, segment.gpa, segment.length))
            return -EFAULT;
        if (count > 0 && ret[count - 1].gpa + ret[count - 1].length == segment.gpa) {
            ret[count - 1].length += segment.length;
            continue;
        }
        if (count == room)
            return -ENOSPC;
        ret[count++] = segment;
    }
    *ret_count = count;
    return 0;
}
