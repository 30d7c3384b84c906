/*
 * For the tests of the loaders: a guest memory, a kernel image to be built in place, and checks
 * that hold for every boot and every refusal.
 */
#ifndef FIRMWARE_BOOT_FIXTURE_H
#define FIRMWARE_BOOT_FIXTURE_H

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "firmware/boot.h"
#include "mem/mem.h"

#define FIXTURE_MIB UINT64_C(0x100000)

struct fixture {
    struct mem *mem;
    struct boot_config config;
    struct boot_state state;
    struct reason reason;
    uint8_t image[0x4000];
    size_t length;
};

static inline void fixture_memory(struct fixture *fixture, uint64_t size, uint64_t hole)
{
    mem_destroy(fixture->mem);
    assert_int_equal(mem_create(size, hole, &fixture->mem), 0);
}

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture_memory(fixture, 16 * FIXTURE_MIB, 3072 * FIXTURE_MIB);
    fixture->config.kernel.name = "kernel";
    fixture->config.initrd.name = "initrd";
    *state = fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    mem_destroy(fixture->mem);
    free(fixture);
    return 0;
}

/* Boot a copy of exactly the image's length, so that a sanitizer sees a read past its end. */
static inline int fixture_boot(struct fixture *fixture)
{
    uint8_t *exact = malloc(fixture->length > 0 ? fixture->length : 1);
    assert_non_null(exact);
    memcpy(exact, fixture->image, fixture->length);
    fixture->config.kernel.bytes = exact;
    fixture->config.kernel.length = fixture->length;
    memset(&fixture->state, 0xee, sizeof(fixture->state));
    fixture->reason.text[0] = '\0';
    int r = boot_load(fixture->mem, &fixture->config, &fixture->state, &fixture->reason);
    free(exact);
    return r;
}

static inline uint8_t *fixture_at(const struct fixture *fixture, uint64_t gpa, uint64_t length)
{
    uint8_t *at = mem_pin(fixture->mem, gpa, length);
    assert_non_null(at);
    return at;
}

static inline void assert_zero(const struct fixture *fixture, uint64_t gpa, uint64_t length)
{
    const uint8_t *at = fixture_at(fixture, gpa, length);
    for (uint64_t i = 0; i < length; i++)
        assert_int_equal(at[i], 0);
}

/* Video memory and the firmware's tables are not a loader's to write. */
static inline void assert_firmware_area_untouched(const struct fixture *fixture)
{
    assert_zero(fixture, 0xa0000, 0x5fe00); /* behind lies the code of interrupt vectors */
}

static inline void assert_boots(struct fixture *fixture, enum boot_mode mode)
{
    int r = fixture_boot(fixture);
    if (r < 0)
        print_message("refused: %s\n", fixture->reason.text);
    assert_int_equal(r, 0);
    assert_int_equal(fixture->state.mode, mode);
    assert_true(mem_is_ram(fixture->mem, fixture->state.rip, 1));
    const uint8_t *gdt = fixture_at(fixture, fixture->state.gdt_base, 32);
    assert_true(fixture->state.gdt_limit >= 31);
    assert_int_equal(get_le64(gdt), 0);
    assert_int_equal(get_le64(gdt + 0x10), mode == BOOT_MODE_LONG_64
                                               ? UINT64_C(0x00af9b000000ffff)
                                               : UINT64_C(0x00cf9b000000ffff));
    assert_int_equal(get_le64(gdt + 0x18), UINT64_C(0x00cf93000000ffff));
    assert_firmware_area_untouched(fixture);
}

/* Refused with this code and one line that says `why`; nothing was said about how to start. */
static inline void assert_refused(struct fixture *fixture, int error, const char *why)
{
    struct boot_state untouched;
    memset(&untouched, 0xee, sizeof(untouched));
    int r = fixture_boot(fixture);
    if (r != error || strstr(fixture->reason.text, why) == NULL)
        print_message("expected %d \"%s\", got %d \"%s\"\n", error, why, r, fixture->reason.text);
    assert_int_equal(r, error);
    assert_non_null(strstr(fixture->reason.text, why));
    assert_null(strchr(fixture->reason.text, '\n'));
    assert_memory_equal(&fixture->state, &untouched, sizeof(untouched));
    assert_firmware_area_untouched(fixture);
}

#define fixture_test(function) \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

#endif
