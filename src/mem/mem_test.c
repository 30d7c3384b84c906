/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB      UINT64_C(0x100000)
#define GIB      UINT64_C(0x40000000)
#define FOUR_GIB (4 * GIB)
#define HOLE     (3 * GIB)

static struct mem *create(uint64_t size, uint64_t hole_start)
{
    struct mem *mem = NULL;
    assert_int_equal(mem_create(size, hole_start, &mem), 0);
    assert_non_null(mem);
    return mem;
}

static void small_memory_is_one_range(void **state)
{
    (void)state;
    struct mem *mem = create(64 * MIB, HOLE);
    assert_int_equal(mem_size(mem), 64 * MIB);
    assert_int_equal(mem_end(mem), 64 * MIB);
    assert_int_equal(mem_range_count(mem), 1);
    assert_int_equal(mem_range_at(mem, 0).gpa, 0);
    assert_int_equal(mem_range_at(mem, 0).size, 64 * MIB);
    assert_int_equal(mem_range_at(mem, 1).size, 0);
    mem_destroy(mem);
}

static void memory_beyond_the_hole_continues_at_4_gib(void **state)
{
    (void)state;
    struct mem *mem = create(HOLE + 16 * MIB, HOLE);
    assert_int_equal(mem_range_count(mem), 2);
    assert_int_equal(mem_range_at(mem, 0).size, HOLE);
    assert_int_equal(mem_range_at(mem, 1).gpa, FOUR_GIB);
    assert_int_equal(mem_range_at(mem, 1).size, 16 * MIB);
    assert_int_equal(mem_end(mem), FOUR_GIB + 16 * MIB);
    uint64_t offset = 1;
    int fd = mem_range_fd(mem, 0, &offset);
    assert_true(fd >= 0);
    assert_int_equal(offset, 0);
    assert_int_equal(mem_range_fd(mem, 1, &offset), fd);
    assert_int_equal(offset, HOLE);
    assert_int_equal(mem_range_fd(mem, 2, &offset), -EINVAL);
    mem_destroy(mem);
}

static void memory_without_a_hole_is_one_range_across_4_gib(void **state)
{
    (void)state;
    struct mem *mem = create(FOUR_GIB + MIB, FOUR_GIB);
    assert_int_equal(mem_range_count(mem), 1);
    assert_true(mem_is_ram(mem, FOUR_GIB - 8, 16));
    uint64_t value = 0x1122334455667788;
    assert_int_equal(mem_write(mem, FOUR_GIB - 4, &value, sizeof(value)), 0);
    uint64_t back = 0;
    assert_int_equal(mem_read(mem, FOUR_GIB - 4, &back, sizeof(back)), 0);
    assert_int_equal(back, value);
    mem_destroy(mem);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, hole;
    } absurd[] = {
        {0, HOLE},
        {MIB - 4096, HOLE},
        {MIB + 1, HOLE},
        {(UINT64_C(1) << 40) + 4096, HOLE},
        {UINT64_MAX, HOLE},
        {UINT64_MAX - 4095, HOLE},
        {MIB, 0},
        {MIB, HOLE + 1},
        {MIB, FOUR_GIB + 4096},
    };
    for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
        struct mem *mem = NULL;
        assert_int_equal(mem_create(absurd[i].size, absurd[i].hole, &mem), -EINVAL);
        assert_null(mem);
    }
}

static void one_tebibyte_takes_address_space_only(void **state)
{
    (void)state;
    struct mem *mem = NULL;
    int r = mem_create(UINT64_C(1) << 40, HOLE, &mem);
    if (r == -ENOMEM)
        skip(); /* a host whose limits forbid so much address space */
    assert_int_equal(r, 0);
    uint8_t last = 7;
    assert_int_equal(mem_write(mem, mem_end(mem) - 1, &last, 1), 0);
    assert_int_equal(mem_base(mem)[mem_end(mem) - 1], 7);
    mem_destroy(mem);
}

