#include "cli/disk/foreign.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *suffix, *format; /* as qemu-img calls it */
    bool ours;                   /* some of them are */
} kinds[] = {
    {"qcow2", "qcow2", false}, {"qcow", "qcow", false}, {"vmdk", "vmdk", false},
    {"vdi", "vdi", false},     {"qed", "qed", false},   {"parallels", "parallels", false},
    {"vhd", "vpc", true},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static int kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (int i = 0; dot != NULL && i < KINDS; i++) {
        if (strcasecmp(dot + 1, kinds[i].suffix) == 0)
            return i;
    }
    return -1;
}

bool foreign_is(const char *path)
{
    int kind = kind_of(path);
    struct disk *disk = NULL;

    if (kind < 0 || !kinds[kind].ours)
        return kind >= 0;
    int error = disk_open(path, DISK_NO_LOCK, &disk, NULL);
    (void)disk_close(disk);
    return error == -ENOTSUP;
}

static int wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int foreign_to_raw(const struct tool *tool, const char *path, const char *target, char **ret)
{
    pid_t pid = 0;

    *ret = NULL;
    if (asprintf(ret, "%s.%ld.raw", target, (long)getpid()) < 0) {
        *ret = NULL;
        return tool_fail(tool, -ENOMEM, NULL);
    }
    /* The format is said: qemu-img would look for one in what a guest may have written. */
    const char *format = kinds[kind_of(path)].format;
    const char *const words[] = {"qemu-img", "convert", "-f", format, "-O",
                                 "raw",      path,      *ret, NULL};
    int error =
        posix_spawnp(&pid, words[0], NULL, NULL, (char *const *)(const void *)words, environ);
    if (error == ENOENT) {
        cli_error("%s: %s: a %s image is read with qemu-img, which is not installed (Debian: "
                  "qemu-utils)",
                  tool->verb, path, format);
        return CLI_EXIT_FILE;
    }
    error = error != 0 ? -error : wait_for(pid);
    if (error == 0)
        return 0;
    cli_error("%s: %s: qemu-img cannot read it", tool->verb, path);
    return CLI_EXIT_FILE;
}
