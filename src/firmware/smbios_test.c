/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "firmware/smbios.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define MIB  UINT64_C(0x100000)
#define GIB  UINT64_C(0x40000000)
#define AREA UINT64_C(0xf0000)

static const struct smbios_config typical = {
    .cpu_count = 4,
    .uuid = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    .version = "1.2.3",
};

static struct mem *build(const struct smbios_config *config, uint64_t size, uint64_t hole)
{
    struct mem *mem;
    assert_int_equal(mem_create(size, hole, &mem), 0);
    assert_int_equal(smbios_build(mem, config, NULL), 0);
    return mem;
}

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    unsigned total = 0;
    for (size_t i = 0; i < length; i++)
        total += bytes[i];
    return (uint8_t)total;
}

/* A guest's way: look at every 16 bytes of the area. */
static const uint8_t *find_entry(struct mem *mem, const char *anchor)
{
    for (uint64_t gpa = AREA; gpa < AREA + 0x10000; gpa += 16)
        if (memcmp(mem_pin(mem, gpa, 16), anchor, strlen(anchor)) == 0)
            return mem_pin(mem, gpa, 32);
    fail_msg("no %s", anchor);
    return NULL;
}

static const uint8_t *next_structure(const uint8_t *at)
{
    at += at[1];
    while (at[0] != 0 || at[1] != 0)
        at++;
    return at + 2;
}

static const uint8_t *table(struct mem *mem, size_t *ret_length)
{
    const uint8_t *entry = find_entry(mem, "_SM3_");
    *ret_length = get_le32(entry + 0x0c);
    const uint8_t *at = mem_pin(mem, get_le64(entry + 0x10), *ret_length);
    assert_non_null(at);
    return at;
}

/* The nth structure of a type, or NULL. */
static const uint8_t *find(struct mem *mem, uint8_t type, unsigned nth)
{
    size_t length;
    const uint8_t *at = table(mem, &length);
    const uint8_t *end = at + length;
    for (; at < end; at = next_structure(at))
        if (at[0] == type && nth-- == 0)
            return at;
    return NULL;
}

static const char *string_of(const uint8_t *structure, size_t field)
{
    const char *string = (const char *)structure + structure[1];
    unsigned number = structure[field];
    assert_true(number > 0);
    while (--number > 0)
        string += strlen(string) + 1;
    return string;
}

static void entry_points_have_right_sums_and_agree(void **state)
{
    (void)state;
    struct mem *mem = build(&typical, 64 * MIB, 3 * GIB);
    const uint8_t *entry_64 = find_entry(mem, "_SM3_");
    const uint8_t *entry_32 = find_entry(mem, "_SM_");
    assert_int_equal(entry_64[6], 0x18);
    assert_int_equal(entry_64[7], 3);
    assert_int_equal(sum(entry_64, 0x18), 0);
    assert_int_equal(entry_32[5], 0x1f);
    assert_int_equal(sum(entry_32, 0x1f), 0);
    assert_memory_equal(entry_32 + 0x10, "_DMI_", 5);
    assert_int_equal(sum(entry_32 + 0x10, 0x0f), 0);
    assert_int_equal(get_le32(entry_32 + 0x18), get_le64(entry_64 + 0x10));
    assert_int_equal(get_le16(entry_32 + 0x16), get_le32(entry_64 + 0x0c));
    mem_destroy(mem);
}

static void structures_fill_the_table_and_their_count_and_size_is_told(void **state)
{
    (void)state;
    static const uint8_t types[] = {0, 1, 3, 4, 16, 17, 19, 32, 127};
    struct mem *mem = build(&typical, 64 * MIB, 3 * GIB);
    size_t length;
    size_t longest = 0;
    const uint8_t *start = table(mem, &length);
    const uint8_t *at = start;
    for (size_t i = 0; i < sizeof(types); i++) {
        const uint8_t *next = next_structure(at);
        assert_int_equal(at[0], types[i]);
        longest = (size_t)(next - at) > longest ? (size_t)(next - at) : longest;
        at = next;
    }
    assert_int_equal(at - start, length);
    const uint8_t *entry_32 = find_entry(mem, "_SM_");
    assert_int_equal(get_le16(entry_32 + 0x1c), sizeof(types));
    assert_int_equal(get_le16(entry_32 + 0x08), longest);
    mem_destroy(mem);
}

