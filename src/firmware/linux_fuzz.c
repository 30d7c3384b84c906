/* Invariant: an accepted bzImage has entry and boot_params in RAM; a refused one has a reason. */
#include "firmware/boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const uint8_t initrd[5000] = {1};
    struct boot_config config = {
        .initrd = {.name = "initrd", .bytes = initrd, .length = sizeof(initrd)},
        .command_line = "console=ttyS0",
        .rsdp_gpa = 0xe0000,
    };
    fuzz_boot(&config, bytes, length);
    return 0;
}
