/* The visitor's verbs; save.c and load.c are the two directions. */
#include "state/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "state/visitor.h"

bool state_name_valid(const char *name, size_t length)
{
    if (length == 0 || length > STATE_NAME_LIMIT)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool letter = name[i] >= 'a' && name[i] <= 'z';
        bool digit = name[i] >= '0' && name[i] <= '9';
        if (!letter && !digit && name[i] != '-')
            return false;
    }
    return true;
}

int state_save_create(struct state_visitor **ret)
{
    struct state_visitor *v = calloc(1, sizeof(*v));
    int error = v != NULL ? save_magic(v) : -ENOMEM;
    if (error != 0) {
        state_destroy(v);
        return error;
    }
    *ret = v;
    return 0;
}

int state_load_create(const uint8_t *bytes, size_t length, struct state_visitor **ret)
{
    struct state_visitor *v = calloc(1, sizeof(*v));
    if (v == NULL)
        return -ENOMEM;
    v->load = true;
    v->bytes = bytes;
    v->length = length;
    int error = load_check(v);
    if (error != 0) {
        state_destroy(v);
        return error;
    }
    *ret = v;
    return 0;
}

void state_destroy(struct state_visitor *v)
{
    if (v == NULL)
        return;
    free(v->buffer);
    free(v);
}

const uint8_t *state_saved(const struct state_visitor *v, size_t *ret_length)
{
    *ret_length = v->used;
    return v->buffer;
}

bool state_is_load(const struct state_visitor *v)
{
    return v->load;
}

void state_begin(struct state_visitor *v, const char *section, uint32_t version)
{
    if (v->open) { /* sections do not nest: spoil the outer one rather than write a broken file */
        state_fail(v, -EINVAL);
        return;
    }
    v->open = true;
    v->error = 0;
    if (v->load)
        load_begin(v, section, version);
    else
        save_begin(v, section, version);
}

int state_end(struct state_visitor *v)
{
    if (!v->open)
        return -EINVAL;
    if (v->load)
        load_end(v);
    else
        save_end(v);
    v->open = false;
    return v->error;
}

void state_fail(struct state_visitor *v, int error)
{
    if (v->error == 0)
        v->error = error;
}

void state_bytes(struct state_visitor *v, const char *field, void *bytes, size_t length)
{
    if (!v->open || v->error != 0)
        return;
    if (v->load)
        load_field(v, field, bytes, length);
    else
        save_field(v, field, bytes, length);
}

void state_u8(struct state_visitor *v, const char *field, uint8_t *value)
{
    state_bytes(v, field, value, sizeof(*value));
}

void state_u16(struct state_visitor *v, const char *field, uint16_t *value)
{
    uint8_t bytes[2];
    put_le16(bytes, *value);
    state_bytes(v, field, bytes, sizeof(bytes));
    *value = get_le16(bytes);
}

void state_u32(struct state_visitor *v, const char *field, uint32_t *value)
{
    uint8_t bytes[4];
    put_le32(bytes, *value);
    state_bytes(v, field, bytes, sizeof(bytes));
    *value = get_le32(bytes);
}

void state_u64(struct state_visitor *v, const char *field, uint64_t *value)
{
    uint8_t bytes[8];
    put_le64(bytes, *value);
    state_bytes(v, field, bytes, sizeof(bytes));
    *value = get_le64(bytes);
}

void state_bool(struct state_visitor *v, const char *field, bool *value)
{
    uint8_t byte = *value;
    state_u8(v, field, &byte);
    if (byte > 1)
        state_fail(v, -EINVAL);
    else
        *value = byte != 0;
}
