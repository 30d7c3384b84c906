/*
 * The half of the Linux boot protocol that does not depend on the kernel's file format: initrd,
 * command line, memory map and boot_params ("zero page"). Linux Documentation/x86/boot.rst and
 * zero-page.rst.
 */
#ifndef FIRMWARE_LINUX_PARAMS_H
#define FIRMWARE_LINUX_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/loading.h"

/* Offsets within a bzImage and, the same, within boot_params. */
enum {
    LINUX_SETUP_SECTS = 0x1f1,
    LINUX_SYSSIZE = 0x1f4,
    LINUX_VID_MODE = 0x1fa,
    LINUX_BOOT_FLAG = 0x1fe,
    LINUX_JUMP = 0x200,
    LINUX_HEADER_MAGIC = 0x202,
    LINUX_VERSION = 0x206,
    LINUX_TYPE_OF_LOADER = 0x210,
    LINUX_LOADFLAGS = 0x211,
    LINUX_CODE32_START = 0x214,
    LINUX_RAMDISK_IMAGE = 0x218,
    LINUX_RAMDISK_SIZE = 0x21c,
    LINUX_CMD_LINE_PTR = 0x228,
    LINUX_INITRD_ADDR_MAX = 0x22c,
    LINUX_KERNEL_ALIGNMENT = 0x230,
    LINUX_RELOCATABLE_KERNEL = 0x234,
    LINUX_XLOADFLAGS = 0x236,
    LINUX_CMDLINE_SIZE = 0x238,
    LINUX_PREF_ADDRESS = 0x258,
    LINUX_INIT_SIZE = 0x260,
    LINUX_HEADER_SHORTEST = 0x264, /* end of init_size: protocol 2.10 */
    LINUX_HEADER_LONGEST = 0x290,  /* edd_mbr_sig_buffer follows in boot_params */
};

#define LINUX_BOOT_FLAG_VALUE   0xaa55
#define LINUX_MAGIC_VALUE       UINT32_C(0x53726448) /* "HdrS" */
#define LINUX_LOADED_HIGH       0x01
#define LINUX_KEEP_SEGMENTS     0x40
#define LINUX_CAN_USE_HEAP      0x80
#define LINUX_XLF_KERNEL_64     0x01
#define LINUX_XLF_ABOVE_4G      0x02
#define LINUX_INITRD_MAX_X86_64 UINT64_C(0x7fffffff) /* what every 64-bit kernel takes */
#define LINUX_ENTRY_64_OFFSET   0x200
#define LINUX_LOADER_UNDEFINED  0xff /* type_of_loader: none of the registered ones */
#define LINUX_VID_MODE_NORMAL   0xffff

struct linux_start {
    const uint8_t *header; /* the image's setup header from 0x1f1 on; NULL: it has none */
    size_t header_length;
    enum boot_mode mode;
    uint64_t load_gpa;
    uint64_t entry;
    uint64_t initrd_last;      /* highest address that a byte of the initrd may have */
    bool initrd_above_4_gib;   /* … or anywhere, when there is no room below */
    uint64_t command_line_max; /* bytes, without the final zero */
};

/* Put everything beside the kernel into memory and say how to start it. */
int linux_params_load(struct loading *loading, const struct linux_start *start,
                      struct boot_state *ret);

#endif
