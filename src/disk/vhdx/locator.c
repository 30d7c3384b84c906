/* How a differencing disk names its parent: a table of keys and values, MS-VHDX § 2.6.2.6. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disk/utf16.h"
#include "disk/vhdx/vhdx.h"

enum { LOCATOR_HEADER = 20, LOCATOR_ENTRY = 12, MOST_KEYS = 256, KEY_SIZE = 64, GUID_SIZE = 39 };

static const struct partition_guid vhdx_parents = {{0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                                                    0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59,
                                                    0x13}};

/* ---- reading ---- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);

    return c != '\0' && found != NULL ? (int)(found - digits) : -1;
}

/* "{83ed7ca0-…}", with its braces or without. */
static bool parse_guid(const char *text, struct partition_guid *ret)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

    text += *text == '{';
    for (unsigned i = 0; i < 16; i++) {
        text += (i == 4 || i == 6 || i == 8 || i == 10) && *text == '-';
        int high = hex_digit(text[0]);
        int low = high >= 0 ? hex_digit(text[1]) : -1;
        if (low < 0)
            return false;
        ret->bytes[order[i]] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return true;
}

static void copy_path(const char *value, char ret[IMAGE_PARENT_SIZE])
{
    size_t length = strnlen(value, IMAGE_PARENT_SIZE - 1);

    memcpy(ret, value, length);
    for (size_t i = 0; i < length; i++) {
        if (ret[i] == '\\')
            ret[i] = '/';
    }
    ret[length] = '\0';
}

static bool take_pair(struct vhdx_locator *locator, const char *key, const char *value)
{
    if (strcmp(key, "parent_linkage") == 0)
        return parse_guid(value, &locator->linkage);
    if (strcmp(key, "parent_linkage2") == 0)
        return parse_guid(value, &locator->linkage2);
    if (strcmp(key, "relative_path") == 0)
        copy_path(value, locator->relative);
    if (strcmp(key, "absolute_win32_path") == 0)
        copy_path(value, locator->absolute);
    return true; /* volume_path: no volume of Windows is here */
}

static bool decode_pair(const uint8_t *bytes, size_t length, const uint8_t *entry,
                        struct vhdx_locator *ret)
{
    size_t key_at = get_le32(entry);
    size_t value_at = get_le32(entry + 4);
    size_t key_length = get_le16(entry + 8);
    size_t value_length = get_le16(entry + 10);
    char key[KEY_SIZE];
    char value[IMAGE_PARENT_SIZE];

    if (key_at > length || key_length > length - key_at || value_at > length ||
        value_length > length - value_at)
        return false;
    utf16_decode(bytes + key_at, key_length, key, sizeof(key));
    utf16_decode(bytes + value_at, value_length, value, sizeof(value));
    return take_pair(ret, key, value);
}

bool vhdx_decode_locator(const uint8_t *bytes, size_t length, struct vhdx_locator *ret,
                         struct reason *reason)
{
    static const struct partition_guid none;
    size_t count = length >= LOCATOR_HEADER ? get_le16(bytes + 18) : 0;

    *ret = (struct vhdx_locator){0};
    if (length < LOCATOR_HEADER || memcmp(bytes, vhdx_parents.bytes, 16) != 0) {
        reason_fill(reason, "its parent is named in a way that is not known");
        return false;
    }
    bool well = count <= MOST_KEYS && LOCATOR_HEADER + count * LOCATOR_ENTRY <= length;
    for (size_t i = 0; well && i < count; i++)
        well = decode_pair(bytes, length, bytes + LOCATOR_HEADER + i * LOCATOR_ENTRY, ret);
    if (!well || memcmp(&ret->linkage, &none, sizeof(none)) == 0) {
        reason_fill(reason, "the table that names its parent is damaged");
        return false;
    }
    return true;
}

int vhdx_read_locator(const struct vhdx *vhdx, struct vhdx_locator *ret, struct reason *reason)
{
    size_t length = (size_t)vhdx->items.locator.length;

    if (length == 0)
        return reason_set(reason, -EINVAL, "it has a parent and does not name it");
    auto_free uint8_t *bytes = malloc(length);
    if (bytes == NULL)
        return -ENOMEM;
    int error =
        vhdx_read(vhdx, bytes, length, vhdx->regions.metadata.offset + vhdx->items.locator.offset);
    if (error < 0)
        return error;
    return vhdx_decode_locator(bytes, length, ret, reason) ? 0 : -EINVAL;
}

/* ---- writing ---- */

struct writer {
    uint8_t *bytes;
    size_t size, used;
    unsigned keys;
    int error;
};

static size_t put_text(struct writer *writer, const char *text)
{
    int length = utf16_encode(text, writer->bytes + writer->used, writer->size - writer->used);

    if (length < 0 || length > UINT16_MAX) {
        writer->error = length < 0 ? length : -ENAMETOOLONG;
        return 0;
    }
    writer->used += (size_t)length;
    return (size_t)length;
}

