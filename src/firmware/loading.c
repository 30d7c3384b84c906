#include "firmware/loading.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "firmware/area.h"

int loading_refuse(const struct loading *loading, int error, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return reason_set(loading->reason, error, "%s: %s", loading->config->kernel.name, text);
}

int loading_take(struct loading *loading, uint64_t gpa, uint64_t size, const char *what)
{
    int r = placement_take(&loading->placement, gpa, size);
    if (r == -EFAULT)
        return loading_refuse(loading, -ENOMEM,
                              "%s needs %" PRIu64 " bytes at 0x%" PRIx64 ", which %" PRIu64
                              " MiB of memory do not have",
                              what, size, gpa, mem_size(loading->mem) >> 20);
    if (r == -EEXIST)
        return loading_refuse(loading, -ENOEXEC,
                              "%s at 0x%" PRIx64 " (0x%" PRIx64
                              " bytes) overlaps another part or the firmware's area",
                              what, gpa, size);
    if (r < 0)
        return loading_refuse(loading, -ENOEXEC, "too many parts");
    return 0;
}

static int find_aligned(struct loading *loading, uint64_t size, uint64_t limit, uint64_t *ret_gpa)
{
    return placement_find(&loading->placement, size, MEM_PAGE_SIZE, limit, ret_gpa);
}

int loading_find(struct loading *loading, uint64_t size, uint64_t limit, const char *what,
                 uint64_t *ret_gpa)
{
    if (find_aligned(loading, size, limit, ret_gpa) == 0)
        return 0;
    return loading_refuse(loading, -ENOMEM,
                          "no room in %" PRIu64 " MiB of memory for %s (%" PRIu64 " bytes)",
                          mem_size(loading->mem) >> 20, what, size);
}

int loading_find_low(struct loading *loading, uint64_t size, const char *what, uint64_t *ret_gpa)
{
    if (find_aligned(loading, size, AREA_LOW_TOP, ret_gpa) == 0)
        return 0;
    return loading_find(loading, size, AREA_4_GIB, what, ret_gpa);
}

int loading_put(struct loading *loading, const void *bytes, size_t length, const char *what,
                uint64_t *ret_gpa)
{
    int r = loading_find_low(loading, length, what, ret_gpa);
    return r < 0 ? r : mem_write(loading->mem, *ret_gpa, bytes, length);
}
