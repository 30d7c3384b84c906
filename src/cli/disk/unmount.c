/*
 * partita disk unmount: when it returns 0, all that was written is durable and the image is free.
 *
 * An unmounted FUSE file system does not wait for its process, so this does: the folder tells which
 * process it is, and a descriptor of that process tells when it has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "cli/disk/mount.h"
#include "cli/disk/tool.h"

const struct cli_option disk_unmount_options[] = {
    TOOL_HELP,
    {0},
};

static const char usage[] =
    "Usage: partita disk unmount FOLDER\n"
    "End what 'partita disk mount' began. When it returns, what was written is durable and the\n"
    "image is free for guests and tools. (umount works too, and does not wait for that.)\n"
    "\n"
    "Example:\n"
    "  partita disk unmount /mnt/data\n";

/* ---- finding ---- */

struct path {
    char text[PATH_MAX];
};

static bool copy_path(const char *from, size_t length, struct path *ret)
{
    if (length >= sizeof(ret->text))
        return false;
    memcpy(ret->text, from, length);
    ret->text[length] = '\0';
    return true;
}

/* realpath() fails at a folder whose process is dead; what is before its name does not. */
static char *real_folder(const char *folder)
{
    char *path = realpath(folder, NULL);
    size_t length = strlen(folder);
    size_t before = 0; /* bytes before the name */
    struct path parent;

    if (path != NULL || errno != ENOTCONN)
        return path;
    while (length > 1 && folder[length - 1] == '/')
        length--;
    for (before = length; before > 0 && folder[before - 1] != '/';)
        before--;
    if (!copy_path(folder, before, &parent))
        return NULL;
    auto_free char *real = realpath(before == 0 ? "." : parent.text, NULL);
    if (real == NULL || asprintf(&path, "%s/%.*s", strcmp(real, "/") == 0 ? "" : real,
                                 (int)(length - before), folder + before) < 0)
        return NULL;
    return path;
}

/* Is the uppermost file system there ours? Then `ret_image` says of what. */
static bool find_mount(const char *path, struct path *ret_image)
{
    auto_fclose FILE *mounts = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    char line[2 * PATH_MAX + 512]; /* two paths, and little else */
    bool ours = false;

    while (mounts != NULL && getmntent_r(mounts, &entry, line, sizeof(line)) != NULL) {
        if (strcmp(entry.mnt_dir, path) == 0)
            ours = strcmp(entry.mnt_type, "fuse." MOUNT_SUBTYPE) == 0 &&
                   copy_path(entry.mnt_fsname, strlen(entry.mnt_fsname), ret_image);
    }
    return ours;
}

/* Of the process that serves `path`; -1: there is none. */
static int open_process(const char *path)
{
    char text[16] = "";
    ssize_t length = getxattr(path, MOUNT_PROCESS_ATTRIBUTE, text, sizeof(text) - 1);
    long process = length > 0 ? strtol(text, NULL, 10) : 0;

    return process > 0 ? pidfd_open((pid_t)process, 0) : -1;
}

/* ---- ending ---- */

/* Its process would have nobody to tell of an error any more. */
static int flush(const char *path)
{
    auto_free char *name = NULL;

    if (asprintf(&name, "%s/%s", path, MOUNT_DISK_FILE) < 0) {
        name = NULL;
        return -ENOMEM;
    }
    auto_close int fd = open(name, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

/* As somebody who may not unmount: by the program that may. It tells itself what is wrong. */
static int run_fusermount(char *path)
{
    static char program[] = "fusermount3";
    static char unmount[] = "-u";
    static char end[] = "--";
    char *arguments[] = {program, unmount, end, path, NULL};
    pid_t child = 0;
    int status = 0;
    int error = posix_spawnp(&child, program, NULL, NULL, arguments, environ);

    if (error != 0)
        return -error;
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int unmount(char *path)
{
    int error = umount2(path, UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;

    return error == -EPERM ? run_fusermount(path) : error;
}

static void wait_for_end(int process)
{
    struct pollfd source = {.fd = process, .events = POLLIN};

    while (poll(&source, 1, -1) < 0 && errno == EINTR)
        continue;
}

static const char *loss_text(int process, int error)
{
    if (process < 0)
        return "its process had ended before";
    return error == -EROFS ? "a write had failed" : strerrordesc_np(-error);
}

static int end_mount(const struct tool *tool, char *path, const char *image)
{
    auto_close int process = open_process(path);
    int lost = process >= 0 ? flush(path) : -ENOTCONN;
    int error = unmount(path);

    if (error < 0) {
        cli_error("%s: %s: %s", tool->verb, tool->words[0],
                  error == -EBUSY ? "something still uses it: a loop device, an open file, a shell"
                                  : strerrordesc_np(-error));
        return CLI_EXIT_FILE;
    }
    if (process >= 0)
        wait_for_end(process);
    if (lost == 0)
        return 0;
    cli_error("%s: %s: what was written last may be lost: %s", tool->verb, image,
              loss_text(process, lost));
    return CLI_EXIT_FILE;
}

int disk_unmount_main(int argc, char **argv)
{
    struct tool tool = {.most_words = 1, .wanted = "a folder is wanted"};
    int code = tool_parse(&tool, disk_unmount_options, 1, usage, argc, argv);

    if (code != 0)
        return code < 0 ? 0 : code;
    auto_free char *path = real_folder(tool.words[0]);
    struct path image;
    if (path == NULL) {
        cli_error("%s: %s: %s", tool.verb, tool.words[0], strerrordesc_np(errno));
        return CLI_EXIT_FILE;
    }
    if (!find_mount(path, &image)) {
        cli_error("%s: %s: no disk is mounted there", tool.verb, tool.words[0]);
        return CLI_EXIT_FILE;
    }
    return end_mount(&tool, path, image.text);
}