static void put_pair(struct writer *writer, const char *key, const char *value)
{
    uint8_t *entry = writer->bytes + LOCATOR_HEADER + (size_t)writer->keys * LOCATOR_ENTRY;

    if (writer->error < 0)
        return;
    put_le32(entry, (uint32_t)writer->used);
    put_le16(entry + 8, (uint16_t)put_text(writer, key));
    put_le32(entry + 4, (uint32_t)writer->used);
    put_le16(entry + 10, (uint16_t)put_text(writer, value));
    writer->keys++;
}

static void put_guid(struct writer *writer, const char *key, const struct partition_guid *guid)
{
    char text[PARTITION_GUID_TEXT];
    char braced[GUID_SIZE];

    partition_guid_text(guid, text);
    (void)snprintf(braced, sizeof(braced), "{%s}", text);
    put_pair(writer, key, braced);
}

static void put_path(struct writer *writer, const char *key, const char *path)
{
    char value[IMAGE_PARENT_SIZE];

    (void)snprintf(value, sizeof(value), "%s", path);
    for (char *c = value; *c != '\0'; c++) {
        if (*c == '/')
            *c = '\\';
    }
    put_pair(writer, key, value);
}

int vhdx_encode_locator(const struct vhdx_locator *locator, uint8_t *ret, size_t size)
{
    enum { MOST_PAIRS = 4, TEXTS = LOCATOR_HEADER + MOST_PAIRS * LOCATOR_ENTRY };
    static const struct partition_guid none;
    struct writer writer = {.bytes = ret, .size = size, .used = TEXTS};

    if (size < TEXTS)
        return -ENAMETOOLONG;
    memset(ret, 0, size);
    memcpy(ret, vhdx_parents.bytes, 16);
    put_guid(&writer, "parent_linkage", &locator->linkage);
    if (memcmp(&locator->linkage2, &none, sizeof(none)) != 0)
        put_guid(&writer, "parent_linkage2", &locator->linkage2);
    if (locator->relative[0] != '\0')
        put_path(&writer, "relative_path", locator->relative);
    if (locator->absolute[0] != '\0') /* of Linux: its slashes stay */
        put_pair(&writer, "absolute_win32_path", locator->absolute);
    put_le16(ret + 18, (uint16_t)writer.keys);
    return writer.error < 0 ? writer.error : (int)writer.used;
}

/* ---- the parent itself ---- */

bool vhdx_is_expected(const struct vhdx_locator *locator, const struct disk *parent)
{
    return memcmp(parent->identity, locator->linkage.bytes, sizeof(parent->identity)) == 0 ||
           memcmp(parent->identity, locator->linkage2.bytes, sizeof(parent->identity)) == 0;
}

/* NULL `locator`: whatever its identity is. */
static int check_parent(const struct vhdx *vhdx, const struct vhdx_locator *locator,
                        const struct disk *parent, struct reason *reason)
{
    const struct disk_geometry *geometry = &parent->geometry;

    if (parent->ops != vhdx->disk.ops)
        return reason_set(reason, -EINVAL, "its parent %s is no VHDX", image_path(parent));
    if (geometry->logical_sector != vhdx->metadata.logical_sector ||
        geometry->capacity > vhdx->metadata.capacity)
        return reason_set(reason, -EINVAL, "its parent %s is larger, or has other sectors",
                          image_path(parent));
    if (locator != NULL && !vhdx_is_expected(locator, parent))
        return reason_set(reason, -ESTALE, "its parent %s was changed since, or is another image",
                          image_path(parent));
    return 0;
}

int vhdx_open_parent(struct vhdx *vhdx, const struct disk_source *source, struct reason *reason)
{
    struct vhdx_locator locator;
    struct disk *parent = NULL;
    int error = vhdx_read_locator(vhdx, &locator, reason);

    if (error < 0)
        return error;
    const struct disk_parent_names names = {locator.relative, locator.absolute};
    error = disk_open_parent(source, &names, DISK_AS_VHDX, &parent, reason);
    if (error < 0)
        return error;
    error = check_parent(vhdx, source->flags & DISK_ANY_PARENT ? NULL : &locator, parent, reason);
    if (error < 0)
        (void)disk_close(parent);
    else
        vhdx->disk.parent = parent;
    return error;
}

/* ---- another parent, or another identity of it ---- */

static void fill_paths(struct vhdx_locator *locator, const char *path)
{
    bool absolute = path[0] == '/';

    locator->relative[0] = locator->absolute[0] = '\0';
    if (absolute)
        (void)snprintf(locator->absolute, sizeof(locator->absolute), "%s", path);
    else
        (void)snprintf(locator->relative, sizeof(locator->relative), "%s%s",
                       strncmp(path, "./", 2) == 0 || strncmp(path, "../", 3) == 0 ? "" : "./",
                       path);
}

