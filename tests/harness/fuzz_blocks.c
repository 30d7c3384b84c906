/*
 * Big blocks of a fuzzed program, from a pool. The sanitizer's own allocator maps and unmaps each
 * block above 128 KiB, and a target that makes one in every run spends half of its time on page
 * faults. What is around a block, and one that was freed, is poisoned here as there.
 */
#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The linker's names (--wrap) for the functions as the program calls them, and as they were. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);

enum { BLOCKS = 8, ROOM = 2 << 20, MOST = ROOM - 4096, LEAST = 100000 };

static _Alignas(4096) uint8_t pool[BLOCKS][ROOM];
static size_t sizes[BLOCKS]; /* 0: free */

static void *take(size_t size)
{
    static int begun;

    if (!begun)
        ASAN_POISON_MEMORY_REGION(pool, sizeof(pool));
    begun = 1;
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (sizes[i] == 0) {
            sizes[i] = size;
            ASAN_UNPOISON_MEMORY_REGION(pool[i], size);
            return pool[i];
        }
    }
    return NULL;
}

static size_t *size_of(const void *block)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (block == pool[i])
            return &sizes[i];
    }
    return NULL;
}

void *__wrap_malloc(size_t size)
{
    void *block = size >= LEAST && size <= MOST ? take(size) : NULL;
    return block != NULL ? block : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    size_t all = 0;
    void *block = NULL;

    if (!__builtin_mul_overflow(count, size, &all) && all >= LEAST && all <= MOST)
        block = take(all);
    return block != NULL ? memset(block, 0, all) : __real_calloc(count, size);
}

void __wrap_free(void *block)
{
    size_t *size = size_of(block);

    if (size == NULL) {
        __real_free(block);
        return;
    }
    if (*size == 0)
        abort(); /* freed twice */
    ASAN_POISON_MEMORY_REGION(block, *size);
    *size = 0;
}

void *__wrap_realloc(void *block, size_t size)
{
    const size_t *old = size_of(block);

    if (old == NULL)
        return __real_realloc(block, size);
    void *moved = __wrap_malloc(size);
    if (moved != NULL) {
        memcpy(moved, block, *old < size ? *old : size);
        __wrap_free(block);
    }
    return moved;
}
/* NOLINTEND(bugprone-reserved-identifier) */
