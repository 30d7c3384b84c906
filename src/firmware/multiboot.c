/*
 * Multiboot 1 kernels, by their own address fields or as ELF: Multiboot Specification 0.6.96.
 * Words in comments are those of its § 3.1 (header) and § 3.3 (boot information).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/area.h"
#include "firmware/elf_image.h"
#include "firmware/multiboot_info.h"

#define HEADER_MAGIC UINT32_C(0x1badb002)
#define LOADER_MAGIC UINT32_C(0x2badb002)

enum {
    SEARCH_LENGTH = 8192,
    HEADER_SIZE = 12,
    HEADER_SIZE_WITH_ADDRESSES = 32,
    FLAG_PAGE_ALIGN = 1 << 0,  /* modules always are */
    FLAG_MEMORY_INFO = 1 << 1, /* always given */
    FLAG_VIDEO = 1 << 2,
    FLAG_ADDRESSES = 1 << 16,
    FLAGS_MANDATORY = 0xffff,
};

/* Where an image by address fields comes from and goes to. */
struct plan {
    uint64_t offset;
    uint64_t load_gpa;
    uint64_t file_size;
    uint64_t memory_size;
    uint64_t entry;
};

static bool is_header(const uint8_t *at)
{
    return get_le32(at) == HEADER_MAGIC &&
           (uint32_t)(get_le32(at) + get_le32(at + 4) + get_le32(at + 8)) == 0;
}

/* The offset of the header, or a negative number. */
static int64_t find_header(const struct boot_file *file)
{
    size_t length = file->length < SEARCH_LENGTH ? file->length : SEARCH_LENGTH;
    for (size_t at = 0; at + HEADER_SIZE <= length; at += 4)
        if (is_header(file->bytes + at))
            return (int64_t)at;
    return -1;
}

bool multiboot_recognise(const struct boot_file *file)
{
    return find_header(file) >= 0;
}

static int check_flags(const struct loading *loading, uint32_t flags)
{
    uint32_t unmet =
        flags & FLAGS_MANDATORY & ~(uint32_t)(FLAG_PAGE_ALIGN | FLAG_MEMORY_INFO | FLAG_VIDEO);
    if ((flags & FLAG_VIDEO) != 0)
        return loading_refuse(loading, -ENOEXEC,
                              "multiboot kernel that needs a video mode; there is no display");
    if (unmet != 0)
        return loading_refuse(loading, -ENOEXEC, "multiboot kernel with unknown needs 0x%" PRIx32,
                              unmet);
    return 0;
}

/*
 * All sums are of 32-bit fields in 64 bits. load_end_addr 0 means the whole rest of the file,
 * bss_end_addr 0 means no bss.
 */
static int decode_addresses(const struct loading *loading, uint64_t header_at, struct plan *ret)
{
    const struct boot_file *file = &loading->config->kernel;
    if (!file_holds(file, header_at, HEADER_SIZE_WITH_ADDRESSES))
        return loading_refuse(loading, -ENOEXEC, "truncated within its multiboot header");
    const uint8_t *header = file->bytes + header_at;
    uint64_t header_gpa = get_le32(header + 12);
    uint64_t load_gpa = get_le32(header + 16);
    uint64_t load_end = get_le32(header + 20);
    uint64_t bss_end = get_le32(header + 24);
    if (load_gpa > header_gpa || header_gpa - load_gpa > header_at)
        return loading_refuse(loading, -ENOEXEC,
                              "multiboot load address 0x%" PRIx64 " lies before the file",
                              load_gpa);
    ret->offset = header_at - (header_gpa - load_gpa);
    ret->load_gpa = load_gpa;
    if (load_end == 0)
        load_end = load_gpa + (file->length - ret->offset);
    if (bss_end == 0)
        bss_end = load_end;
    if (load_end <= load_gpa || bss_end < load_end ||
        !file_holds(file, ret->offset, load_end - load_gpa))
        return loading_refuse(loading, -ENOEXEC,
                              "multiboot addresses 0x%" PRIx64 "–0x%" PRIx64 "–0x%" PRIx64
                              " do not fit the file",
                              load_gpa, load_end, bss_end);
    ret->file_size = load_end - load_gpa;
    ret->memory_size = bss_end - load_gpa;
    ret->entry = get_le32(header + 28);
    if (ret->entry < load_gpa || ret->entry >= bss_end)
        return loading_refuse(loading, -ENOEXEC, "entry 0x%" PRIx64 " lies outside the image",
                              ret->entry);
    return 0;
}

static int load_by_addresses(struct loading *loading, uint64_t header_at, uint64_t *ret_entry)
{
    const struct boot_file *file = &loading->config->kernel;
    struct plan plan = {0};
    int r = decode_addresses(loading, header_at, &plan);
    if (r == 0)
        r = loading_take(loading, plan.load_gpa, plan.memory_size, "the kernel");
    if (r == 0)
        r = mem_write(loading->mem, plan.load_gpa, file->bytes + plan.offset, plan.file_size);
    if (r == 0)
        r = mem_fill(loading->mem, plan.load_gpa + plan.file_size, 0,
                     plan.memory_size - plan.file_size);
    if (r == 0)
        *ret_entry = plan.entry;
    return r;
}

/* An entry within a segment's virtual addresses is meant there, as for GRUB; else it is physical.
 */
static uint64_t physical_entry(const struct elf_image *image)
{
    for (size_t i = 0; i < image->count; i++) {
        const struct elf_segment *segment = &image->segment[i];
        if (image->entry >= segment->vaddr && image->entry - segment->vaddr < segment->memsz)
            return segment->paddr + (image->entry - segment->vaddr);
    }
    return image->entry;
}

static int load_elf(struct loading *loading, uint64_t *ret_entry)
{
    struct elf_image image;
    int r = elf_decode(loading, &image);
    if (r < 0)
        return r;
    *ret_entry = physical_entry(&image);
    if (!elf_covers(&image, *ret_entry))
        return loading_refuse(loading, -ENOEXEC, "entry 0x%" PRIx64 " lies in no ELF segment",
                              image.entry);
    return elf_place(loading, &image);
}

static int load_image(struct loading *loading, uint64_t header_at, uint64_t *ret_entry)
{
    const struct boot_file *file = &loading->config->kernel;
    uint32_t flags = get_le32(file->bytes + header_at + 4);
    int r = check_flags(loading, flags);
    if (r < 0)
        return r;
    if ((flags & FLAG_ADDRESSES) != 0)
        return load_by_addresses(loading, header_at, ret_entry);
    if (elf_recognise(file))
        return load_elf(loading, ret_entry);
    return loading_refuse(loading, -ENOEXEC,
                          "multiboot kernel that is not ELF and has no address fields");
}

int multiboot_load(struct loading *loading, struct boot_state *ret)
{
    /* § 3.2: the 8259 pair is programmed with the normal values. */
    struct boot_state state = {
        .mode = BOOT_MODE_PROTECTED_32, .rax = LOADER_MAGIC, .as_bios = true};
    int64_t header_at = find_header(&loading->config->kernel);
    if (header_at < 0)
        return loading_refuse(loading, -ENOEXEC, "no multiboot header");
    int r = load_image(loading, (uint64_t)header_at, &state.rip);
    if (r == 0)
        r = multiboot_info_load(loading, &state.rbx);
    if (r == 0)
        r = entry_prepare(loading, &state);
    if (r == 0)
        *ret = state;
    return r;
}
