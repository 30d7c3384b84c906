/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "firmware/memory_map.h"

#define MIB      UINT64_C(0x100000)
#define FOUR_GIB UINT64_C(0x100000000)

static struct memory_map map_of(uint64_t size, uint64_t hole)
{
    struct mem *mem;
    struct memory_map map;
    assert_int_equal(mem_create(size, hole, &mem), 0);
    memory_map_make(mem, &map);
    uint64_t end = 0;
    for (size_t i = 0; i < map.count; i++) {
        assert_true(map.entry[i].gpa >= end);
        assert_true(map.entry[i].size > 0);
        assert_true(mem_is_ram(mem, map.entry[i].gpa, map.entry[i].size));
        end = map.entry[i].gpa + map.entry[i].size;
    }
    mem_destroy(mem);
    return map;
}

static void assert_entry(const struct memory_map *map, size_t index, uint64_t gpa, uint64_t end,
                         enum memory_map_type type)
{
    assert_true(index < map->count);
    assert_int_equal(map->entry[index].gpa, gpa);
    assert_int_equal(map->entry[index].size, end - gpa);
    assert_int_equal(map->entry[index].type, type);
}

static void first_mib_has_conventional_memory_and_reserved_firmware(void **state)
{
    (void)state;
    struct memory_map map = map_of(MIB, MIB);
    assert_int_equal(map.count, 3);
    assert_entry(&map, 0, 0, 0x9fc00, MEMORY_MAP_USABLE);
    assert_entry(&map, 1, 0x9fc00, 0xa0000, MEMORY_MAP_RESERVED);
    assert_entry(&map, 2, 0xe0000, 0x100000, MEMORY_MAP_RESERVED);
}

static void memory_below_the_hole_begins_at_1_mib(void **state)
{
    (void)state;
    struct memory_map map = map_of(64 * MIB, 3072 * MIB);
    assert_int_equal(map.count, 4);
    assert_entry(&map, 3, MIB, 64 * MIB, MEMORY_MAP_USABLE);
}

static void memory_beyond_the_hole_is_an_entry_of_its_own(void **state)
{
    (void)state;
    struct memory_map map = map_of(4096 * MIB, 3072 * MIB);
    assert_int_equal(map.count, 5);
    assert_entry(&map, 3, MIB, 3072 * MIB, MEMORY_MAP_USABLE);
    assert_entry(&map, 4, FOUR_GIB, FOUR_GIB + 1024 * MIB, MEMORY_MAP_USABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_mib_has_conventional_memory_and_reserved_firmware),
        cmocka_unit_test(memory_below_the_hole_begins_at_1_mib),
        cmocka_unit_test(memory_beyond_the_hole_is_an_entry_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