int vhdx_make_locator(const struct disk *parent, const char *path, struct vhdx_locator *ret)
{
    if (strlen(path) + 3 > IMAGE_PARENT_SIZE)
        return -ENAMETOOLONG;
    *ret = (struct vhdx_locator){0};
    memcpy(ret->linkage.bytes, parent->identity, sizeof(ret->linkage.bytes));
    fill_paths(ret, path);
    return 0;
}

/* Behind all items, unless the old one is the last and can grow in its place. */
static int place_locator(const struct vhdx *vhdx, const uint8_t *table, uint32_t length,
                         uint32_t *ret)
{
    uint32_t own = (uint32_t)vhdx->items.locator.offset;
    uint64_t end = VHDX_TABLE_SIZE;

    for (unsigned i = 0; i < get_le16(table + 10); i++) {
        const uint8_t *entry = table + 32 + (size_t)i * 32;
        uint64_t item_end = (uint64_t)get_le32(entry + 16) + get_le32(entry + 20);
        if (get_le32(entry + 16) != own && item_end > end)
            end = item_end;
    }
    if (own < end)
        end = (end + VHDX_PAGE - 1) & ~(uint64_t)(VHDX_PAGE - 1);
    else
        end = own;
    if (end + length > vhdx->regions.metadata.length)
        return -ENOSPC;
    *ret = (uint32_t)end;
    return 0;
}

/* The entry of the locator in the metadata table, which opening has found there. */
static uint8_t *find_locator(const struct vhdx *vhdx, uint8_t *table)
{
    uint8_t *entry = table + 32;

    while (get_le32(entry + 16) != vhdx->items.locator.offset)
        entry += 32;
    return entry;
}

static int commit_locator(struct vhdx *vhdx, uint8_t *table, const uint8_t *bytes, uint32_t length)
{
    uint64_t base = vhdx->regions.metadata.offset;
    uint8_t *entry = find_locator(vhdx, table);
    uint32_t at = 0;
    int error = place_locator(vhdx, table, length, &at);

    if (error < 0)
        return error;
    put_le32(entry + 16, at);
    put_le32(entry + 20, length);
    error = vhdx_edit_begin(vhdx, VHDX_KEEP_IDENTITY);
    if (error == 0)
        error = vhdx_edit_put(vhdx, entry, 32, base + (uint64_t)(entry - table));
    if (error == 0)
        error = vhdx_edit_put(vhdx, bytes, length, base + at);
    if (error == 0)
        error = vhdx_edit_commit(vhdx);
    if (error == 0)
        vhdx->items.locator = (struct vhdx_range){.offset = at, .length = length};
    return error < 0 ? error : vhdx_finish(&vhdx->disk);
}

static int replace_locator(struct vhdx *vhdx, const struct vhdx_locator *locator,
                           struct reason *reason)
{
    enum { SIZE = 4 * IMAGE_PARENT_SIZE };
    auto_free uint8_t *bytes = malloc(SIZE + VHDX_TABLE_SIZE);

    if (bytes == NULL)
        return -ENOMEM;
    int length = vhdx_encode_locator(locator, bytes, SIZE);
    if (length < 0)
        return reason_set(reason, length, "the parent's path is too long, or no UTF-8");
    int error = vhdx_read(vhdx, bytes + SIZE, VHDX_TABLE_SIZE, vhdx->regions.metadata.offset);
    if (error == 0)
        error = commit_locator(vhdx, bytes + SIZE, bytes, (uint32_t)length);
    return error < 0 ? reason_set(reason, error, "its name for the parent cannot be changed") : 0;
}

int vhdx_set_parent(struct disk *disk, const struct image_parent *parent, struct reason *reason)
{
    struct vhdx *vhdx = vhdx_of(disk);
    struct vhdx_locator locator;

    if (!vhdx->metadata.has_parent)
        return reason_set(reason, -EINVAL, "the disk has no parent");
    int error = check_parent(vhdx, NULL, parent->disk, reason);
    if (error == 0)
        error = parent->path != NULL ? vhdx_make_locator(parent->disk, parent->path, &locator)
                                     : vhdx_read_locator(vhdx, &locator, reason);
    if (error < 0)
        return error;
    memcpy(locator.linkage.bytes, parent->disk->identity, sizeof(locator.linkage.bytes));
    locator.linkage2 = (struct partition_guid){{0}};
    if (parent->next_identity != NULL)
        memcpy(locator.linkage2.bytes, parent->next_identity, sizeof(locator.linkage2.bytes));
    return replace_locator(vhdx, &locator, reason);
}
