/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "disk/disk.h"
#include "disk/memory_file.h"

enum { SIZE = 5 << 20 };

struct fixture {
    struct memory_file from_memory, to_memory;
    struct disk *from, *to;
    uint64_t told; /* the last progress */
    int answer;
};

static void open_disks(struct fixture *f)
{
    assert_int_equal(disk_open_file(&f->from_memory.file, 0, &f->from, NULL), 0);
    assert_int_equal(disk_open_file(&f->to_memory.file, DISK_WRITABLE, &f->to, NULL), 0);
}

static int make_disks(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    memory_file_init(&f->from_memory, SIZE + 512, SIZE + 4096);
    memory_file_init(&f->to_memory, SIZE + 512, SIZE + 4096);
    open_disks(f);
    *state = f;
    return 0;
}

static int free_disks(void **state)
{
    struct fixture *f = *state;
    (void)disk_close(f->from);
    (void)disk_close(f->to);
    free(f->from_memory.bytes);
    free(f->to_memory.bytes);
    free(f);
    return 0;
}

static int tell(void *owner, uint64_t done, uint64_t total)
{
    struct fixture *f = owner;
    assert_int_equal(total, SIZE + 512);
    assert_true(done > f->told && done <= total);
    f->told = done;
    return f->answer;
}

static void all_bytes_arrive_wherever_they_lie(void **state)
{
    struct fixture *f = *state;
    static const uint32_t places[] = {0,        511,           4096,    65536 - 1,
                                      65536,    (1 << 20) - 1, 1 << 20, (3 << 20) + 7,
                                      SIZE - 1, SIZE + 511};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        f->from_memory.bytes[places[i]] = (uint8_t)(i + 1);
    assert_int_equal(disk_copy(f->from, f->to, tell, f), 0);
    assert_int_equal(f->told, SIZE + 512);
    assert_memory_equal(f->to_memory.bytes, f->from_memory.bytes, SIZE + 512);
}

static void zeroes_are_not_written(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(disk_copy(f->from, f->to, tell, f), 0);
    assert_int_equal(f->told, SIZE + 512);
    assert_int_equal(f->to_memory.writes, 0);
    f->told = 0;
    f->from_memory.bytes[(2 << 20) + 5] = 1;
    assert_int_equal(disk_copy(f->from, f->to, tell, f), 0);
    assert_int_equal(f->to_memory.writes, 1);
}

static void progress_may_end_the_copy(void **state)
{
    struct fixture *f = *state;
    f->from_memory.bytes[0] = 1;
    f->answer = -EINTR;
    assert_int_equal(disk_copy(f->from, f->to, tell, f), -EINTR);
    assert_true(f->told <= SIZE);
}

static void errors_of_the_target_come_back(void **state)
{
    struct fixture *f = *state;
    f->from_memory.bytes[SIZE] = 1;
    f->to_memory.fail = -EDQUOT;
    assert_int_equal(disk_copy(f->from, f->to, tell, f), -EDQUOT);
}

static void a_smaller_target_is_refused(void **state)
{
    struct fixture *f = *state;
    (void)disk_close(f->to);
    f->to_memory.size = SIZE;
    assert_int_equal(disk_open_file(&f->to_memory.file, DISK_WRITABLE, &f->to, NULL), 0);
    assert_int_equal(disk_copy(f->from, f->to, tell, f), -ENOSPC);
}

#define COPY_TEST(name) cmocka_unit_test_setup_teardown(name, make_disks, free_disks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        COPY_TEST(all_bytes_arrive_wherever_they_lie), COPY_TEST(zeroes_are_not_written),
        COPY_TEST(progress_may_end_the_copy),          COPY_TEST(errors_of_the_target_come_back),
        COPY_TEST(a_smaller_target_is_refused),
    };
    return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
