/* For tests: a temporary folder, and a shell that makes disk images in it. */
#ifndef BOOTDISK_IMAGE_FIXTURE_H
#define BOOTDISK_IMAGE_FIXTURE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char image_folder[] = "/tmp/partita-bootdisk-XXXXXX";

/* Run a script in the folder; its output is not shown. */
static inline bool image_script(const char *script)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (chdir(image_folder) != 0 || freopen("log", "a", stdout) == NULL ||
            freopen("log", "a", stderr) == NULL)
            _exit(126);
        (void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin",
                     1); /* NOLINT(concurrency-mt-unsafe) */
        (void)execl("/bin/sh", "sh", "-euc", script, (char *)NULL);
        _exit(127);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* NULL when the tools are there, else what is missing. */
static inline const char *image_tools_missing(void)
{
    if (!image_script("command -v mke2fs && command -v debugfs"))
        return "mke2fs and debugfs of e2fsprogs are not installed";
    if (!image_script("command -v sfdisk"))
        return "sfdisk is not installed";
    return NULL;
}

/* The place of a file of the folder; static. */
static inline const char *image_path(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", image_folder, name);
    return path;
}

static inline bool image_folder_make(void)
{
    return mkdtemp(image_folder) != NULL;
}

static inline void image_folder_remove(void)
{
    (void)image_script("rm -rf -- \"$PWD\"");
}

#endif
