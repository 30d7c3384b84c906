#include "firmware/elf_image.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/linux_params.h"

/* XEN_ELFNOTE_PHYS32_ENTRY of Xen's public/elfnote.h. */
enum { NOTE_PHYS32_ENTRY = 18 };

#define VMLINUX_COMMAND_LINE_MAX UINT64_C(2047) /* COMMAND_LINE_SIZE of x86, less the zero */

struct program_headers {
    uint64_t offset;
    unsigned count;
    unsigned size;
};

bool elf_recognise(const struct boot_file *file)
{
    return file_holds(file, 0, SELFMAG) && memcmp(file->bytes, ELFMAG, SELFMAG) == 0;
}

static int check_ident(struct loading *loading, bool *ret_is_64)
{
    const struct boot_file *file = &loading->config->kernel;
    if (!file_holds(file, 0, sizeof(Elf32_Ehdr)))
        return loading_refuse(loading, -ENOEXEC, "truncated within its ELF header");
    uint8_t class = file->bytes[EI_CLASS];
    if ((class != ELFCLASS32 && class != ELFCLASS64) || file->bytes[EI_DATA] != ELFDATA2LSB)
        return loading_refuse(loading, -ENOEXEC, "ELF of class %u, data %u is not for x86", class,
                              file->bytes[EI_DATA]);
    *ret_is_64 = class == ELFCLASS64;
    if (*ret_is_64 && !file_holds(file, 0, sizeof(Elf64_Ehdr)))
        return loading_refuse(loading, -ENOEXEC, "truncated within its ELF header");
    return 0;
}

/* e_type and e_machine lie at the same place in both classes. */
static int check_kind(const struct loading *loading)
{
    const uint8_t *bytes = loading->config->kernel.bytes;
    uint16_t type = get_le16(bytes + offsetof(Elf32_Ehdr, e_type));
    uint16_t machine = get_le16(bytes + offsetof(Elf32_Ehdr, e_machine));
    if (machine != EM_386 && machine != EM_X86_64)
        return loading_refuse(loading, -ENOEXEC, "ELF for machine %u, not x86", machine);
    if (type != ET_EXEC)
        return loading_refuse(loading, -ENOEXEC, "ELF of type %u is not an executable", type);
    return 0;
}

static int decode_header(struct loading *loading, struct elf_image *image,
                         struct program_headers *ret)
{
    const struct boot_file *file = &loading->config->kernel;
    int r = check_ident(loading, &image->is_64);
    if (r == 0)
        r = check_kind(loading);
    if (r < 0)
        return r;
    if (image->is_64) {
        image->entry = get_le64(file->bytes + offsetof(Elf64_Ehdr, e_entry));
        ret->offset = get_le64(file->bytes + offsetof(Elf64_Ehdr, e_phoff));
        ret->size = get_le16(file->bytes + offsetof(Elf64_Ehdr, e_phentsize));
        ret->count = get_le16(file->bytes + offsetof(Elf64_Ehdr, e_phnum));
    } else {
        image->entry = get_le32(file->bytes + offsetof(Elf32_Ehdr, e_entry));
        ret->offset = get_le32(file->bytes + offsetof(Elf32_Ehdr, e_phoff));
        ret->size = get_le16(file->bytes + offsetof(Elf32_Ehdr, e_phentsize));
        ret->count = get_le16(file->bytes + offsetof(Elf32_Ehdr, e_phnum));
    }
    unsigned least = image->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (ret->count == 0 || ret->size < least ||
        !file_holds(file, ret->offset, (uint64_t)ret->count * ret->size))
        return loading_refuse(loading, -ENOEXEC, "its ELF program headers are not in the file");
    return 0;
}

static uint32_t decode_segment(const uint8_t *header, bool is_64, struct elf_segment *ret)
{
    if (is_64) {
        ret->offset = get_le64(header + offsetof(Elf64_Phdr, p_offset));
        ret->vaddr = get_le64(header + offsetof(Elf64_Phdr, p_vaddr));
        ret->paddr = get_le64(header + offsetof(Elf64_Phdr, p_paddr));
        ret->filesz = get_le64(header + offsetof(Elf64_Phdr, p_filesz));
        ret->memsz = get_le64(header + offsetof(Elf64_Phdr, p_memsz));
    } else {
        ret->offset = get_le32(header + offsetof(Elf32_Phdr, p_offset));
        ret->vaddr = get_le32(header + offsetof(Elf32_Phdr, p_vaddr));
        ret->paddr = get_le32(header + offsetof(Elf32_Phdr, p_paddr));
        ret->filesz = get_le32(header + offsetof(Elf32_Phdr, p_filesz));
        ret->memsz = get_le32(header + offsetof(Elf32_Phdr, p_memsz));
    }
    return get_le32(header); /* p_type comes first in both classes */
}

/*
 * Notes are aligned to 4 bytes whatever the class (Xen's and Linux's are). A note that leaves the
 * segment ends the walk: other notes are none of our business.
 */
