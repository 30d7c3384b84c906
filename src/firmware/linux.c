/*
 * Linux bzImage, by the 64-bit boot protocol where the kernel has that entry, else by the 32-bit
 * one. Linux Documentation/x86/boot.rst; field names are those of its setup header.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/area.h"
#include "firmware/linux_params.h"
#include "firmware/loading.h"

enum {
    SECTOR = 512,
    DEFAULT_SETUP_SECTORS = 4,
    PARAGRAPH = 16,
    VERSION_32 = 0x20a, /* 2.10: pref_address, init_size */
    VERSION_64 = 0x20c, /* 2.12: xloadflags */
};

/* What the loader needs of a setup header, validated. */
struct bzimage {
    size_t header_end;
    uint64_t kernel_offset; /* of the protected-mode part in the file */
    uint64_t kernel_size;
    uint64_t room; /* from load_gpa on: image, decompression buffer, bss */
    uint64_t load_gpa;
    uint16_t xloadflags;
    uint32_t initrd_addr_max;
    uint32_t cmdline_size;
};

bool linux_recognise(const struct boot_file *file)
{
    return file_holds(file, 0, LINUX_VERSION + 2) &&
           get_le16(file->bytes + LINUX_BOOT_FLAG) == LINUX_BOOT_FLAG_VALUE &&
           get_le32(file->bytes + LINUX_HEADER_MAGIC) == LINUX_MAGIC_VALUE;
}

/* The header ends where the jump over it lands. */
static int decode_header_end(const struct loading *loading, struct bzimage *image)
{
    const struct boot_file *file = &loading->config->kernel;
    uint16_t version = get_le16(file->bytes + LINUX_VERSION);
    if (version < VERSION_32)
        return loading_refuse(loading, -ENOEXEC,
                              "boot protocol %u.%02u is too old; 2.10 is the oldest supported",
                              version >> 8, version & 0xffU);
    image->header_end = LINUX_HEADER_MAGIC + file->bytes[LINUX_JUMP + 1];
    if (image->header_end < LINUX_HEADER_SHORTEST || image->header_end > LINUX_HEADER_LONGEST)
        return loading_refuse(loading, -ENOEXEC, "setup header ends at 0x%zx, which cannot be",
                              image->header_end);
    if (!file_holds(file, 0, image->header_end))
        return loading_refuse(loading, -ENOEXEC, "truncated within its setup header");
    return 0;
}

/*
 * syssize counts paragraphs, and the last one need not be full in the file. Whatever follows
 * (a signature) is not loaded.
 */
static int decode_kernel_extent(const struct loading *loading, struct bzimage *image)
{
    const struct boot_file *file = &loading->config->kernel;
    uint64_t sectors = file->bytes[LINUX_SETUP_SECTS];
    image->kernel_offset = ((sectors == 0 ? DEFAULT_SETUP_SECTORS : sectors) + 1) * SECTOR;
    uint64_t size = (uint64_t)get_le32(file->bytes + LINUX_SYSSIZE) * PARAGRAPH;
    if (size == 0 || !file_holds(file, image->kernel_offset, size - PARAGRAPH + 1))
        return loading_refuse(loading, -ENOEXEC,
                              "truncated: its header promises %" PRIu64 " bytes at %" PRIu64
                              ", the file has %zu",
                              size, image->kernel_offset, file->length);
    uint64_t rest = file->length - image->kernel_offset;
    image->kernel_size = size < rest ? size : rest;
    return 0;
}

/*
 * A relocatable 64-bit kernel that finds itself below pref_address moves there before it
 * decompresses, so pref_address is where the room must be in any case.
 */
static int decode_load_address(const struct loading *loading, struct bzimage *image)
{
    const uint8_t *header = loading->config->kernel.bytes;
    uint64_t alignment = get_le32(header + LINUX_KERNEL_ALIGNMENT);
    uint64_t preferred = get_le64(header + LINUX_PREF_ADDRESS);
    uint64_t init_size = get_le32(header + LINUX_INIT_SIZE);
    image->load_gpa = preferred;
    image->room = init_size > image->kernel_size ? init_size : image->kernel_size;
    if (header[LINUX_RELOCATABLE_KERNEL] != 0) {
        if (alignment == 0 || (alignment & (alignment - 1)) != 0)
            return loading_refuse(loading, -ENOEXEC,
                                  "kernel_alignment 0x%" PRIx64 " is no power of two", alignment);
        image->load_gpa = (preferred + alignment - 1) & ~(alignment - 1);
    }
    if (preferred >= AREA_4_GIB || image->load_gpa < AREA_HIGH)
        return loading_refuse(loading, -ENOEXEC, "pref_address 0x%" PRIx64 " cannot be", preferred);
    return 0;
}

static int decode(const struct loading *loading, struct bzimage *image)
{
    const uint8_t *header = loading->config->kernel.bytes;
    int r = decode_header_end(loading, image);
    if (r == 0)
        r = decode_kernel_extent(loading, image);
    if (r == 0)
        r = decode_load_address(loading, image);
    if (r < 0)
        return r;
    if ((header[LINUX_LOADFLAGS] & LINUX_LOADED_HIGH) == 0)
        return loading_refuse(loading, -ENOEXEC, "a zImage, not a bzImage");
    bool has_xloadflags = get_le16(header + LINUX_VERSION) >= VERSION_64;
    image->xloadflags = has_xloadflags ? get_le16(header + LINUX_XLOADFLAGS) : 0;
    image->initrd_addr_max = get_le32(header + LINUX_INITRD_ADDR_MAX);
    image->cmdline_size = get_le32(header + LINUX_CMDLINE_SIZE);
    if ((image->xloadflags & LINUX_XLF_KERNEL_64) != 0 &&
        image->kernel_size <= LINUX_ENTRY_64_OFFSET)
        return loading_refuse(loading, -ENOEXEC, "too short for its 64-bit entry");
    return 0;
}

int linux_load(struct loading *loading, struct boot_state *ret)
{
    const struct boot_file *file = &loading->config->kernel;
    struct bzimage image = {0};
    int r = decode(loading, &image);
    if (r < 0)
        return r;
    r = loading_take(loading, image.load_gpa, image.room, "the kernel");
    if (r < 0)
        return r;
    r = mem_write(loading->mem, image.load_gpa, file->bytes + image.kernel_offset,
                  image.kernel_size);
    if (r < 0)
        return r;
    bool long_mode = (image.xloadflags & LINUX_XLF_KERNEL_64) != 0;
    struct linux_start start = {
        .header = file->bytes + LINUX_SETUP_SECTS,
        .header_length = image.header_end - LINUX_SETUP_SECTS,
        .mode = long_mode ? BOOT_MODE_LONG_64 : BOOT_MODE_PROTECTED_32,
        .load_gpa = image.load_gpa,
        .entry = image.load_gpa + (long_mode ? LINUX_ENTRY_64_OFFSET : 0),
        .initrd_last = image.initrd_addr_max,
        .initrd_above_4_gib = long_mode && (image.xloadflags & LINUX_XLF_ABOVE_4G) != 0,
        .command_line_max = image.cmdline_size,
    };
    return linux_params_load(loading, &start, ret);
}
