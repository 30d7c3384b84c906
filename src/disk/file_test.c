/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "disk/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    char folder[64];
    char path[96];
    struct file *file;
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    (void)snprintf(place->folder, sizeof(place->folder), "/tmp/partita-file-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->path, sizeof(place->path), "%s/f", place->folder);
    assert_int_equal(file_open(place->path, FILE_CREATE | FILE_WRITABLE, &place->file, NULL), 0);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    file_close(place->file);
    (void)unlink(place->path);
    (void)rmdir(place->folder);
    free(place);
    return 0;
}

static void bytes_past_the_end_read_as_zeroes(void **state)
{
    struct place *place = *state;
    char bytes[6] = "??????";
    assert_int_equal(file_write(place->file, "abc", 3, 10), 0);
    assert_int_equal(file_read(place->file, bytes, sizeof(bytes), 9), 0);
    assert_memory_equal(bytes, "\0abc\0\0", sizeof(bytes));
    assert_int_equal(file_flush(place->file), 0);
}

static void size_follows_writes_and_truncation(void **state)
{
    struct place *place = *state;
    uint64_t size = 1;
    assert_int_equal(file_size(place->file, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(file_write(place->file, "abc", 3, 10), 0);
    assert_int_equal(file_size(place->file, &size), 0);
    assert_int_equal(size, 13);
    assert_int_equal(file_truncate(place->file, 4096), 0);
    assert_int_equal(file_size(place->file, &size), 0);
    assert_int_equal(size, 4096);
}

static void punched_bytes_read_as_zeroes_and_the_size_stays(void **state)
{
    struct place *place = *state;
    char bytes[8];
    uint64_t size = 0;
    assert_int_equal(file_write(place->file, "abcdefgh", 8, 0), 0);
    assert_int_equal(file_punch(place->file, 2, 3), 0);
    assert_int_equal(file_punch(place->file, 7, 1000), 0);
    assert_int_equal(file_punch(place->file, 5000, 1000), 0);
    assert_int_equal(file_read(place->file, bytes, sizeof(bytes), 0), 0);
    assert_memory_equal(bytes, "ab\0\0\0fg\0", sizeof(bytes));
    assert_int_equal(file_size(place->file, &size), 0);
    assert_int_equal(size, 8);
}

static void extents_cover_all_data(void **state)
{
    struct place *place = *state;
    uint64_t end = 0;
    bool data = false;
    assert_int_equal(file_truncate(place->file, 1 << 20), 0);
    assert_int_equal(file_write(place->file, "a", 1, 1 << 19), 0);
    assert_int_equal(file_extent(place->file, 1 << 19, &end, &data), 0);
    assert_true(data);
    assert_true(end > 1 << 19);
    /* A file system without holes may call all of it data, but never data a hole. */
    assert_int_equal(file_extent(place->file, 0, &end, &data), 0);
    assert_true(end > 0);
    assert_true(data || end <= 1 << 19);
}

static void a_second_writer_is_refused(void **state)
{
    struct place *place = *state;
    struct file *other = NULL;
    struct reason reason = {""};
    assert_int_equal(file_open(place->path, FILE_WRITABLE, &other, &reason), -EBUSY);
    assert_non_null(strstr(reason.text, "in use"));
    assert_int_equal(file_open(place->path, 0, &other, &reason), -EBUSY);
    file_close(place->file);
    place->file = NULL;
    assert_int_equal(file_open(place->path, 0, &place->file, &reason), 0);
    assert_int_equal(file_open(place->path, 0, &other, &reason), 0);
    file_close(other);
}

static void what_is_no_file_is_refused(void **state)
{
    struct place *place = *state;
    struct file *other = NULL;
    struct reason reason = {""};
    assert_int_equal(file_open(place->path, FILE_CREATE | FILE_WRITABLE, &other, &reason), -EEXIST);
    assert_int_equal(file_open("/dev/null", 0, &other, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "neither a file nor a block device"));
    assert_int_equal(file_open("/nowhere/at/all", 0, &other, &reason), -ENOENT);
    assert_null(other);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(bytes_past_the_end_read_as_zeroes),
        FILE_TEST(size_follows_writes_and_truncation),
        FILE_TEST(punched_bytes_read_as_zeroes_and_the_size_stays),
        FILE_TEST(extents_cover_all_data),
        FILE_TEST(a_second_writer_is_refused),
        FILE_TEST(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
