#include "cli/disk/foreign.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const suffixes[] = {"qcow2", "qcow", "vmdk", "vdi", "qed", "parallels"};

static const char *suffix_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (unsigned i = 0; dot != NULL && i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcasecmp(dot + 1, suffixes[i]) == 0)
            return suffixes[i];
    }
    return NULL;
}

bool foreign_is(const char *path)
{
    return suffix_of(path) != NULL;
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
    const char *const words[] = {"qemu-img", "convert", "-f", suffix_of(path), "-O", "raw",
                                 path,       *ret,      NULL};
    int error =
        posix_spawnp(&pid, words[0], NULL, NULL, (char *const *)(const void *)words, environ);
    if (error == ENOENT) {
        cli_error("%s: %s: a %s image is read with qemu-img, which is not installed (Debian: "
                  "qemu-utils)",
                  tool->verb, path, suffix_of(path));
        return CLI_EXIT_FILE;
    }
    error = error != 0 ? -error : wait_for(pid);
    if (error == 0)
        return 0;
    cli_error("%s: %s: qemu-img cannot read it", tool->verb, path);
    return CLI_EXIT_FILE;
}
