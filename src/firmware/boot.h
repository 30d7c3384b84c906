/*
 * Direct boot: put a kernel image and what it expects into guest memory.
 *
 * Images are hostile: every offset is checked before use; each refusal has a reason of one line.
 * Nothing is written outside RAM. All calls are made before the partition runs.
 */
#ifndef FIRMWARE_BOOT_H
#define FIRMWARE_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"
#include "mem/mem.h"

enum boot_mode {
    BOOT_MODE_PROTECTED_32, /* flat 32-bit, paging off: multiboot, PVH, 32-bit Linux */
    BOOT_MODE_LONG_64,      /* 64-bit, identity-mapped by our page tables: Linux boot protocol */
};

/*
 * What vCPU 0 starts with; all that is not named is the state after reset, interrupts off. In both
 * modes CS = 0x10 (64-bit code in LONG_64, else flat 32-bit), DS = ES = SS = 0x18 (flat data), from
 * the table at gdt_base.
 */
struct boot_state {
    enum boot_mode mode;
    uint64_t rip;
    uint64_t rsp;
    uint64_t rax, rbx, rsi;
    uint64_t cr3; /* LONG_64 only */
    uint64_t gdt_base;
    uint16_t gdt_limit;
    bool as_bios; /* the chipset is to be as a BIOS leaves it */
};

struct boot_file {
    const char *name; /* for reasons */
    const uint8_t *bytes;
    size_t length;
};

enum { BOOT_MAX_MODULES = 32 };

struct boot_module {
    struct boot_file file;
    const char *command_line; /* may be NULL */
};

struct boot_config {
    struct boot_file kernel; /* bzImage, ELF with a PVH note, ELF vmlinux, or multiboot 1 */
    struct boot_file initrd; /* bytes == NULL: none; multiboot: the first module */
    const char *command_line;
    const struct boot_module *modules; /* multiboot only */
    size_t module_count;
    uint64_t rsdp_gpa; /* of the ACPI tables made before, 0 = none */
};

/*
 * Find out what the kernel is by its bytes, load it, and say how to start it.
 *
 * Returns 0, or with `reason` filled and `ret` untouched: -ENOEXEC, no kernel that can be booted;
 * -ENOMEM, it does not fit the guest's memory; -E2BIG, command line or modules are too many;
 * -EINVAL, modules for a kernel that takes none. What a refused boot left in RAM is undefined.
 */
int boot_load(struct mem *mem, const struct boot_config *config, struct boot_state *ret,
              struct reason *reason);

#endif
