/* How a differencing disk names its parent: its unique id, its name, and paths. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "disk/utf16.h"
#include "disk/vhd/vhd.h"

/* ---- writing ---- */

static void fill_name(const char *path, uint8_t ret[VHD_PARENT_NAME])
{
    const char *slash = strrchr(path, '/');
    uint8_t name[VHD_PARENT_NAME] = {0};
    int length = utf16_encode(slash != NULL ? slash + 1 : path, name, VHD_PARENT_NAME - 2);

    memset(ret, 0, VHD_PARENT_NAME); /* a longer one is left out: the paths tell it */
    for (int i = 0; i + 1 < length; i += 2) {
        ret[i] = name[i + 1];
        ret[i + 1] = name[i];
    }
}

/* Relative: as Windows has it, from the child's folder on. */
static void windows_path(const char *path, char ret[IMAGE_PARENT_SIZE])
{
    bool dotted = strncmp(path, "./", 2) == 0 || strncmp(path, "../", 3) == 0;

    (void)snprintf(ret, IMAGE_PARENT_SIZE, "%s%s", dotted ? "" : "./", path);
    for (char *c = ret; *c != '\0'; c++) {
        if (*c == '/')
            *c = '\\';
    }
}

int vhd_name_parent(const struct disk *parent, const char *path, struct vhd_parent *ret,
                    uint8_t names[VHD_NAMES], size_t *ret_length)
{
    bool absolute = path[0] == '/';
    char text[IMAGE_PARENT_SIZE];

    if (strlen(path) + 3 > IMAGE_PARENT_SIZE)
        return -ENAMETOOLONG;
    if (absolute) /* of Linux: its slashes stay */
        (void)snprintf(text, sizeof(text), "%s", path);
    else
        windows_path(path, text);
    *ret = (struct vhd_parent){.changed = time(NULL)};
    memcpy(ret->id, parent->identity, sizeof(ret->id));
    fill_name(path, ret->name);
    memset(names, 0, VHD_NAMES);
    int length = utf16_encode(text, names, VHD_NAMES);
    if (length < 0)
        return length;
    *ret_length = ((size_t)length + VHD_SECTOR - 1) & ~(size_t)(VHD_SECTOR - 1);
    ret->locators[0] = (struct vhd_locator){.code = {'W', '2', absolute ? 'k' : 'r', 'u'},
                                            .room = (uint32_t)*ret_length,
                                            .length = (uint32_t)length};
    return 0;
}

void vhd_place_names(struct vhd_parent *parent, uint64_t at)
{
    for (unsigned i = 0; i < VHD_LOCATORS; i++) {
        if (parent->locators[i].length != 0)
            parent->locators[i].offset += at;
    }
}

/* ---- reading ---- */

/* The path in a locator with this code, as it is named on Linux; "" when there is none. */
static void read_path(const struct vhd *vhd, const char *code, char ret[IMAGE_PARENT_SIZE])
{
    uint8_t bytes[2 * IMAGE_PARENT_SIZE];

    ret[0] = '\0';
    for (unsigned i = 0; i < VHD_LOCATORS; i++) {
        struct vhd_locator locator = vhd_get_locator(vhd->header, i);
        if (memcmp(locator.code, code, 4) != 0 || locator.length == 0 ||
            locator.length > sizeof(bytes) || locator.offset > vhd->footer_at ||
            file_read(vhd->disk.file, bytes, locator.length, locator.offset) < 0)
            continue;
        utf16_decode(bytes, locator.length, ret, IMAGE_PARENT_SIZE);
        break;
    }
    for (char *c = ret; *c != '\0'; c++) {
        if (*c == '\\')
            *c = '/';
    }
}

bool vhd_parent_path(const struct vhd *vhd, char ret[IMAGE_PARENT_SIZE])
{
    read_path(vhd, "W2ru", ret);
    if (ret[0] == '\0')
        read_path(vhd, "W2ku", ret);
    return ret[0] != '\0';
}

/* ---- the parent itself ---- */

static int check_parent(const struct vhd *vhd, const struct disk *parent, bool any,
                        struct reason *reason)
{
    if (parent->format != IMAGE_VHD)
        return reason_set(reason, -EINVAL, "its parent %s is no VHD", image_path(parent));
    if (parent->geometry.capacity > vhd->disk.geometry.capacity)
        return reason_set(reason, -EINVAL, "its parent %s is larger", image_path(parent));
    if (!any && memcmp(parent->identity, vhd_parent_id(vhd->header), 16) != 0)
        return reason_set(reason, -ESTALE, "its parent %s is another image than it was",
                          image_path(parent));
    return 0;
}

int vhd_open_parent(struct vhd *vhd, const struct disk_source *source, struct reason *reason)
{
    char relative[IMAGE_PARENT_SIZE];
    char absolute[IMAGE_PARENT_SIZE];
    struct disk *parent = NULL;

    read_path(vhd, "W2ru", relative);
    read_path(vhd, "W2ku", absolute);
    const struct disk_parent_names names = {relative, absolute};
    int error = disk_open_parent(source, &names, DISK_AS_VHD, &parent, reason);
    if (error < 0)
        return error;
    error = check_parent(vhd, parent, (source->flags & DISK_ANY_PARENT) != 0, reason);
    if (error < 0)
        (void)disk_close(parent);
    else
        vhd->disk.parent = parent;
    return error;
}

/* A parent keeps its unique id when its data changes: a merge has nothing to announce. */
int vhd_set_parent(struct disk *disk, const struct image_parent *parent, struct reason *reason)
{
    struct vhd *vhd = vhd_of(disk);
    struct vhd_parent named;
    size_t length = 0;
    char path[IMAGE_PARENT_SIZE];

    if (!vhd->has_parent)
        return reason_set(reason, -EINVAL, "the disk has no parent");
    int error = check_parent(vhd, parent->disk, true, reason);
    if (error < 0 || (parent->path == NULL && parent->next_identity != NULL))
        return error;
    if (parent->path == NULL && !vhd_parent_path(vhd, path))
        return reason_set(reason, -EINVAL, "it names no parent");
    uint8_t *names = malloc(VHD_NAMES);
    if (names == NULL)
        return -ENOMEM;
    error = vhd_name_parent(parent->disk, parent->path != NULL ? parent->path : path, &named, names,
                            &length);
    if (error < 0)
        error = reason_set(reason, error, "the parent's path is too long, or no UTF-8");
    const struct vhd_new_header new = {.capacity = disk->geometry.capacity,
                                       .parent = &named,
                                       .names = names,
                                       .names_length = length};
    if (error == 0)
        error = disk_latch(disk, vhd_replace_header(vhd, &new));
    free(names);
    return error;
}
