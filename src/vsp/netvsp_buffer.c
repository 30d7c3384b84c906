/* The guest's send and receive buffers, and streams of its memory (netvsp_private.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vsp/netvsp_private.h"

/* ---- buffers ---- */

/* Segments into pages; all but the last are whole. */
static int take_pages(struct netvsp_buffer *buffer, const struct vmbus_segment *segments,
                      size_t count)
{
    size_t pages = 0;

    buffer->size = 0;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].gpa % MEM_PAGE_SIZE != 0 ||
            (i + 1 < count && segments[i].length % MEM_PAGE_SIZE != 0))
            return -EINVAL;
        for (uint64_t at = 0; at < segments[i].length; at += MEM_PAGE_SIZE) {
            if (pages == NETVSP_MOST_PAGES)
                return -EINVAL;
            buffer->page[pages++] = segments[i].gpa + at;
        }
        buffer->size += (uint32_t)segments[i].length;
    }
    return 0;
}

int netvsp_buffer_take(struct netvsp *netvsp, struct netvsp_buffer *buffer, uint32_t gpadl,
                       uint16_t id, uint32_t section_size)
{
    auto_free struct vmbus_segment *segments = calloc(NETVSP_MOST_PAGES, sizeof(*segments));
    size_t count = 0;

    if (segments == NULL)
        return -ENOMEM;
    int error =
        vmbus_gpadl_segments(netvsp->channel[0].vmbus, gpadl, segments, NETVSP_MOST_PAGES, &count);
    if (error == 0)
        error = take_pages(buffer, segments, count);
    if (error < 0)
        return error;
    if (buffer->size < section_size * NETVSP_LEAST_SECTIONS)
        return -EINVAL;
    buffer->id = id;
    buffer->section_size = section_size;
    buffer->section_count = buffer->size / section_size;
    buffer->set = true;
    return 0;
}

/* The page of a byte, and how many bytes from there on it has. */
static struct vmbus_segment place(const struct netvsp_buffer *buffer, uint32_t at, size_t length)
{
    uint64_t offset = at % MEM_PAGE_SIZE;
    uint64_t room = MEM_PAGE_SIZE - offset;

    return (struct vmbus_segment){.gpa = buffer->page[at / MEM_PAGE_SIZE] + offset,
                                  .length = length < room ? length : room};
}

/* ---- sections of the receive buffer ---- */

void netvsp_sections_reset(struct netvsp *netvsp)
{
    struct netvsp_buffer *buffer = &netvsp->receive_buffer;

    if (buffer->section_count > NETVSP_MOST_SECTIONS)
        buffer->section_count = NETVSP_MOST_SECTIONS;
    netvsp->free_count = buffer->set ? buffer->section_count : 0;
    netvsp->free_section = 0;
    for (unsigned i = 0; i < netvsp->free_count; i++)
        netvsp->next[i] = (uint16_t)(i + 1);
    memset(netvsp->told, 0, sizeof(netvsp->told));
}

uint16_t netvsp_section_take(struct netvsp *netvsp)
{
    uint16_t section = netvsp->free_section;

    netvsp->free_section = netvsp->next[section];
    netvsp->free_count--;
    netvsp->next[section] = NETVSP_NO_RANGE;
    return section;
}

void netvsp_sections_give_back(struct netvsp *netvsp, uint16_t first)
{
    while (first != NETVSP_NO_RANGE) {
        uint16_t section = first;
        first = netvsp->next[section];
        netvsp->next[section] = netvsp->free_section;
        netvsp->free_section = section;
        netvsp->free_count++;
    }
}

void netvsp_section_write(struct netvsp *netvsp, uint32_t at, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;

    while (length > 0) {
        struct vmbus_segment piece = place(&netvsp->receive_buffer, at, length);
        (void)mem_write(netvsp->config.mem, piece.gpa, from, piece.length);
        at += (uint32_t)piece.length;
        from += piece.length;
        length -= piece.length;
    }
}

/* ---- streams ---- */

/* Neighbours are joined; what is beyond the room is left out, and so the message is too short. */
void netvsp_stream_add(struct netvsp_stream *stream, struct vmbus_segment segment)
{
    struct vmbus_segment *last = stream->count > 0 ? &stream->part[stream->count - 1] : NULL;

    if (last != NULL && last->gpa + last->length == segment.gpa)
        last->length += segment.length;
    else if (stream->count < NETVSP_MOST_PARTS)
        stream->part[stream->count++] = segment;
    else
        return;
    stream->length += segment.length;
}

bool netvsp_stream_add_section(struct netvsp *netvsp, uint32_t section, uint32_t length)
{
    const struct netvsp_buffer *buffer = &netvsp->send_buffer;

    if (!buffer->set || section >= buffer->section_count || length > buffer->section_size)
        return false;
    uint32_t at = section * buffer->section_size;
    while (length > 0) {
        struct vmbus_segment piece = place(buffer, at, length);
        netvsp_stream_add(&netvsp->stream, piece);
        at += (uint32_t)piece.length;
        length -= (uint32_t)piece.length;
    }
    return true;
}

unsigned netvsp_stream_range(const struct netvsp *netvsp, size_t at, size_t length,
                             struct iovec *ret, unsigned room)
{
    const struct netvsp_stream *stream = &netvsp->stream;
    unsigned made = 0;

    for (unsigned i = 0; i < stream->count && length > 0; i++) {
        const struct vmbus_segment *part = &stream->part[i];
        if (at >= part->length) {
            at -= part->length;
            continue;
        }
        size_t piece = part->length - at < length ? part->length - at : length;
        uint8_t *bytes = mem_pin(netvsp->config.mem, part->gpa + at, piece);
        if (made == room || bytes == NULL)
            return 0;
        ret[made++] = (struct iovec){bytes, piece};
        length -= piece;
        at = 0;
    }
    return length == 0 ? made : 0;
}

bool netvsp_stream_read(const struct netvsp *netvsp, size_t at, void *ret, size_t length)
{
    const struct netvsp_stream *stream = &netvsp->stream;
    uint8_t *to = ret;

    if (at > stream->length || length > stream->length - at)
        return false;
    for (unsigned i = 0; i < stream->count && length > 0; i++) {
        const struct vmbus_segment *part = &stream->part[i];
        if (at >= part->length) {
            at -= part->length;
            continue;
        }
        size_t piece = part->length - at < length ? part->length - at : length;
        if (mem_read(netvsp->config.mem, part->gpa + at, to, piece) < 0)
            return false;
        to += piece;
        length -= piece;
        at = 0;
    }
    return true;
}
