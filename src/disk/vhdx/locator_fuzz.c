/*
 * Whatever bytes are to name a parent, they are refused or decoded within their bounds; and what
 * was decoded and can be written is read back as it was.
 *
 * A first byte that is even: the rest is the locator. Odd: the rest describes one, entry by entry,
 * so that keys and values of UTF-16 are there, some of them out of place.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk/vhdx/vhdx.h"
#include "tests/harness/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 20, ENTRY = 12, MOST_ENTRIES = 8, SIZE = 64 << 10 };

static const uint8_t type[16] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                                 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void write_and_read(const struct vhdx_locator *locator)
{
    static uint8_t bytes[4 * IMAGE_PARENT_SIZE];
    struct vhdx_locator again;
    int length = vhdx_encode_locator(locator, bytes, sizeof(bytes));

    if (length < 0)
        return;
    must((size_t)length <= sizeof(bytes));
    must(vhdx_decode_locator(bytes, (size_t)length, &again, NULL));
    must(memcmp(&again.linkage, &locator->linkage, sizeof(again.linkage)) == 0);
    must(memcmp(&again.linkage2, &locator->linkage2, sizeof(again.linkage2)) == 0);
    must(strcmp(again.relative, locator->relative) == 0);
    must(strcmp(again.absolute, locator->absolute) == 0);
}

/* In memory of just its length, so that a step outside is seen. */
static void decode(const uint8_t *bytes, size_t length)
{
    struct vhdx_locator locator;
    struct reason reason = {""};
    uint8_t *copy = malloc(length != 0 ? length : 1);

    must(copy != NULL);
    if (length != 0)
        memcpy(copy, bytes, length);
    if (vhdx_decode_locator(copy, length, &locator, &reason)) {
        must(memchr(locator.relative, 0, sizeof(locator.relative)) != NULL);
        must(memchr(locator.absolute, 0, sizeof(locator.absolute)) != NULL);
        write_and_read(&locator);
    } else {
        must(reason.text[0] != '\0');
    }
    free(copy);
}

/* ---- described ---- */

static const char *const texts[] = {
    "parent_linkage",  "parent_linkage2",
    "relative_path",   "absolute_win32_path",
    "volume_path",     "{83ed7ca0-11d2-4b30-9c2a-1f0f0b9e0a55}",
    "..\\parent.vhdx", "C:\\images\\parent.vhdx",
};

/* A text that is known, or letters of the input, or pairs of its bytes. Returns its length. */
static size_t put_text(struct fuzz_input *in, uint8_t *to)
{
    unsigned choice = (unsigned)fuzz_take(in, 1);
    const char *known = texts[choice % 8];
    size_t length = choice < 0xc0 ? strlen(known) : (choice & 0x1f) * (choice & 0x20 ? 40U : 1U);

    for (size_t i = 0; i < length; i++) {
        if (choice < 0xc0)
            put_le16(to + 2 * i, (uint16_t)known[i]);
        else
            put_le16(to + 2 * i, (uint16_t)fuzz_take(in, choice & 0x20 ? 1 : 2));
    }
    return 2 * length;
}

/* What an entry says, off by a little or far now and then. */
static uint32_t spoilt(struct fuzz_input *in, size_t value)
{
    unsigned choice = (unsigned)fuzz_take(in, 1);

    return choice < 0xe0   ? (uint32_t)value
           : choice < 0xf0 ? (uint32_t)(value + (choice & 0xf) - 8)
                           : (uint32_t)fuzz_take(in, 4);
}

static size_t describe(struct fuzz_input *in, uint8_t *bytes)
{
    unsigned count = (unsigned)fuzz_take(in, 1) % (MOST_ENTRIES + 1);
    size_t used = HEADER + (size_t)count * ENTRY;

    memcpy(bytes, type, sizeof(type));
    put_le16(bytes + 18, (uint16_t)spoilt(in, count));
    for (unsigned i = 0; i < count; i++) {
        uint8_t *entry = bytes + HEADER + (size_t)i * ENTRY;
        size_t key = used;
        size_t key_length = put_text(in, bytes + key);
        size_t value = key + key_length;
        size_t value_length = put_text(in, bytes + value);
        used = value + value_length;
        put_le32(entry, spoilt(in, key));
        put_le32(entry + 4, spoilt(in, value));
        put_le16(entry + 8, (uint16_t)spoilt(in, key_length));
        put_le16(entry + 10, (uint16_t)spoilt(in, value_length));
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[SIZE];
    struct fuzz_input in = {data, size};

    if ((fuzz_take(&in, 1) & 1) == 0)
        decode(in.at, in.left);
    else
        decode(bytes, describe(&in, bytes));
    return 0;
}
