#include "firmware/boot.h"

#include <errno.h>
#include <string.h>

#include "firmware/bios.h"
#include "firmware/loading.h"

struct compression {
    const char *name;
    const char *unpack;
    const uint8_t magic[6];
    size_t length;
};

static const struct compression compressions[] = {
    {"gzip", "gunzip", {0x1f, 0x8b}, 2},
    {"xz", "unxz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6},
    {"zstd", "unzstd", {0x28, 0xb5, 0x2f, 0xfd}, 4},
    {"bzip2", "bunzip2", {'B', 'Z', 'h'}, 3},
    {"lz4", "unlz4", {0x02, 0x21, 0x4c, 0x18}, 4},
};

static int refuse_unknown(const struct loading *loading)
{
    const struct boot_file *file = &loading->config->kernel;
    for (size_t i = 0; i < sizeof(compressions) / sizeof(compressions[0]); i++) {
        const struct compression *known = &compressions[i];
        if (file->length >= known->length && memcmp(file->bytes, known->magic, known->length) == 0)
            return loading_refuse(loading, -ENOEXEC, "compressed with %s; unpack it with %s first",
                                  known->name, known->unpack);
    }
    return loading_refuse(loading, -ENOEXEC,
                          "neither a Linux bzImage nor ELF nor a multiboot image");
}

/* Most definite first: bzImage by its two magics; multiboot before ELF, which it mostly is as well.
 */
static int load_kernel(struct loading *loading, struct boot_state *ret)
{
    const struct boot_file *kernel = &loading->config->kernel;
    if (kernel->bytes == NULL || kernel->length == 0)
        return loading_refuse(loading, -ENOEXEC, "empty");
    bool linux_image = linux_recognise(kernel);
    if (!linux_image && multiboot_recognise(kernel))
        return multiboot_load(loading, ret);
    if (loading->config->module_count > 0)
        return loading_refuse(loading, -EINVAL, "not a multiboot kernel, which modules are for");
    if (linux_image)
        return linux_load(loading, ret);
    if (elf_recognise(kernel))
        return elf_load(loading, ret);
    return refuse_unknown(loading);
}

int boot_load(struct mem *mem, const struct boot_config *config, struct boot_state *ret,
              struct reason *reason)
{
    struct loading loading = {.mem = mem, .config = config, .reason = reason};
    placement_start(&loading.placement, mem);
    int r = load_kernel(&loading, ret);
    return r < 0 ? r : bios_write(mem);
}
