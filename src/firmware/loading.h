/*
 * What the loaders of this folder share while one image is put into memory.
 *
 * Order of every loader: decode the image and refuse it if need be, take the places that it
 * demands, and only then write it and find room for the rest.
 */
#ifndef FIRMWARE_LOADING_H
#define FIRMWARE_LOADING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"
#include "firmware/boot.h"
#include "firmware/placement.h"
#include "mem/mem.h"

struct loading {
    struct mem *mem;
    const struct boot_config *config;
    struct reason *reason;
    struct placement placement;
};

/* Fill the reason with "<kernel>: …" and return `error`. */
int loading_refuse(const struct loading *loading, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Take [gpa, gpa + size) for `what` of the image, or refuse. */
int loading_take(struct loading *loading, uint64_t gpa, uint64_t size, const char *what);

/* Find room that ends at or below `limit` for `what`, or refuse. */
int loading_find(struct loading *loading, uint64_t size, uint64_t limit, const char *what,
                 uint64_t *ret_gpa);

/* Find room below 1 MiB where there is some, else below 4 GiB. */
int loading_find_low(struct loading *loading, uint64_t size, const char *what, uint64_t *ret_gpa);

/* The same, and put these bytes there. */
int loading_put(struct loading *loading, const void *bytes, size_t length, const char *what,
                uint64_t *ret_gpa);

/* Whether the image has `length` bytes at `offset`. */
static inline bool file_holds(const struct boot_file *file, uint64_t offset, uint64_t length)
{
    return offset <= file->length && length <= file->length - offset;
}

/* The command line, never NULL. */
static inline const char *loading_command_line(const struct loading *loading)
{
    return loading->config->command_line != NULL ? loading->config->command_line : "";
}

/*
 * The descriptor table, and for long mode the page tables, that state->mode needs. Fills in
 * gdt_base, gdt_limit and cr3.
 */
int entry_prepare(struct loading *loading, struct boot_state *state);

/* The loaders. Each _recognise looks at a few bytes only and never fails on a short file. */
bool linux_recognise(const struct boot_file *file);
int linux_load(struct loading *loading, struct boot_state *ret);
bool multiboot_recognise(const struct boot_file *file);
int multiboot_load(struct loading *loading, struct boot_state *ret);
bool elf_recognise(const struct boot_file *file);
int elf_load(struct loading *loading, struct boot_state *ret);

#endif