static void is_ram_knows_edges_and_wrap_around(void **state)
{
    (void)state;
    struct mem *mem = create(HOLE + MIB, HOLE);
    assert_true(mem_is_ram(mem, 0, 1));
    assert_true(mem_is_ram(mem, 0, HOLE));
    assert_false(mem_is_ram(mem, 0, HOLE + 1));
    assert_true(mem_is_ram(mem, HOLE - 1, 1));
    assert_false(mem_is_ram(mem, HOLE - 1, 2));
    assert_false(mem_is_ram(mem, HOLE, 1));
    assert_false(mem_is_ram(mem, FOUR_GIB - 1, 2));
    assert_true(mem_is_ram(mem, FOUR_GIB, MIB));
    assert_false(mem_is_ram(mem, FOUR_GIB, MIB + 1));
    assert_false(mem_is_ram(mem, FOUR_GIB + MIB, 1));
    assert_false(mem_is_ram(mem, UINT64_MAX, 1));
    assert_false(mem_is_ram(mem, UINT64_MAX, 2));
    assert_false(mem_is_ram(mem, 4096, UINT64_MAX));
    assert_false(mem_is_ram(mem, 4096, UINT64_MAX - 4095));
    mem_destroy(mem);
}

static void copies_are_all_or_nothing(void **state)
{
    (void)state;
    struct mem *mem = create(MIB, HOLE);
    uint8_t bytes[16];
    memset(bytes, 0xa5, sizeof(bytes));
    assert_int_equal(mem_write(mem, MIB - 8, bytes, sizeof(bytes)), -EFAULT);
    assert_int_equal(mem_fill(mem, MIB - 8, 0xa5, sizeof(bytes)), -EFAULT);
    uint64_t untouched = 1;
    assert_int_equal(mem_read(mem, MIB - 8, &untouched, 8), 0);
    assert_int_equal(untouched, 0);
    uint8_t kept[16];
    memset(kept, 0x11, sizeof(kept));
    assert_int_equal(mem_read(mem, MIB - 8, kept, sizeof(kept)), -EFAULT);
    assert_int_equal(kept[0], 0x11);
    assert_int_equal(mem_read(mem, UINT64_MAX - 7, kept, sizeof(kept)), -EFAULT);
    mem_destroy(mem);
}

static void pin_and_base_see_what_write_wrote(void **state)
{
    (void)state;
    struct mem *mem = create(HOLE + MIB, HOLE);
    assert_int_equal(mem_write(mem, FOUR_GIB + 100, "partita", 8), 0);
    uint8_t *pinned = mem_pin(mem, FOUR_GIB + 100, 8);
    assert_non_null(pinned);
    assert_string_equal((const char *)pinned, "partita");
    assert_ptr_equal(pinned, mem_base(mem) + FOUR_GIB + 100);
    assert_null(mem_pin(mem, HOLE - 4, 8));
    assert_null(mem_pin(mem, HOLE, 1));
    assert_null(mem_pin(mem, UINT64_MAX, 8));
    assert_int_equal(mem_fill(mem, FOUR_GIB + 100, '-', 3), 0);
    assert_string_equal((const char *)pinned, "---tita");
    mem_destroy(mem);
}

struct heard {
    int count;
    uint64_t gpa, length;
};

static void hear(void *owner, uint64_t gpa, uint64_t length)
{
    struct heard *heard = owner;
    heard->count++;
    heard->gpa = gpa;
    heard->length = length;
}

