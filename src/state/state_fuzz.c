/*
 * Invariant: hostile bytes never change a field after an error of its section, and what loads
 * without error is the same bytes when it is saved, loaded and saved again.
 *
 * Odd inputs are given right checksums first, so that damage gets beyond them.
 */
#include "state/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "state/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct sample {
    uint8_t byte;
    uint16_t word;
    uint32_t dword;
    uint64_t qword;
    bool flag;
    uint8_t bytes[24];
};

enum { SECTIONS = 3, FIELDS = 6 };
static const char *const section_names[SECTIONS] = {"alpha", "beta-2", "c"};

static void visit_field(struct state_visitor *v, unsigned field, struct sample *s)
{
    switch (field) {
    case 0:
        state_u8(v, "byte", &s->byte);
        break;
    case 1:
        state_u16(v, "word", &s->word);
        break;
    case 2:
        state_u32(v, "dword", &s->dword);
        break;
    case 3:
        state_u64(v, "qword", &s->qword);
        break;
    case 4:
        state_bool(v, "flag", &s->flag);
        break;
    default:
        state_bytes(v, "bytes", s->bytes, sizeof(s->bytes));
        break;
    }
}

static int visit(struct state_visitor *v, unsigned section, struct sample *s)
{
    state_begin(v, section_names[section], 1);
    for (unsigned i = 0; i < FIELDS; i++)
        visit_field(v, i, s);
    return state_end(v);
}

/* After a failed section, further fields must stay as they are. */
static void check_that_errors_stick(struct state_visitor *v, unsigned section)
{
    struct sample s;
    struct sample before;
    memset(&s, 0, sizeof(s));
    state_begin(v, section_names[section], 1);
    state_fail(v, -EPERM);
    memcpy(&before, &s, sizeof(s));
    for (unsigned i = 0; i < FIELDS; i++)
        visit_field(v, i, &s);
    if (state_end(v) == 0 || memcmp(&before, &s, sizeof(s)) != 0)
        abort();
}

static struct state_visitor *save(struct sample samples[SECTIONS])
{
    struct state_visitor *v = NULL;
    if (state_save_create(&v) != 0)
        abort();
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (visit(v, i, &samples[i]) != 0)
            abort();
    }
    return v;
}

static void check_round_trip(struct sample samples[SECTIONS])
{
    size_t length;
    size_t again_length;
    struct state_visitor *first = save(samples);
    const uint8_t *bytes = state_saved(first, &length);
    struct state_visitor *load = NULL;
    if (state_load_create(bytes, length, &load) != 0)
        abort();
    struct sample loaded[SECTIONS] = {0};
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (visit(load, i, &loaded[i]) != 0)
            abort();
    }
    struct state_visitor *second = save(loaded);
    const uint8_t *again = state_saved(second, &again_length);
    if (length != again_length || memcmp(bytes, again, length) != 0)
        abort();
    state_destroy(second);
    state_destroy(load);
    state_destroy(first);
}

static void mend_checksums(uint8_t *bytes, size_t length)
{
    size_t at = 8;
    while (at < length && bytes[at] + at + 13 <= length) {
        size_t head = (size_t)1 + bytes[at] + 8;
        size_t body = get_le32(bytes + at + head - 4);
        if (body > length - at - head - 4)
            return;
        uint32_t crc = crc32c(0, bytes + at, head);
        put_le32(bytes + at + head, crc32c(crc, bytes + at + head + 4, body));
        at += head + 4 + body;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return 0;
    bool mend = (bytes[0] & 1) != 0;
    uint8_t *copy = malloc(length);
    if (copy == NULL)
        abort();
    length--;
    memcpy(copy, bytes + 1, length);
    if (mend)
        mend_checksums(copy, length);
    struct state_visitor *v = NULL;
    if (state_load_create(copy, length, &v) == 0) {
        struct sample samples[SECTIONS] = {0};
        for (unsigned i = 0; i < SECTIONS; i++) {
            (void)visit(v, i, &samples[i]);
            check_that_errors_stick(v, i);
        }
        check_round_trip(samples);
        state_destroy(v);
    }
    free(copy);
    return 0;
}
