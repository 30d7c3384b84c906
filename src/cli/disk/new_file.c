/* Files that appear under their name when they are whole and durable, and not before. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"
#include "disk/file.h"

/* Somebody may have it open; until it is replaced nobody else gets it. */
static int lock_old(const struct tool *tool, struct new_file *file)
{
    struct reason reason = {""};
    struct stat status;

    if (stat(file->path, &status) != 0)
        return 0;
    if (!S_ISREG(status.st_mode)) {
        cli_error("%s: %s: no regular file; nothing else is replaced", tool->verb, file->path);
        return CLI_EXIT_FILE;
    }
    file->mode = status.st_mode & 07777;
    file->resolved = realpath(file->path, NULL);
    if (file->resolved != NULL)
        file->path = file->resolved;
    int error = file_open(file->path, FILE_WRITABLE, &file->old, &reason);
    return error < 0 ? tool_fail(tool, error, &reason) : 0;
}

int new_file_begin(const struct tool *tool, struct new_file *file)
{
    file->temporary = NULL;
    if (!file->replace && access(file->path, F_OK) == 0) {
        cli_error("%s: %s: there is a file already; --force replaces it", tool->verb, file->path);
        return CLI_EXIT_FILE;
    }
    int code = lock_old(tool, file);
    if (code != 0)
        return code;
    if (asprintf(&file->temporary, "%s.%ld.part", file->path, (long)getpid()) < 0) {
        file->temporary = NULL;
        return tool_fail(tool, -ENOMEM, NULL);
    }
    return 0;
}

static int sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 0 : (int)(slash - path) + 1;

    (void)snprintf(folder, sizeof(folder), "%.*s.", length, path);
    auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

static int give_name(const struct new_file *file)
{
    unsigned flags = file->replace ? 0 : RENAME_NOREPLACE;

    if (file->mode != 0 && chmod(file->temporary, file->mode) != 0)
        return -errno;
    if (renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, flags) != 0)
        return -errno;
    return sync_folder(file->path);
}

int new_file_end(const struct tool *tool, struct new_file *file, int code)
{
    int error = code == 0 && file->temporary != NULL ? give_name(file) : 0;

    if (error < 0) {
        cli_error("%s: %s: %s", tool->verb, file->path, strerrordesc_np(-error));
        code = CLI_EXIT_FILE;
    }
    if (code != 0 && file->temporary != NULL)
        (void)unlink(file->temporary);
    file_close(file->old);
    free(file->temporary);
    free(file->resolved);
    file->old = NULL;
    file->temporary = file->resolved = NULL;
    return code;
}
