/* Names tell formats, and lead to parents. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk/disk_private.h"
#include "disk/image_fixture.h"

enum { MIB = 1 << 20, SECTOR = 512 };

static void suffixes_tell_the_format(void **state)
{
    (void)state;
    assert_int_equal(image_format_of("/srv/a.vhdx"), IMAGE_VHDX);
    assert_int_equal(image_format_of("a.AVHDX"), IMAGE_VHDX);
    assert_int_equal(image_format_of("a.img"), IMAGE_RAW);
    assert_int_equal(image_format_of("/dev/sda"), IMAGE_RAW);
    assert_int_equal(image_format_of(".vhdx"), IMAGE_RAW); /* a hidden file of that name */
    assert_int_equal(disk_choose_format("a.vhdx", DISK_AS_RAW), IMAGE_RAW);
    assert_int_equal(disk_choose_format("a", DISK_AS_VHDX), IMAGE_VHDX);
    assert_int_equal(disk_choose_format(NULL, 0), IMAGE_RAW);
}

static void formats_have_names(void **state)
{
    enum image_format format = IMAGE_RAW;

    (void)state;
    assert_true(image_format_parse("vhdx", &format));
    assert_int_equal(format, IMAGE_VHDX);
    assert_string_equal(image_format_name(IMAGE_RAW), "raw");
    assert_false(image_format_parse("qcow2", &format));
}

static void assert_beside(const char *path, const char *name, const char *wanted)
{
    char *beside = disk_beside(path, name);

    assert_string_equal(beside, wanted);
    free(beside);
}

static void parents_are_found_from_the_child_on(void **state)
{
    (void)state;
    assert_beside("/srv/child.vhdx", "base.vhdx", "/srv/base.vhdx");
    assert_beside("/srv/child.vhdx", "/data/base.vhdx", "/data/base.vhdx");
    assert_beside("child.vhdx", "base.vhdx", "base.vhdx");
    assert_beside("a/child.vhdx", "../base.vhdx", "a/../base.vhdx");
}

/* A guest that writes a VHDX header into its raw disk gets no file of the host by that. */
static void content_does_not_decide(void **state)
{
    struct memory_file memory;
    struct disk *disk = NULL;

    (void)state;
    memory_file_init(&memory, MIB, MIB);
    memcpy(memory.bytes, "vhdxfile", 8);
    assert_int_equal(disk_open_file(&memory.file, 0, &disk, NULL), 0);
    assert_int_equal(disk_geometry(disk)->capacity, MIB);
    assert_int_equal(disk_close(disk), 0);
    assert_int_equal(disk_open_file(&memory.file, DISK_AS_VHDX, &disk, NULL), -EINVAL);
    free(memory.bytes);
}

/* A child that is its own parent, by a name that leads back to it. */
static void a_circle_of_parents_ends(void **state)
{
    static struct fixture_host host;
    const struct image_layout base = {
        .format = IMAGE_VHDX, .kind = IMAGE_DYNAMIC, .capacity = MIB, .block_size = MIB};
    const struct image_layout child = {
        .format = IMAGE_VHDX, .kind = IMAGE_DIFFERENCING, .parent = "base.vhdx"};
    struct disk *disk = NULL;
    struct reason reason = {""};

    (void)state;
    fixture_init(&host);
    assert_int_equal(image_create(&host.host, "base.vhdx", &base, NULL), 0);
    assert_int_equal(image_create(&host.host, "child.vhdx", &child, NULL), 0);
    assert_int_equal(image_create(&host.host, "other.vhdx",
                                  &(const struct image_layout){.format = IMAGE_VHDX,
                                                               .kind = IMAGE_DIFFERENCING,
                                                               .parent = "child.vhdx"},
                                  NULL),
                     0);
    /* Now the file that is named base.vhdx is the child of itself. */
    (void)snprintf(host.files[0].name, sizeof(host.files[0].name), "old");
    (void)snprintf(host.files[1].name, sizeof(host.files[1].name), "base.vhdx");
    assert_int_equal(disk_open_with(&host.host, "base.vhdx", DISK_ANY_PARENT, &disk, &reason),
                     -ELOOP);
    assert_non_null(strstr(reason.text, "parents"));
    fixture_release(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suffixes_tell_the_format),
        cmocka_unit_test(formats_have_names),
        cmocka_unit_test(parents_are_found_from_the_child_on),
        cmocka_unit_test(content_does_not_decide),
        cmocka_unit_test(a_circle_of_parents_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
