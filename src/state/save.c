/* Saving: fields are appended to one growing buffer; a section that fails is taken back whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "state/visitor.h"

static void append(struct state_visitor *v, const void *bytes, size_t length)
{
    if (v->error != 0 || length == 0)
        return;
    if (length > v->capacity - v->used) {
        size_t capacity = v->capacity * 2 + length;
        uint8_t *larger = capacity > v->capacity ? realloc(v->buffer, capacity) : NULL;
        if (larger == NULL) {
            v->error = -ENOMEM;
            return;
        }
        v->buffer = larger;
        v->capacity = capacity;
    }
    memcpy(v->buffer + v->used, bytes, length);
    v->used += length;
}

static void append_name(struct state_visitor *v, const char *name)
{
    size_t length = strnlen(name, STATE_NAME_LIMIT + 1);
    uint8_t short_length = (uint8_t)length;
    if (!state_name_valid(name, length))
        v->error = v->error != 0 ? v->error : -EINVAL;
    append(v, &short_length, 1);
    append(v, name, length);
}

static void append_u32(struct state_visitor *v, uint32_t value)
{
    uint8_t bytes[4];
    put_le32(bytes, value);
    append(v, bytes, sizeof(bytes));
}

int save_magic(struct state_visitor *v)
{
    append(v, STATE_MAGIC, STATE_MAGIC_LENGTH);
    return v->error;
}

void save_begin(struct state_visitor *v, const char *section, uint32_t version)
{
    v->section_start = v->used;
    append_name(v, section);
    append_u32(v, version);
    append_u32(v, 0); /* body length and checksum, filled in at the end */
    append_u32(v, 0);
    v->body_start = v->used;
}

void save_end(struct state_visitor *v)
{
    size_t body_length = v->used - v->body_start;
    if (v->error == 0 && body_length > UINT32_MAX)
        v->error = -EFBIG;
    if (v->error != 0) {
        v->used = v->section_start;
        return;
    }
    uint8_t *checksum = v->buffer + v->body_start - 4;
    put_le32(checksum - 4, (uint32_t)body_length);
    uint32_t crc = crc32c(0, v->buffer + v->section_start, v->body_start - 4 - v->section_start);
    put_le32(checksum, crc32c(crc, v->buffer + v->body_start, body_length));
}

void save_field(struct state_visitor *v, const char *field, const void *value, size_t length)
{
    if (length > UINT32_MAX) {
        v->error = v->error != 0 ? v->error : -EFBIG;
        return;
    }
    append_name(v, field);
    append_u32(v, (uint32_t)length);
    append(v, value, length);
}
