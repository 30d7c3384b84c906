/* partita disk mount and unmount. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/disk/fs.h"
#include "cli/disk/tool.h"

/* ---- mount ---- */

struct mount {
    struct tool tool; /* its first member */
    bool read_only, foreground;
};

static int take_read_only(void *command, const char *value)
{
    (void)value;
    ((struct mount *)command)->read_only = true;
    return 0;
}

static int take_foreground(void *command, const char *value)
{
    (void)value;
    ((struct mount *)command)->foreground = true;
    return 0;
}

const struct cli_option disk_mount_options[] = {
    {"read-only", 'r', CLI_FLAG, NULL, NULL, "nothing can be written", take_read_only},
    {"foreground", 0, CLI_FLAG, NULL, NULL, "stay, and unmount with Ctrl-C", take_foreground},
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char mount_usage[] =
    "Usage: partita disk mount FILE FOLDER [OPTION]...\n"
    "Show a disk as files in FOLDER: 'disk' is all of it, 'part1' and so on are its partitions.\n"
    "They can be read and written like the disk, and mounted with 'mount -o loop'.\n"
    "\n"
    "Examples:\n"
    "  partita disk mount root.vhdx /mnt/disk\n"
    "  mount -o loop /mnt/disk/part1 /mnt/root\n"
    "  umount /mnt/root; partita disk unmount /mnt/disk\n";

int disk_mount_main(int argc, char **argv)
{
    struct mount mount = {.tool = {.most_words = 2}};
    const struct tool *tool = &mount.tool;
    struct reason reason = {""};
    struct disk *disk = NULL;
    int code = tool_parse(&mount.tool, disk_mount_options, 2, mount_usage, argc, argv);

    if (code != 0)
        return code < 0 ? 0 : code;
    unsigned flags = mount.read_only ? 0 : (unsigned)DISK_WRITABLE;
    code = tool_open(tool, tool->words[0], tool_flags(tool, flags), &disk);
    if (code != 0)
        return code;
    auto_free char *source = realpath(tool->words[0], NULL);
    auto_free char *folder = realpath(tool->words[1], NULL); /* serving happens in the root */
    const struct fs_mount what = {.disk = disk,
                                  .folder = folder != NULL ? folder : tool->words[1],
                                  .source = source != NULL ? source : tool->words[0],
                                  .foreground = mount.foreground};
    int error = fs_serve(&what, &reason);
    if (error < 0)
        code = tool_fail(tool, error, &reason);
    return tool_close(tool, tool->words[0], disk, code);
}

/* ---- unmount ---- */

const struct cli_option disk_unmount_options[] = {
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char unmount_usage[] =
    "Usage: partita disk unmount FOLDER [OPTION]...\n"
    "Unmount what 'partita disk mount' has mounted; all that was written is durable then, and the\n"
    "image is free for others.\n"
    "\n"
    "Example:\n"
    "  partita disk unmount /mnt/disk\n";

/* The process that serves the folder, or -1. */
static pid_t server_of(const char *folder)
{
    char text[16] = "";

    return getxattr(folder, FS_PID_XATTR, text, sizeof(text) - 1) > 0
               ? (pid_t)strtol(text, NULL, 10)
               : -1;
}

/* Before it is gone its errors can still be told. */
static int flush(const char *folder)
{
    auto_free char *path = NULL;

    if (asprintf(&path, "%s/" FS_DISK_NAME, folder) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return error;
}

/* Without the right to do so oneself there is a program that has it. */
static int unmount(const char *folder)
{
    const char *const words[] = {"fusermount3", "-u", "--", folder, NULL};
    pid_t child = 0;
    int status = 0;

    if (umount2(folder, 0) == 0)
        return 0;
    if (errno != EPERM)
        return -errno;
    int error =
        posix_spawnp(&child, words[0], NULL, NULL, (char *const *)(const void *)words, environ);
    if (error != 0)
        return -error;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int unmount_and_wait(const char *folder, pid_t server)
{
    enum { PATIENCE_MS = 60000 };
    int fd = pidfd_open(server, 0);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    if (fd < 0)
        return -errno;
    int lost = flush(folder);
    int error = unmount(folder);
    if (error == 0 && poll(&poll_fd, 1, PATIENCE_MS) != 1)
        error = -ETIMEDOUT;
    (void)close(fd);
    if (error == 0 && lost < 0) {
        cli_error("disk unmount: %s: what was written last may be lost: %s", folder,
                  strerrordesc_np(-lost));
        error = -EIO;
    }
    return error;
}

int disk_unmount_main(int argc, char **argv)
{
    struct tool tool = {.most_words = 1};
    int code = tool_parse(&tool, disk_unmount_options, 1, unmount_usage, argc, argv);

    if (code != 0)
        return code < 0 ? 0 : code;
    pid_t server = server_of(tool.words[0]);
    if (server <= 0 && errno == ENOTCONN) { /* who served it was killed */
        int dead = unmount(tool.words[0]);
        return dead < 0 ? tool_fail(&tool, dead, NULL) : 0;
    }
    if (server <= 0) {
        cli_error("%s: %s: no disk of 'partita disk mount' is there", tool.verb, tool.words[0]);
        return CLI_EXIT_FILE;
    }
    int error = unmount_and_wait(tool.words[0], server);
    if (error == -EBUSY) {
        cli_error("%s: %s: somebody uses it; is one of its files mounted?", tool.verb,
                  tool.words[0]);
        return CLI_EXIT_FILE;
    }
    return error < 0 ? tool_fail(&tool, error, NULL) : 0;
}
