/*
 * Loading. Framing is checked when the visitor is made, checksum and fields of a section when it
 * begins, a field's length when it is asked for: nothing is copied out that was not verified.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "state/visitor.h"

/* What is left to read; `broken` once something reached past the end. */
struct input {
    const uint8_t *at;
    size_t left;
    bool broken;
};

struct field {
    const uint8_t *name, *value;
    size_t name_length, length;
};

struct section {
    const uint8_t *start;
    const uint8_t *name;
    const uint8_t *body;
    size_t name_length, body_length;
    uint32_t version, checksum;
};

static const uint8_t *take(struct input *in, size_t length)
{
    const uint8_t *at = in->at;
    if (in->broken || length > in->left) {
        in->broken = true;
        return NULL;
    }
    in->at += length;
    in->left -= length;
    return at;
}

static uint32_t take_u32(struct input *in)
{
    const uint8_t *at = take(in, 4);
    return at != NULL ? get_le32(at) : 0;
}

static const uint8_t *take_name(struct input *in, size_t *ret_length)
{
    const uint8_t *length = take(in, 1);
    *ret_length = length != NULL ? *length : 0;
    const uint8_t *name = take(in, *ret_length);
    if (name != NULL && !state_name_valid((const char *)name, *ret_length))
        in->broken = true;
    return name;
}

static struct field take_field(struct input *in)
{
    struct field f;
    f.name = take_name(in, &f.name_length);
    f.length = take_u32(in);
    f.value = take(in, f.length);
    return f;
}

static struct section take_section(struct input *in)
{
    struct section s;
    s.start = in->at;
    s.name = take_name(in, &s.name_length);
    s.version = take_u32(in);
    s.body_length = take_u32(in);
    s.checksum = take_u32(in);
    s.body = take(in, s.body_length);
    return s;
}

static struct input sections_of(const struct state_visitor *v)
{
    return (struct input){v->bytes + STATE_MAGIC_LENGTH, v->length - STATE_MAGIC_LENGTH, false};
}

static bool same_name(const uint8_t *name, size_t length, const char *wanted, size_t wanted_length)
{
    return name != NULL && length == wanted_length && memcmp(name, wanted, length) == 0;
}

/* Framing was checked: finds the first section of that name. */
static bool find_section(const struct state_visitor *v, const char *name, size_t name_length,
                         struct section *ret)
{
    struct input in = sections_of(v);
    while (in.left > 0) {
        *ret = take_section(&in);
        if (same_name(ret->name, ret->name_length, name, name_length))
            return true;
    }
    return false;
}

int load_check(const struct state_visitor *v)
{
    if (v->length < STATE_MAGIC_LENGTH || memcmp(v->bytes, STATE_MAGIC, STATE_MAGIC_LENGTH) != 0)
        return -EINVAL;
    struct input in = sections_of(v);
    for (size_t count = 0; in.left > 0; count++) {
        (void)take_section(&in);
        if (in.broken || count >= STATE_SECTION_LIMIT)
            return -EINVAL;
    }
    for (in = sections_of(v); in.left > 0;) {
        struct section s = take_section(&in);
        struct section first;
        (void)find_section(v, (const char *)s.name, s.name_length, &first);
        if (first.start != s.start)
            return -EINVAL;
    }
    return 0;
}

static bool checksum_holds(const struct section *s)
{
    /* From the name's length up to the checksum itself, then the body. */
    size_t head = 1 + s->name_length + 4 + 4;
    return crc32c(crc32c(0, s->start, head), s->body, s->body_length) == s->checksum;
}

static bool count_fields(struct input in, size_t *ret_count)
{
    size_t count = 0;
    for (; in.left > 0 && !in.broken; count++)
        (void)take_field(&in);
    *ret_count = count;
    return !in.broken;
}

void load_begin(struct state_visitor *v, const char *section, uint32_t version)
{
    struct section s;
    v->body = NULL;
    v->body_length = v->field_count = v->fields_taken = 0;
    v->newer = false;
    if (!find_section(v, section, strlen(section), &s)) {
        v->error = -ENOENT;
        return;
    }
    struct input body = {s.body, s.body_length, false};
    if (!checksum_holds(&s) || !count_fields(body, &v->field_count)) {
        v->error = -EINVAL;
        return;
    }
    v->body = s.body;
    v->body_length = s.body_length;
    v->newer = s.version > version;
}

void load_field(struct state_visitor *v, const char *field, void *value, size_t length)
{
    struct input in = {v->body, v->body_length, false};
    size_t name_length = strlen(field);
    while (in.left > 0) {
        struct field f = take_field(&in);
        if (!same_name(f.name, f.name_length, field, name_length))
            continue;
        if (f.value == NULL || f.length != length) {
            v->error = -EINVAL;
            return;
        }
        if (length > 0)
            memcpy(value, f.value, length);
        v->fields_taken++;
        return;
    }
}

void load_end(struct state_visitor *v)
{
    /* A field left over is unknown to us, or a double of one that was taken. */
    if (v->error == 0 && v->fields_taken != v->field_count)
        v->error = v->newer ? -EOPNOTSUPP : -EINVAL;
}
