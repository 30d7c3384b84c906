/* From the multiboot entry to test_main(). */
#include "area.h"
#include "cpu.h"
#include "tap.h"

enum { MULTIBOOT_MAGIC = 0x2badb002, INFO_COMMAND_LINE = 1 << 2 };

struct multiboot_info { /* Multiboot 0.6.96 § 3.3 */
    uint32_t flags, memory_low, memory_high, boot_device, command_line;
};

void start(uint32_t magic, const struct multiboot_info *info);

void start(uint32_t magic, const struct multiboot_info *info)
{
    serial_start();
    if (magic != MULTIBOOT_MAGIC)
        bail_out("the boot loader gave magic %x", magic);
    if (info->flags & INFO_COMMAND_LINE)
        command_line_start((const char *)(word)info->command_line);
    out8(0x21, 0xff); /* firmware may have left the 8259 pair open */
    out8(0xa1, 0xff);
    asm volatile("lldt %w0" ::"r"(0)); /* and an LDT over its interrupt vectors */
    area_start(0);
    traps_start();
    traps_load();
    test_main();
    finish();
}
