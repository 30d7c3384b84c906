/* Files that appear under their name when they are whole and durable, and not before. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"

int new_file_begin(const struct tool *tool, struct new_file *file)
{
    file->temporary = NULL;
    if (!file->replace && access(file->path, F_OK) == 0) {
        cli_error("%s: %s: there is a file already; --force replaces it", tool->verb, file->path);
        return CLI_EXIT_FILE;
    }
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

int new_file_end(const struct tool *tool, struct new_file *file, int code)
{
    if (file->temporary == NULL)
        return code;
    unsigned flags = file->replace ? 0 : RENAME_NOREPLACE;
    if (code == 0 && (renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path, flags) != 0 ||
                      sync_folder(file->path) < 0)) {
        cli_error("%s: %s: %s", tool->verb, file->path, strerrordesc_np(errno));
        code = CLI_EXIT_FILE;
    }
    if (code != 0)
        (void)unlink(file->temporary);
    free(file->temporary);
    file->temporary = NULL;
    return code;
}
