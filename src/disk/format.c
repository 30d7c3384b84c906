/* Which format a file has, and the images that stand behind it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk_private.h"

static const struct disk_format *const formats[IMAGE_FORMATS] = {
    [IMAGE_RAW] = &raw_format,
    [IMAGE_VHD] = &vhd_format,
    [IMAGE_VHDX] = &vhdx_format,
};

static int open_host_file(struct disk_host *host, const char *path, unsigned flags,
                          struct file **ret, struct reason *reason)
{
    (void)host;
    return file_open(path, flags, ret, reason);
}

struct disk_host disk_host_files = {.open = open_host_file};

const struct disk_format *disk_format(enum image_format format)
{
    return formats[format] != NULL ? formats[format] : &raw_format;
}

const char *image_format_name(enum image_format format)
{
    return disk_format(format)->name;
}

bool image_format_parse(const char *name, enum image_format *ret)
{
    for (unsigned i = 0; i < IMAGE_FORMATS; i++) {
        if (formats[i] == NULL || strcmp(formats[i]->name, name) != 0)
            continue;
        *ret = (enum image_format)i;
        return true;
    }
    return false;
}

static bool has_suffix(const char *path, const struct disk_format *format)
{
    size_t length = strlen(path);

    for (unsigned i = 0; format->suffixes[i] != NULL; i++) {
        size_t own = strlen(format->suffixes[i]);
        if (length > own && strcasecmp(path + length - own, format->suffixes[i]) == 0)
            return true;
    }
    return false;
}

enum image_format image_format_of(const char *path)
{
    for (unsigned i = 0; i < IMAGE_FORMATS; i++) {
        if (formats[i] != NULL && has_suffix(path, formats[i]))
            return (enum image_format)i;
    }
    return IMAGE_RAW;
}

const char *image_foreign_of(const char *path)
{
    static const char *const names[] = {"qcow2", "qcow", "vmdk", "vdi", "qed", "parallels"};
    const char *dot = strrchr(path, '.');

    for (unsigned i = 0; dot != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(dot + 1, names[i]) == 0)
            return names[i];
    }
    return NULL;
}

enum image_format disk_choose_format(const char *path, unsigned flags)
{
    for (unsigned i = 0; i < IMAGE_FORMATS; i++) {
        if (formats[i] != NULL && (flags & formats[i]->flag) != 0)
            return (enum image_format)i;
    }
    return path != NULL ? image_format_of(path) : IMAGE_RAW;
}

static int open_source(const struct disk_source *source, struct disk **ret, struct reason *reason)
{
    const struct disk_format *format = disk_format(disk_choose_format(source->path, source->flags));
    char *path = source->path != NULL ? strdup(source->path) : NULL;

    if (source->path != NULL && path == NULL)
        return -ENOMEM;
    int error = format->open(source, ret, reason);
    if (error < 0) {
        free(path);
        return error;
    }
    (*ret)->format = disk_choose_format(source->path, source->flags);
    (*ret)->path = path;
    return 0;
}

/* `*ret_is_there`: it is a file that can be opened, whatever is in it and behind it. */
static int open_path(const struct disk_source *like, const char *path, struct disk **ret,
                     bool *ret_is_there, struct reason *reason)
{
    struct disk_source source = *like;
    struct reason why = {"out of memory"};
    const unsigned named = DISK_AS_RAW | DISK_AS_VHD | DISK_AS_VHDX;
    *ret_is_there = false;
    unsigned flags = (like->flags & DISK_WRITABLE ? (unsigned)FILE_WRITABLE : 0) |
                     (like->flags & DISK_NO_LOCK ? (unsigned)FILE_NO_LOCK : 0);
    if ((like->flags & named) == 0 && image_foreign_of(path) != NULL)
        return reason_set(reason, -ENOTSUP,
                          "%s: a %s image, which 'partita disk convert' makes a VHDX of", path,
                          image_foreign_of(path));
    int error = like->host->open(like->host, path, flags, &source.file, reason);

    if (error < 0)
        return error;
    *ret_is_there = true;
    source.path = path;
    error = open_source(&source, ret, &why);
    if (error < 0) {
        file_close(source.file);
        if (error == -ELOOP) /* each of the chain would put its name before */
            return reason_set(reason, error, "%s", why.text);
        return reason_set(reason, error, "%s: %s", path, why.text);
    }
    return 0;
}

int disk_open_file(struct file *file, unsigned flags, struct disk **ret, struct reason *reason)
{
    const struct disk_source source = {.file = file, .flags = flags, .host = &disk_host_files};

    return open_source(&source, ret, reason);
}

int disk_open_with(struct disk_host *host, const char *path, unsigned flags, struct disk **ret,
                   struct reason *reason)
{
    const struct disk_source source = {.flags = flags, .host = host};
    bool is_there = false;

    return open_path(&source, path, ret, &is_there, reason);
}

int disk_open(const char *path, unsigned flags, struct disk **ret, struct reason *reason)
{
    return disk_open_with(&disk_host_files, path, flags, ret, reason);
}

char *disk_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *beside = NULL;

    if (name[0] == '/' || slash == NULL)
        return strdup(name);
    if (asprintf(&beside, "%.*s/%s", (int)(slash - path), path, name) < 0)
        return NULL;
    return beside;
}

static int open_named(const struct disk_source *like, const struct disk_source *child,
                      const char *name, struct disk **ret, bool *ret_is_there,
                      struct reason *reason)
{
    char *path = disk_beside(child->path, name);
    int error = path != NULL ? open_path(like, path, ret, ret_is_there, reason) : -ENOMEM;

    free(path);
    return error;
}

/* Of an absolute path of another system only the last part means anything here. */
int disk_open_parent(const struct disk_source *child, const struct disk_parent_names *names,
                     unsigned flags, struct disk **ret, struct reason *reason)
{
    const char *base = strrchr(names->absolute, '/');
    const char *const each[] = {names->relative, names->absolute[0] == '/' ? names->absolute : "",
                                base != NULL ? base + 1 : ""};
    const struct disk_source source = {
        .flags = flags | (child->flags & (DISK_NO_LOCK | DISK_ANY_PARENT)),
        .host = child->host,
        .depth = child->depth + 1,
    };
    struct reason first = {""};
    bool is_there = false;
    int error = -ENOENT;

    if (child->path == NULL)
        return reason_set(reason, -ENOENT, "its parent cannot be found from here");
    if (child->depth >= DISK_MOST_PARENTS)
        return reason_set(reason, -ELOOP, "%s: a chain of more than %d parents", child->path,
                          DISK_MOST_PARENTS);
    for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]) && error == -ENOENT && !is_there; i++) {
        struct reason why = {""};
        if (each[i][0] == '\0')
            continue;
        error = open_named(&source, child, each[i], ret, &is_there, &why);
        if (first.text[0] == '\0' || is_there || error != -ENOENT)
            first = why;
    }
    if (error < 0)
        return reason_set(reason, error, "%s",
                          first.text[0] != '\0' ? first.text : "it names no parent");
    return 0;
}
