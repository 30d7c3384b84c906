/*
 * Ownership that is seen where it is declared: a variable marked auto_… is released when its scope
 * ends, unless it was taken. Destructors accept NULL and -1.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void cleanup_fclose(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

#define auto_free   __attribute__((cleanup(cleanup_free)))
#define auto_close  __attribute__((cleanup(cleanup_close)))
#define auto_fclose __attribute__((cleanup(cleanup_fclose)))

/* Hand the pointer (descriptor) on; the variable is left empty. */
#define TAKE_PTR(p)               \
    __extension__({               \
        __typeof__(p) taken_ = p; \
        (p) = NULL;               \
        taken_;                   \
    })

static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#endif
