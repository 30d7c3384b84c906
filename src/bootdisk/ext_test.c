#include "bootdisk/ext.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "bootdisk/image_fixture.h"

enum { OFFSET = 1 << 20 };

static struct disk *disk;
static struct ext *ext;
static const char *missing;

/* A file system 1 MiB into its disk, with a file of many blocks, a hole and links. */
static int make_image(void **state)
{
    (void)state;
    if (!image_folder_make())
        return -1;
    missing = image_tools_missing();
    if (missing != NULL)
        return 0;
    return image_script("mkdir -p tree/boot\n"
                        "seq 400000 >tree/boot/numbers\n"
                        "truncate -s 3M tree/boot/hole; printf end >>tree/boot/hole\n"
                        "ln -s boot/numbers tree/link; ln -s /boot/../link tree/again\n"
                        "ln -s loop tree/loop; ln -s /outside tree/outside\n"
                        "for type in ext2 ext3 ext4; do\n"
                        "  mke2fs -q -t $type -d tree -E offset=1048576 \\\n"
                        "    -U 00112233-4455-6677-8899-aabbccddeeff $type.img 16M\n"
                        "done")
               ? 0
               : -1;
}

static int remove_image(void **state)
{
    (void)state;
    image_folder_remove();
    return 0;
}

static bool open_type(const char *type)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "%s.img", type);
    assert_int_equal(disk_open(image_path(name), 0, &disk, NULL), 0);
    uint64_t length = disk_geometry(disk)->capacity - OFFSET;
    return ext_open(disk, OFFSET, length, &ext) == 0;
}

static void close_all(void)
{
    ext_close(ext);
    ext = NULL;
    (void)disk_close(disk);
}

static void skip_without_tools(void)
{
    if (missing == NULL)
        return;
    print_message("# skipped: %s\n", missing);
    skip();
}

struct whole {
    uint8_t bytes[4 << 20];
    uint64_t length, got;
};

static int whole_first(void *owner, uint64_t length)
{
    struct whole *whole = owner;
    whole->length = length;
    whole->got = 0;
    return length > sizeof(whole->bytes) ? -EFBIG : 0;
}

static int whole_next(void *owner, const void *bytes, size_t length)
{
    struct whole *whole = owner;
    assert_true(length <= whole->length - whole->got);
    memcpy(whole->bytes + whole->got, bytes, length);
    whole->got += length;
    return 0;
}

static struct whole whole;
static const struct ext_reader whole_reader = {whole_first, whole_next, &whole};

static void files_are_read_from_each_kind(void **state)
{
    static const char *const types[] = {"ext2", "ext3", "ext4"};
    (void)state;
    skip_without_tools();

    for (size_t i = 0; i < 3; i++) {
        uint8_t uuid[16];
        assert_true(open_type(types[i]));
        assert_int_equal(ext_read(ext, "/again", &whole_reader), 0);
        assert_int_equal(whole.length, 2688895);
        assert_int_equal(whole.got, whole.length);
        assert_memory_equal(whole.bytes, "1\n2\n3\n", 6);
        assert_memory_equal(whole.bytes + whole.got - 7, "400000\n", 7);
        assert_int_equal(ext_read(ext, "/boot/hole", &whole_reader), 0);
        assert_int_equal(whole.bytes[0], 0);
        assert_memory_equal(whole.bytes + (3 << 20), "end", 3);
        ext_uuid(ext, uuid);
        assert_int_equal(uuid[1], 0x11);
        assert_int_equal(uuid[15], 0xff);
        close_all();
    }
}

static void types_are_told_with_links_followed_or_not(void **state)
{
    (void)state;
    skip_without_tools();
    assert_true(open_type("ext4"));
    assert_int_equal(ext_type(ext, "/boot", false), S_IFDIR);
    assert_int_equal(ext_type(ext, "/link", false), S_IFLNK);
    assert_int_equal(ext_type(ext, "/link", true), S_IFREG);
    assert_int_equal(ext_type(ext, "/loop", true), 0);
    assert_int_equal(ext_type(ext, "/outside", true), 0);
    assert_int_equal(ext_type(ext, "/nothing", false), 0);
    assert_int_equal(ext_read(ext, "/boot", &whole_reader), -EINVAL);
    assert_int_equal(ext_read(ext, "/nothing", &whole_reader), -ENOENT);
    close_all();
}

static void count_name(void *owner, const char *name)
{
    unsigned *count = owner;
    if (strcmp(name, "numbers") == 0 || strcmp(name, "hole") == 0)
        ++*count;
}

static void folders_are_listed(void **state)
{
    unsigned count = 0;
    (void)state;
    skip_without_tools();
    assert_true(open_type("ext2"));
    assert_int_equal(ext_list(ext, "/boot", count_name, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(ext_list(ext, "/nothing", count_name, &count), -ENOENT);
    assert_true(ext_list(ext, "/link", count_name, &count) < 0);
    close_all();
}

/* Blocks that lie beyond its part of the disk are not read, although the disk has them. */
static void reads_stay_within_the_part(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(disk_open(image_path("ext4.img"), 0, &disk, NULL), 0);
    if (ext_open(disk, OFFSET, 1 << 20, &ext) == 0)
        assert_true(ext_read(ext, "/boot/numbers", &whole_reader) < 0);
    close_all();
}

static void other_bytes_are_no_file_system(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(disk_open(image_path("ext4.img"), 0, &disk, NULL), 0);
    assert_int_equal(ext_open(disk, 0, OFFSET, &ext), -EINVAL);
    assert_int_equal(ext_open(disk, 0, 512, &ext), -EINVAL);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_from_each_kind),
        cmocka_unit_test(types_are_told_with_links_followed_or_not),
        cmocka_unit_test(folders_are_listed),
        cmocka_unit_test(reads_stay_within_the_part),
        cmocka_unit_test(other_bytes_are_no_file_system),
    };
    return cmocka_run_group_tests_name("ext", tests, make_image, remove_image);
}
