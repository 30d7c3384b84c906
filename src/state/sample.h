/* For tests and fuzzing: what a device would visit, and the mending of damaged files. */
#ifndef STATE_SAMPLE_H
#define STATE_SAMPLE_H

#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "state/state.h"

struct sample {
    uint8_t byte;
    uint16_t word;
    uint32_t dword;
    uint64_t qword;
    bool flag;
    uint8_t bytes[5];
};

static const struct sample full_sample = {
    0x12, 0x3456, 0x789abcde, UINT64_C(0x1122334455667788), true, {1, 2, 3, 4, 5}};

static inline int visit_sample(struct state_visitor *v, const char *section, struct sample *s)
{
    state_begin(v, section, 3);
    state_u8(v, "byte", &s->byte);
    state_u16(v, "word", &s->word);
    state_u32(v, "dword", &s->dword);
    state_u64(v, "qword", &s->qword);
    state_bool(v, "flag", &s->flag);
    state_bytes(v, "bytes", s->bytes, sizeof(s->bytes));
    return state_end(v);
}

static inline bool same_sample(const struct sample *a, const struct sample *b)
{
    return a->byte == b->byte && a->word == b->word && a->dword == b->dword &&
           a->qword == b->qword && a->flag == b->flag &&
           memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Make all checksums right again, as far as the framing holds: damage then gets beyond them. */
static inline void mend_checksums(uint8_t *bytes, size_t length)
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

#endif