static void find_pvh_note(const struct boot_file *file, const struct elf_segment *notes,
                          struct elf_image *image)
{
    uint64_t at = 0;
    while (notes->filesz - at >= sizeof(Elf32_Nhdr)) {
        const uint8_t *note = file->bytes + notes->offset + at;
        uint32_t name_size = get_le32(note + offsetof(Elf32_Nhdr, n_namesz));
        uint32_t value_size = get_le32(note + offsetof(Elf32_Nhdr, n_descsz));
        uint64_t value_at = sizeof(Elf32_Nhdr) + (((uint64_t)name_size + 3) & ~UINT64_C(3));
        uint64_t size = value_at + (((uint64_t)value_size + 3) & ~UINT64_C(3));
        if (size > notes->filesz - at)
            return;
        if (get_le32(note + offsetof(Elf32_Nhdr, n_type)) == NOTE_PHYS32_ENTRY && name_size == 4 &&
            memcmp(note + sizeof(Elf32_Nhdr), "Xen", 4) == 0 && value_size >= 4) {
            image->has_pvh_entry = true;
            image->pvh_entry = get_le32(note + value_at);
            return;
        }
        at += size;
    }
}

static int add_segment(struct loading *loading, const struct elf_segment *segment,
                       struct elf_image *image)
{
    if (segment->filesz > segment->memsz)
        return loading_refuse(loading, -ENOEXEC,
                              "ELF segment at 0x%" PRIx64 " is longer in the file than in memory",
                              segment->paddr);
    if (image->count == ELF_MAX_SEGMENTS)
        return loading_refuse(loading, -ENOEXEC, "more than %d ELF segments", ELF_MAX_SEGMENTS);
    image->segment[image->count++] = *segment;
    return 0;
}

static int decode_program_header(struct loading *loading, const uint8_t *header,
                                 struct elf_image *image)
{
    const struct boot_file *file = &loading->config->kernel;
    struct elf_segment segment;
    uint32_t type = decode_segment(header, image->is_64, &segment);
    if ((type != PT_LOAD && type != PT_NOTE) || (type == PT_LOAD && segment.memsz == 0))
        return 0;
    if (!file_holds(file, segment.offset, segment.filesz))
        return loading_refuse(loading, -ENOEXEC,
                              "truncated: ELF segment at file offset 0x%" PRIx64 " (0x%" PRIx64
                              " bytes) is not in the file",
                              segment.offset, segment.filesz);
    if (type == PT_LOAD)
        return add_segment(loading, &segment, image);
    if (!image->has_pvh_entry)
        find_pvh_note(file, &segment, image);
    return 0;
}

int elf_decode(struct loading *loading, struct elf_image *ret)
{
    struct program_headers headers;
    *ret = (struct elf_image){0};
    int r = decode_header(loading, ret, &headers);
    const uint8_t *bytes = loading->config->kernel.bytes;
    for (unsigned i = 0; r == 0 && i < headers.count; i++)
        r = decode_program_header(loading, bytes + headers.offset + (uint64_t)i * headers.size,
                                  ret);
    if (r == 0 && ret->count == 0)
        r = loading_refuse(loading, -ENOEXEC, "ELF without anything to load");
    return r;
}

int elf_place(struct loading *loading, const struct elf_image *image)
{
    const uint8_t *bytes = loading->config->kernel.bytes;
    int r = 0;
    for (size_t i = 0; r == 0 && i < image->count; i++)
        r = loading_take(loading, image->segment[i].paddr, image->segment[i].memsz,
                         "an ELF segment");
    for (size_t i = 0; r == 0 && i < image->count; i++) {
        const struct elf_segment *segment = &image->segment[i];
        r = mem_write(loading->mem, segment->paddr, bytes + segment->offset, segment->filesz);
        if (r == 0)
            r = mem_fill(loading->mem, segment->paddr + segment->filesz, 0,
                         segment->memsz - segment->filesz);
    }
    return r;
}

bool elf_covers(const struct elf_image *image, uint64_t gpa)
{
    for (size_t i = 0; i < image->count; i++)
        if (gpa >= image->segment[i].paddr &&
            gpa - image->segment[i].paddr < image->segment[i].memsz)
            return true;
    return false;
}

/* startup_64 of a vmlinux takes what the 64-bit boot protocol hands over; e_entry is physical. */
static int vmlinux_start(struct loading *loading, const struct elf_image *image,
                         struct boot_state *ret)
{
    if (!elf_covers(image, image->entry))
        return loading_refuse(loading, -ENOEXEC, "entry 0x%" PRIx64 " lies in no ELF segment",
                              image->entry);
    struct linux_start start = {
        .mode = BOOT_MODE_LONG_64,
        .load_gpa = image->segment[0].paddr,
        .entry = image->entry,
        .initrd_last = LINUX_INITRD_MAX_X86_64,
        .command_line_max = VMLINUX_COMMAND_LINE_MAX,
    };
    return linux_params_load(loading, &start, ret);
}

int elf_load(struct loading *loading, struct boot_state *ret)
{
    struct elf_image image;
    int r = elf_decode(loading, &image);
    if (r < 0)
        return r;
    if (!image.has_pvh_entry && !image.is_64)
        return loading_refuse(loading, -ENOEXEC,
                              "32-bit ELF without a multiboot header or a PVH note");
    r = elf_place(loading, &image);
    if (r < 0)
        return r;
    return image.has_pvh_entry ? pvh_start(loading, &image, ret)
                               : vmlinux_start(loading, &image, ret);
}
