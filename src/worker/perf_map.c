#include "worker/perf_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/symbols.h"

enum { NAME_SIZE = 300 };

struct perf_map {
    FILE *file;
    struct symbols *symbols;
};

void perf_map_path(pid_t process, char ret[PERF_MAP_PATH])
{
    (void)snprintf(ret, PERF_MAP_PATH, "/tmp/perf-%d.map", (int)process);
}

/* Process ids come again, so there may be an old one; in a folder that is everybody's nothing of
 * another is followed. */
static FILE *open_new(const char *path)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (fd >= 0 && file == NULL)
        (void)close(fd);
    return file;
}

int perf_map_create(const char *path, struct symbols *symbols, struct perf_map **ret,
                    struct reason *reason)
{
    struct perf_map *map = calloc(1, sizeof(*map));
    if (map == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    map->symbols = symbols;
    map->file = open_new(path);
    if (map->file == NULL) {
        int error = -errno;
        free(map);
        return reason_set(reason, error, "%s: %s", path, strerrordesc_np(-error));
    }
    /* Whole lines at any time: perf may read while the guest runs, or after its process was killed.
     */
    (void)setvbuf(map->file, NULL, _IOLBF, BUFSIZ);
    *ret = map;
    return 0;
}

void perf_map_destroy(struct perf_map *map)
{
    if (map == NULL)
        return;
    (void)fclose(map->file);
    free(map);
}

/* A name of the guest's, only where the symbols are known to fit. */
static void describe(const struct perf_map *map, const struct engine_code *code,
                     char ret[NAME_SIZE])
{
    if (!code->user && map->symbols != NULL && symbols_follow_lstar(map->symbols, code->lstar) &&
        symbols_describe(map->symbols, code->rip, ret, NAME_SIZE))
        return;
    (void)snprintf(ret, NAME_SIZE, "0x%" PRIx64, code->rip);
}

static void write_made(void *owner, const struct engine_code *code)
{
    const struct perf_map *map = owner;
    char name[NAME_SIZE] = "routines";
    const char *whose = code->shared ? "translator" : code->user ? "guest_user" : "guest_kernel";

    if (!code->shared)
        describe(map, code, name);
    (void)fprintf(map->file, "%" PRIx64 " %zx %s:%s\n", code->host, code->length, whose, name);
}

/* The same addresses are about to get other names, and perf does not know of time. */
static void begin_anew(void *owner)
{
    const struct perf_map *map = owner;
    if (ftruncate(fileno(map->file), 0) == 0)
        rewind(map->file);
}

struct engine_code_watch perf_map_watch(struct perf_map *map)
{
    return (struct engine_code_watch){.owner = map, .made = write_made, .emptied = begin_anew};
}