static void observer_hears_every_write_and_no_refused_one(void **state)
{
    (void)state;
    struct mem *mem = create(MIB, HOLE);
    struct heard heard = {0};
    mem_set_observer(mem, hear, &heard);
    assert_int_equal(mem_write(mem, 0x1000, "abc", 3), 0);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.gpa, 0x1000);
    assert_int_equal(heard.length, 3);
    assert_int_equal(mem_fill(mem, 0x2000, 0, 4096), 0);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.length, 4096);
    mem_written(mem, 0x3000, 5);
    assert_int_equal(heard.gpa, 0x3000);
    assert_int_equal(heard.count, 3);
    assert_int_equal(mem_write(mem, MIB, "abc", 3), -EFAULT);
    assert_int_equal(heard.count, 3);
    mem_set_observer(mem, NULL, NULL);
    assert_int_equal(mem_write(mem, 0x1000, "abc", 3), 0);
    assert_int_equal(heard.count, 3);
    mem_destroy(mem);
}

static void backing_file_cannot_change_its_size(void **state)
{
    (void)state;
    struct mem *mem = create(MIB, HOLE);
    uint64_t offset;
    int fd = mem_range_fd(mem, 0, &offset);
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 2 * MIB), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    mem_destroy(mem);
}

static void ranges_are_shared_through_their_descriptor(void **state)
{
    (void)state;
    struct mem *mem = create(HOLE + MIB, HOLE);
    uint64_t offset;
    int fd = mem_range_fd(mem, 1, &offset);
    uint8_t *other = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    assert_ptr_not_equal(other, MAP_FAILED);
    assert_int_equal(mem_write(mem, FOUR_GIB, "seen", 5), 0);
    assert_string_equal((const char *)other, "seen");
    (void)munmap(other, 4096);
    mem_destroy(mem);
}

/* Does the byte at `at` fault? Tried by the kernel, which answers EFAULT rather than a signal. */
static int readable(const uint8_t *at)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    ssize_t n = write(ends[1], at, 1);
    int ok = n == 1;
    assert_true(ok || errno == EFAULT);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return ok;
}

static void what_is_not_ram_cannot_be_touched(void **state)
{
    (void)state;
    struct mem *mem = create(HOLE + MIB, HOLE);
    const uint8_t *base = mem_base(mem);
    assert_int_equal((uintptr_t)base % (2 * MIB), 0);
    assert_true(readable(base));
    assert_true(readable(base + HOLE - 1));
    assert_false(readable(base + HOLE));
    assert_false(readable(base + FOUR_GIB - 1));
    assert_true(readable(base + FOUR_GIB + MIB - 1));
    assert_false(readable(base + FOUR_GIB + MIB));
    assert_false(readable(base + FOUR_GIB + MIB + 2 * GIB - 1));
    assert_false(readable(base - 1));
    assert_false(readable(base - 2 * GIB));
    mem_destroy(mem);
}

static void growth_is_no_ram_until_it_grows(void **state)
{
    (void)state;
    struct mem *mem = NULL;
    assert_int_equal(
        mem_create_planned(&(struct mem_plan){64 * MIB, 2 * MEM_GROWTH, HOLE, {0}}, &mem), 0);
    assert_int_equal(mem_growth(mem).gpa, FOUR_GIB);
    assert_int_equal(mem_end(mem), 64 * MIB);
    assert_int_equal(mem_limit(mem), FOUR_GIB + 2 * MEM_GROWTH);
    assert_false(mem_is_ram(mem, FOUR_GIB, 1));
    assert_false(readable(mem_base(mem) + FOUR_GIB));
    assert_int_equal(mem_grow(mem, MEM_GROWTH), 0);
    assert_true(mem_is_ram(mem, FOUR_GIB, MEM_GROWTH));
    assert_false(mem_is_ram(mem, FOUR_GIB, MEM_GROWTH + 1));
    assert_int_equal(mem_write(mem, FOUR_GIB + MEM_GROWTH - 4, "abc", 4), 0);
    assert_int_equal(mem_grow(mem, 2 * MEM_GROWTH), 0);
    assert_string_equal((const char *)mem_pin(mem, FOUR_GIB + MEM_GROWTH - 4, 4), "abc");
    assert_int_equal(mem_grow(mem, MEM_GROWTH), -EINVAL);
    assert_int_equal(mem_grow(mem, 3 * MEM_GROWTH), -EINVAL);
    mem_destroy(mem);
}

