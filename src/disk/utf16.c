#include "disk/utf16.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

enum { REPLACEMENT = 0xfffd, HIGH = 0xd800, LOW = 0xdc00, BEYOND = 0xe000 };

static size_t put_utf8(uint32_t code, char *to)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    size_t count = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = count - 1; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)((uint32_t)(0xf00 >> count) | code);
    return count;
}

void utf16_decode(const uint8_t *bytes, size_t length, char *ret, size_t size)
{
    size_t used = 0;

    for (size_t at = 0; at + 2 <= length;) {
        char utf8[4];
        uint32_t code = get_le16(bytes + at);
        at += 2;
        if (code == 0)
            break;
        if (code >= HIGH && code < BEYOND) {
            uint32_t next = at + 2 <= length ? get_le16(bytes + at) : 0;
            bool pair = code < LOW && next >= LOW && next < BEYOND;
            code = pair ? 0x10000 + ((code - HIGH) << 10) + (next - LOW) : (uint32_t)REPLACEMENT;
            at += pair ? 2 : 0;
        }
        size_t count = put_utf8(code, utf8);
        if (count >= size - used)
            break;
        memcpy(ret + used, utf8, count);
        used += count;
    }
    ret[used] = '\0';
}

/* One character; 0 and `*text` behind it, or -EILSEQ: overlong, a surrogate, too large, cut off. */
static int take_utf8(const uint8_t **text, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const uint8_t *at = *text;
    uint32_t first = *at++;
    unsigned more = first < 0x80 ? 0 : first < 0xc0 ? 4 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t code = more == 0 ? first : first & (0x3fU >> more);

    if (more > 3 || first > 0xf4)
        return -EILSEQ;
    for (unsigned i = 0; i < more; i++, at++) {
        if ((*at & 0xc0) != 0x80)
            return -EILSEQ;
        code = code << 6 | (*at & 0x3f);
    }
    if (code < least[more] || code > 0x10ffff || (code >= HIGH && code < BEYOND))
        return -EILSEQ;
    *text = at;
    *ret = code;
    return 0;
}

int utf16_encode(const char *text, uint8_t *ret, size_t size)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t used = 0;

    while (*at != 0) {
        uint32_t code = 0;
        int error = take_utf8(&at, &code);
        if (error < 0)
            return error;
        size_t count = code < 0x10000 ? 2 : 4;
        if (count > size - used)
            return -ENAMETOOLONG;
        if (count == 4) {
            put_le16(ret + used, (uint16_t)(HIGH + ((code - 0x10000) >> 10)));
            put_le16(ret + used + 2, (uint16_t)(LOW + ((code - 0x10000) & 0x3ff)));
        } else {
            put_le16(ret + used, (uint16_t)code);
        }
        used += count;
    }
    return (int)used;
}
