/*
 * ELF executables for x86, 32- and 64-bit: System V ABI, "Object Files" and "Program Loading".
 * Segments go to their physical addresses.
 */
#ifndef FIRMWARE_ELF_IMAGE_H
#define FIRMWARE_ELF_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/loading.h"

enum { ELF_MAX_SEGMENTS = 32 };

struct elf_segment {
    uint64_t offset;
    uint64_t vaddr;
    uint64_t paddr;
    uint64_t filesz;
    uint64_t memsz;
};

struct elf_image {
    bool is_64;
    bool has_pvh_entry;
    uint32_t pvh_entry; /* physical, 32-bit: the note XEN_ELFNOTE_PHYS32_ENTRY */
    uint64_t entry;
    size_t count;
    struct elf_segment segment[ELF_MAX_SEGMENTS];
};

/* Read and validate headers and notes; changes nothing. */
int elf_decode(struct loading *loading, struct elf_image *ret);

/* Take the places of all segments, then write them. */
int elf_place(struct loading *loading, const struct elf_image *image);

/* Whether a segment covers this physical address. */
bool elf_covers(const struct elf_image *image, uint64_t gpa);

/* Start an image with a PVH note. */
int pvh_start(struct loading *loading, const struct elf_image *image, struct boot_state *ret);

#endif
