/*
 * Names of translated code for perf(1): a file of lines "START SIZE name", in hexadecimal, that
 * perf looks for as /tmp/perf-PID.map (Linux, tools/perf/Documentation/jit-interface.txt).
 */
#ifndef WORKER_PERF_MAP_H
#define WORKER_PERF_MAP_H

#include <sys/types.h>

#include "base/reason.h"
#include "machine/machine.h"

struct perf_map;
struct symbols;

enum { PERF_MAP_PATH = 64 };

/* Where perf looks for the names of a process. */
void perf_map_path(pid_t process, char ret[PERF_MAP_PATH]);

/* Makes the file anew. `symbols` name the guest's kernel, and are the map's until its end; NULL:
 * there are none. */
int perf_map_create(const char *path, struct symbols *symbols, struct perf_map **ret,
                    struct reason *reason);
/* The file stays. */
void perf_map_destroy(struct perf_map *map);

struct engine_code_watch perf_map_watch(struct perf_map *map);

#endif
