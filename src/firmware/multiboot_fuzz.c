/* Invariant: an accepted multiboot image has entry and information in RAM; a refused one a reason.
 */
#include "firmware/boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const uint8_t contents[5000] = {1};
    static const struct boot_module modules[] = {
        {.file = {.name = "one", .bytes = contents, .length = 5000}, .command_line = "x=1"},
        {.file = {.name = "two", .bytes = contents, .length = 1}},
    };
    struct boot_config config = {
        .command_line = "one two",
        .modules = modules,
        .module_count = 2,
    };
    fuzz_boot(&config, bytes, length);
    return 0;
}
