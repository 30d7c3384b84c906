/*
 * For the fuzz targets of the loaders: boot hostile bytes in a small guest, and hold what boot.h
 * promises about both answers.
 */
#ifndef FIRMWARE_BOOT_FUZZ_H
#define FIRMWARE_BOOT_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "firmware/boot.h"
#include "mem/mem.h"

static inline void fuzz_require(bool holds)
{
    if (!holds)
        abort();
}

static inline void fuzz_check_start(const struct mem *mem, const struct boot_state *state)
{
    fuzz_require(mem_is_ram(mem, state->rip, 1));
    fuzz_require(mem_is_ram(mem, state->gdt_base, (uint64_t)state->gdt_limit + 1));
    if (state->mode == BOOT_MODE_LONG_64) {
        fuzz_require(state->cr3 % MEM_PAGE_SIZE == 0);
        fuzz_require(mem_is_ram(mem, state->cr3, MEM_PAGE_SIZE));
        fuzz_require(mem_is_ram(mem, state->rsi, MEM_PAGE_SIZE));
    } else {
        fuzz_require(state->mode == BOOT_MODE_PROTECTED_32);
        uint64_t parameters = state->rbx != 0 ? state->rbx : state->rsi;
        fuzz_require(mem_is_ram(mem, parameters, 56));
        fuzz_require(state->rip <= UINT32_MAX && parameters <= UINT32_MAX);
    }
}

/* Two ranges of 4 MiB, so that both sides of the hole are within reach of a mutated address. */
static inline void fuzz_boot(struct boot_config *config, const uint8_t *bytes, size_t length)
{
    static struct mem *mem;
    if (mem == NULL)
        fuzz_require(mem_create(UINT64_C(0x800000), UINT64_C(0x400000), &mem) == 0);
    struct boot_state state = {.rip = UINT64_MAX};
    struct reason reason = {{0}};
    config->kernel = (struct boot_file){.name = "kernel", .bytes = bytes, .length = length};
    int r = boot_load(mem, config, &state, &reason);
    if (r == 0) {
        fuzz_check_start(mem, &state);
        return;
    }
    fuzz_require(r < 0);
    fuzz_require(state.rip == UINT64_MAX);
    fuzz_require(reason.text[0] != '\0' && strchr(reason.text, '\n') == NULL);
    /* The firmware's tables stay whole, whatever was refused. Behind them is what an earlier boot
     * left: the code of interrupt vectors. */
    const uint8_t *tables = mem_pin(mem, 0xe0000, 0x1fe00);
    for (size_t i = 0; i < 0x1fe00; i += 64)
        fuzz_require(tables[i] == 0);
}

#endif