static void growth_is_forgotten_and_comes_back_empty(void **state)
{
    (void)state;
    struct mem *mem = NULL;
    assert_int_equal(mem_create_planned(&(struct mem_plan){64 * MIB, MEM_GROWTH, HOLE, {0}}, &mem),
                     0);
    assert_int_equal(mem_grow(mem, MEM_GROWTH), 0);
    assert_int_equal(mem_write(mem, FOUR_GIB, "abc", 4), 0);
    assert_int_equal(mem_ungrow(mem), 0);
    assert_false(mem_is_ram(mem, FOUR_GIB, 1));
    assert_false(readable(mem_base(mem) + FOUR_GIB));
    assert_int_equal(mem_ungrow(mem), 0);
    assert_int_equal(mem_grow(mem, MEM_GROWTH), 0);
    assert_int_equal(*mem_pin(mem, FOUR_GIB, 1), 0);
    mem_destroy(mem);
}

static void growth_behind_the_last_range_is_one_with_it(void **state)
{
    (void)state;
    struct mem *mem = NULL;
    assert_int_equal(
        mem_create_planned(&(struct mem_plan){HOLE + MEM_GROWTH, MEM_GROWTH, HOLE, {0}}, &mem), 0);
    assert_int_equal(mem_growth(mem).gpa, FOUR_GIB + MEM_GROWTH);
    assert_false(mem_is_ram(mem, FOUR_GIB + MEM_GROWTH - 8, 16));
    assert_int_equal(mem_grow(mem, MEM_GROWTH), 0);
    assert_true(mem_is_ram(mem, FOUR_GIB + MEM_GROWTH - 8, 16));
    assert_int_equal(mem_fill(mem, FOUR_GIB + MEM_GROWTH - 4096, 7, 8192), 0);
    assert_int_equal(mem_discard(mem, FOUR_GIB + MEM_GROWTH - 4096, 8192), 0);
    assert_int_equal(*mem_pin(mem, FOUR_GIB + MEM_GROWTH, 1), 0);
    mem_destroy(mem);
    assert_int_equal(
        mem_create_planned(&(struct mem_plan){HOLE + MIB, MEM_GROWTH, HOLE, {0}}, &mem), 0);
    assert_int_equal(mem_growth(mem).gpa, FOUR_GIB + MEM_GROWTH); /* aligned */
    mem_destroy(mem);
    mem = NULL;
    assert_int_equal(mem_create_planned(&(struct mem_plan){MIB, MEM_GROWTH + MIB, HOLE, {0}}, &mem),
                     -EINVAL);
    assert_int_equal(
        mem_create_planned(&(struct mem_plan){MIB, UINT64_C(1) << 40, HOLE, {0}}, &mem), -EINVAL);
    assert_null(mem);
}

static void discarded_pages_cost_nothing_and_read_as_zero(void **state)
{
    (void)state;
    struct mem *mem = create(HOLE + 4 * MIB, HOLE);
    struct heard heard = {0};
    assert_int_equal(mem_fill(mem, HOLE - MIB, 0xa5, MIB), 0);
    assert_int_equal(mem_fill(mem, FOUR_GIB, 0xa5, 4 * MIB), 0);
    assert_int_equal(mem_resident(mem), 5 * MIB);
    mem_set_observer(mem, hear, &heard);
    assert_int_equal(mem_discard(mem, FOUR_GIB + MIB, 2 * MIB), 0);
    assert_int_equal(heard.gpa, FOUR_GIB + MIB);
    assert_int_equal(heard.length, 2 * MIB);
    assert_int_equal(mem_resident(mem), 3 * MIB);
    assert_int_equal(*mem_pin(mem, FOUR_GIB + MIB, 1), 0);
    assert_int_equal(*mem_pin(mem, FOUR_GIB + MIB - 1, 1), 0xa5);
    assert_int_equal(*mem_pin(mem, FOUR_GIB + 3 * MIB, 1), 0xa5);
    assert_int_equal(*mem_pin(mem, HOLE - 1, 1), 0xa5);
    mem_set_observer(mem, NULL, NULL);
    assert_int_equal(mem_discard(mem, HOLE - 4096, 8192), -EFAULT);
    assert_int_equal(mem_discard(mem, 100, 4096), -EFAULT);
    assert_int_equal(mem_discard(mem, 4096, 100), -EFAULT);
    assert_int_equal(mem_discard(mem, UINT64_MAX - 4095, 8192), -EFAULT);
    assert_int_equal(mem_discard(mem, 0, 0), 0);
    mem_destroy(mem);
}