static void system_shows_identity_and_version(void **state)
{
    (void)state;
    struct mem *mem = build(&typical, 64 * MIB, 3 * GIB);
    const uint8_t *system = find(mem, 1, 0);
    assert_string_equal(string_of(system, 4), "Partita");
    assert_string_equal(string_of(system, 5), "Partita Virtual Machine");
    assert_string_equal(string_of(system, 6), "1.2.3");
    assert_memory_equal(system + 8, typical.uuid, 16);
    assert_string_equal(string_of(find(mem, 0, 0), 5), "1.2.3");
    mem_destroy(mem);
}

static void missing_version_is_no_string(void **state)
{
    (void)state;
    struct smbios_config config = typical;
    config.version = NULL;
    struct mem *mem = build(&config, 64 * MIB, 3 * GIB);
    assert_int_equal(find(mem, 1, 0)[6], 0);
    assert_non_null(find(mem, 127, 0));
    mem_destroy(mem);
}

static void processors_are_cores_of_one_socket(void **state)
{
    (void)state;
    struct smbios_config config = typical;
    struct mem *mem = build(&config, 64 * MIB, 3 * GIB);
    assert_int_equal(find(mem, 4, 0)[0x23], 4);
    assert_int_equal(get_le16(find(mem, 4, 0) + 0x2a), 4);
    assert_null(find(mem, 4, 1));
    mem_destroy(mem);
    config.cpu_count = 300;
    mem = build(&config, 64 * MIB, 3 * GIB);
    assert_int_equal(find(mem, 4, 0)[0x23], 0xff);
    assert_int_equal(get_le16(find(mem, 4, 0) + 0x2a), 300);
    mem_destroy(mem);
}

static void memory_is_told_in_mib_and_by_range(void **state)
{
    (void)state;
    struct mem *mem = build(&typical, 4 * GIB, 3 * GIB);
    assert_int_equal(get_le16(find(mem, 17, 0) + 0x0c), 4096);
    assert_int_equal(get_le64(find(mem, 16, 0) + 0x0f), 4 * GIB);
    const uint8_t *low = find(mem, 19, 0);
    const uint8_t *high = find(mem, 19, 1);
    assert_int_equal(get_le32(low + 4), 0);
    assert_int_equal(get_le32(low + 8), (3 * GIB >> 10) - 1);
    assert_int_equal(get_le32(high + 4), 4 * GIB >> 10);
    assert_int_equal(get_le32(high + 8), (5 * GIB >> 10) - 1);
    mem_destroy(mem);
}

static void large_memory_uses_the_extended_size(void **state)
{
    (void)state;
    struct mem *mem = build(&typical, 64 * GIB, 3 * GIB);
    assert_int_equal(get_le16(find(mem, 17, 0) + 0x0c), 0x7fff);
    assert_int_equal(get_le32(find(mem, 17, 0) + 0x1c), 65536);
    mem_destroy(mem);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct mem *mem;
    struct reason reason = {{0}};
    struct smbios_config config = typical;
    char *version = malloc(0x10000);
    assert_non_null(version);
    memset(version, 'v', 0xffff);
    version[0xffff] = '\0';
    config.version = version;
    assert_int_equal(mem_create(MIB, MIB, &mem), 0);
    assert_int_equal(smbios_build(mem, &config, &reason), -ENOSPC);
    assert_non_null(strstr(reason.text, "do not fit"));
    config = typical;
    config.cpu_count = 0;
    assert_int_equal(smbios_build(mem, &config, &reason), -EINVAL);
    mem_destroy(mem);
    free(version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_points_have_right_sums_and_agree),
        cmocka_unit_test(structures_fill_the_table_and_their_count_and_size_is_told),
        cmocka_unit_test(system_shows_identity_and_version),
        cmocka_unit_test(missing_version_is_no_string),
        cmocka_unit_test(processors_are_cores_of_one_socket),
        cmocka_unit_test(memory_is_told_in_mib_and_by_range),
        cmocka_unit_test(large_memory_uses_the_extended_size),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
