#include "bootdisk/choose.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *kernel, *initrd;
} links[] = {
    {"/vmlinuz", "/initrd.img"},
    {"/boot/vmlinuz", "/boot/initrd.img"},
    {"/boot/vmlinuz", "/boot/initrd"},
};
enum { LINK_COUNT = sizeof(links) / sizeof(links[0]) };

static const char kernel_prefix[] = "vmlinuz-";

struct newest {
    char version[BOOTDISK_NAME_SIZE];
};

/* "/boot/vmlinuz" is "/vmlinuz" on a partition that is mounted there. */
static const char *place(const char *path, bool is_boot)
{
    return is_boot && strncmp(path, "/boot/", 6) == 0 ? path + 5 : path;
}

static bool choose_link(const struct choose_tree *tree, bool is_boot, bool with_initrd,
                        struct choice *ret)
{
    for (int i = 0; i < LINK_COUNT; i++) {
        const char *kernel = place(links[i].kernel, is_boot);
        const char *initrd = place(links[i].initrd, is_boot);
        if (!tree->is_file(tree->owner, kernel) ||
            (with_initrd && !tree->is_file(tree->owner, initrd)))
            continue;
        (void)snprintf(ret->kernel, sizeof(ret->kernel), "%s", kernel);
        (void)snprintf(ret->initrd, sizeof(ret->initrd), "%s", with_initrd ? initrd : "");
        return true;
    }
    return false;
}

/* What package managers leave behind, and what an administrator put aside. */
static bool is_kept_copy(const char *name)
{
    static const char *const ends[] = {".old", ".bak", ".dpkg-bak", ".dpkg-new", ".dpkg-tmp", "~"};
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && strcmp(name + length - end, ends[i]) == 0)
            return true;
    }
    return false;
}

/* File names are bytes; these end up in messages. */
static bool is_printable(const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name <= ' ' || *name > '~' || *name == '/')
            return false;
    }
    return true;
}

static void compare_name(void *owner, const char *name)
{
    struct newest *newest = owner;
    const char *version = name + sizeof(kernel_prefix) - 1;

    if (strncmp(name, kernel_prefix, sizeof(kernel_prefix) - 1) != 0 || *version == '\0' ||
        !is_printable(name) || is_kept_copy(name))
        return;
    /* A rescue image of Fedora has a machine's id for a version: never the newest. */
    bool is_rescue = strncmp(version, "0-rescue-", 9) == 0;
    if (newest->version[0] == '\0' ||
        (!is_rescue && strverscmp(version, newest->version) > 0)) /* 6.1.0-9 before 6.1.0-10 */
        (void)snprintf(newest->version, sizeof(newest->version), "%s", version);
}

static bool choose_newest(const struct choose_tree *tree, bool is_boot, struct choice *ret)
{
    static const char *const initrds[] = {"initrd.img-%s", "initramfs-%s.img", "initrd-%s"};
    const char *folder = is_boot ? "" : "/boot";
    struct newest newest = {""};

    tree->list(tree->owner, is_boot ? "/" : "/boot", compare_name, &newest);
    if (newest.version[0] == '\0')
        return false;
    int length = snprintf(ret->kernel, sizeof(ret->kernel), "%s/%s%s", folder, kernel_prefix,
                          newest.version);
    if (length < 0 || (size_t)length >= sizeof(ret->kernel) ||
        !tree->is_file(tree->owner, ret->kernel))
        return false;
    for (size_t i = 0; i < sizeof(initrds) / sizeof(initrds[0]); i++) {
        int start = snprintf(ret->initrd, sizeof(ret->initrd), "%s/", folder);
        /* The formats are those above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(ret->initrd + start, sizeof(ret->initrd) - (size_t)start, initrds[i],
                       newest.version);
#pragma GCC diagnostic pop
        if (tree->is_file(tree->owner, ret->initrd))
            return true;
    }
    ret->initrd[0] = '\0';
    return true;
}

bool choose_kernel(const struct choose_tree *tree, bool is_boot, struct choice *ret)
{
    return choose_link(tree, is_boot, true, ret) || choose_newest(tree, is_boot, ret) ||
           choose_link(tree, is_boot, false, ret);
}