static void destroy_accepts_null(void **state)
{
    (void)state;
    mem_destroy(NULL);
}

static void a_devices_memory_is_ram_that_no_range_tells_of(void **state)
{
    struct mem_plan plan = {64 * MIB, MEM_GROWTH, HOLE, {HOLE + 16 * MIB, 8 * MIB}};
    struct mem *mem;
    uint32_t value = 0x12345678;

    (void)state;
    assert_int_equal(mem_create_planned(&plan, &mem), 0);
    assert_int_equal(mem_range_count(mem), 1);
    assert_int_equal(mem_device(mem).gpa, HOLE + 16 * MIB);
    assert_true(mem_is_ram(mem, HOLE + 16 * MIB, 8 * MIB));
    assert_false(mem_is_ram(mem, HOLE + 16 * MIB - 1, 2));
    assert_false(mem_is_ram(mem, HOLE + 24 * MIB - 1, 2));
    assert_int_equal(mem_limit(mem), FOUR_GIB + MEM_GROWTH);
    assert_int_equal(mem_grow(mem, MEM_GROWTH), 0);
    assert_int_equal(mem_write(mem, HOLE + 24 * MIB - 4, &value, 4), 0);
    assert_int_equal(*mem_pin(mem, FOUR_GIB + MEM_GROWTH - 4, 4), 0); /* bytes of its own */
    assert_int_equal(*mem_pin(mem, HOLE + 24 * MIB - 4, 4), 0x78);
    assert_int_equal(mem_discard(mem, HOLE + 16 * MIB, 8 * MIB), 0);
    assert_int_equal(*mem_pin(mem, HOLE + 24 * MIB - 4, 4), 0);
    mem_destroy(mem);
    plan.device.gpa = FOUR_GIB - 4 * MIB;
    assert_int_equal(mem_create_planned(&plan, &mem), -EINVAL);
    plan.device.gpa = HOLE - MIB;
    assert_int_equal(mem_create_planned(&plan, &mem), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_memory_is_one_range),
        cmocka_unit_test(memory_beyond_the_hole_continues_at_4_gib),
        cmocka_unit_test(memory_without_a_hole_is_one_range_across_4_gib),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(one_tebibyte_takes_address_space_only),
        cmocka_unit_test(is_ram_knows_edges_and_wrap_around),
        cmocka_unit_test(copies_are_all_or_nothing),
        cmocka_unit_test(pin_and_base_see_what_write_wrote),
        cmocka_unit_test(observer_hears_every_write_and_no_refused_one),
        cmocka_unit_test(backing_file_cannot_change_its_size),
        cmocka_unit_test(ranges_are_shared_through_their_descriptor),
        cmocka_unit_test(what_is_not_ram_cannot_be_touched),
        cmocka_unit_test(growth_is_no_ram_until_it_grows),
        cmocka_unit_test(growth_is_forgotten_and_comes_back_empty),
        cmocka_unit_test(growth_behind_the_last_range_is_one_with_it),
        cmocka_unit_test(a_devices_memory_is_ram_that_no_range_tells_of),
        cmocka_unit_test(discarded_pages_cost_nothing_and_read_as_zero),
        cmocka_unit_test(destroy_accepts_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
