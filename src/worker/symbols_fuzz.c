/* Any file: parsed symbols lie in ascending order of what describes them, and every name is finite.
 */
#include "worker/symbols.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct symbols *symbols = NULL;
    uint64_t address = 0;
    char name[300];

    if (symbols_parse(bytes, size, &symbols, NULL) < 0)
        return 0;
    if (symbols_count(symbols) == 0)
        abort();
    bool found = symbols_find(symbols, "main", &address);
    if (found && !symbols_describe(symbols, address, name, sizeof(name)))
        abort();
    if (found && strstr(name, "+0x0") == NULL)
        abort();
    (void)symbols_describe(symbols, UINT64_MAX, name, sizeof(name));
    if (strlen(name) >= sizeof(name))
        abort();
    symbols_destroy(symbols);
    return 0;
}
