#include "worker/images.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"

static char folder[] = "/tmp/partita-images-XXXXXX";
static char path[128];

static const char *file(const char *name, const char *text)
{
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    (void)fputs(text, to);
    (void)fclose(to);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"kernel", "module", "empty", "fifo"};
    (void)state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static void copy_outlives_the_file(void **state)
{
    struct boot_file image = {0};
    struct reason reason;
    (void)state;

    assert_int_equal(image_read(file("kernel", "some bytes"), &image, &reason), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(image.length, 10);
    assert_memory_equal(image.bytes, "some bytes", 10);
    image_release(&image);
    image_release(&image);
}

/* Not of the process any more, by what the kernel says of the mapping: it has a file without a
 * name. */
static bool is_aside(const void *address)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    char start[32];
    bool aside = false;

    assert_non_null(maps);
    (void)snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)address);
    while (fgets(line, sizeof(line), maps) != NULL)
        if (strncmp(line, start, strlen(start)) == 0)
            aside = strstr(line, "(deleted)") != NULL;
    (void)fclose(maps);
    return aside;
}

static void what_is_set_aside_is_read_as_before(void **state)
{
    struct worker_config config = {0};
    struct images images = {0};
    struct reason reason;
    (void)state;

    config.kernel_path = file("kernel", "some bytes");
    assert_int_equal(images_read(&config, &images, &reason), 0);
    const uint8_t *before = images.boot.kernel.bytes;
    assert_false(is_aside(before));
    images_set_aside(&images);
    assert_true(is_aside(before));
    assert_ptr_equal(images.boot.kernel.bytes, before);
    assert_memory_equal(before, "some bytes", 10);
    images_set_aside(&images); /* again: from one file to the next */
    assert_memory_equal(before, "some bytes", 10);
    images_release(&images);
}

static void without_room_for_files_the_memory_stays(void **state)
{
    const struct rlimit none = {0, RLIM_INFINITY};
    struct rlimit before;
    struct images images = {0};
    struct reason reason;
    (void)state;

    assert_int_equal(image_read(file("kernel", "some bytes"), &images.boot.kernel, &reason), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    images_set_aside(&images);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(is_aside(images.boot.kernel.bytes));
    assert_memory_equal(images.boot.kernel.bytes, "some bytes", 10);
    images_release(&images);
}

static void refuse(const char *what, int error, const char *part)
{
    struct boot_file image = {0};
    struct reason reason = {0};

    assert_int_equal(image_read(what, &image, &reason), error);
    assert_non_null(strstr(reason.text, what));
    assert_non_null(strstr(reason.text, part));
    assert_null(image.bytes);
}

static void odd_files_are_refused_by_name(void **state)
{
    char fifo[128];
    (void)state;

    refuse("/nonexistent/kernel", -ENOENT, "No such file");
    refuse(folder, -EISDIR, "directory");
    refuse(file("empty", ""), -ENOEXEC, "empty");
    refuse("/dev/zero", -EINVAL, "regular");
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    refuse(fifo, -EINVAL, "regular");
}

static void modules_are_named_by_their_path_or_their_words(void **state)
{
    char module[128];
    struct worker_config config = {.module_count = 2};
    struct images images = {0};
    struct reason reason;
    (void)state;

    (void)snprintf(module, sizeof(module), "%s", file("module", "NR_CPUS=2\n"));
    config.kernel_path = file("kernel", "k");
    config.modules[0] = (struct worker_module){.path = module};
    config.modules[1] = (struct worker_module){.path = module, .command_line = "a b"};
    assert_int_equal(images_read(&config, &images, &reason), 0);
    assert_int_equal(images.boot.module_count, 2);
    assert_string_equal(images.modules[0].command_line, module);
    assert_string_equal(images.modules[1].command_line, "a b");
    assert_null(images.boot.initrd.bytes);
    images_release(&images);

    config.initrd_path = "/nonexistent/initrd";
    assert_int_equal(images_read(&config, &images, &reason), -ENOENT);
    images_release(&images);
}

/* A whole disk with an empty file system: all that goes wrong is the kernel that is not there. */
static void disk_without_a_kernel_is_refused(void **state)
{
    struct worker_config config = {.initrd_path = "/nonexistent/initrd"};
    struct images images = {0};
    struct reason reason = {""};
    struct disk *disk = NULL;
    (void)state;

    file("kernel", "no file system");
    assert_int_equal(disk_open(path, 0, &disk, &reason), 0);
    assert_int_equal(images_find(&config, disk, &images, &reason), -ENOENT);
    assert_non_null(strstr(reason.text, "give --kernel"));
    assert_null(images.boot.kernel.bytes);
    images_release(&images);
    (void)disk_close(disk);
}

/* mke2fs gives no file system without it. */
static bool make_root(const char *disk_path)
{
    char command[512];

    (void)snprintf(command, sizeof(command),
                   "cd %s && mkdir -p root/boot && echo kernel >root/boot/vmlinuz-6.1 &&"
                   " echo initrd >root/boot/initrd.img-6.1 &&"
                   " PATH=$PATH:/usr/sbin mke2fs -q -d root %s 2M >/dev/null 2>&1; status=$?;"
                   " rm -rf root; exit $status",
                   folder, disk_path);
    return system(command) == 0; /* NOLINT(concurrency-mt-unsafe,cert-env33-c) */
}

static void kernel_of_a_disk_is_taken_with_the_words_of_the_user(void **state)
{
    struct worker_config config = {.machine.boot.command_line = "quiet"};
    struct images images = {0};
    struct reason reason = {""};
    struct disk *disk = NULL;
    (void)state;

    if (!make_root(file("kernel", ""))) {
        print_message("# skipped: mke2fs of e2fsprogs is not installed\n");
        skip();
    }
    assert_int_equal(disk_open(path, 0, &disk, &reason), 0);
    assert_int_equal(images_find(&config, disk, &images, &reason), 0);
    assert_string_equal(images.boot.kernel.name, "/boot/vmlinuz-6.1");
    assert_memory_equal(images.boot.kernel.bytes, "kernel\n", 7);
    assert_memory_equal(images.boot.initrd.bytes, "initrd\n", 7);
    assert_non_null(strstr(images.boot.command_line, " ro console=ttyS0 quiet"));
    images_release(&images);
    config.initrd_path = "/nonexistent/initrd";
    assert_int_equal(images_find(&config, disk, &images, &reason), -ENOENT);
    assert_non_null(strstr(reason.text, "/nonexistent/initrd"));
    images_release(&images);
    (void)disk_close(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_outlives_the_file),
        cmocka_unit_test(what_is_set_aside_is_read_as_before),
        cmocka_unit_test(without_room_for_files_the_memory_stays),
        cmocka_unit_test(odd_files_are_refused_by_name),
        cmocka_unit_test(modules_are_named_by_their_path_or_their_words),
        cmocka_unit_test(disk_without_a_kernel_is_refused),
        cmocka_unit_test(kernel_of_a_disk_is_taken_with_the_words_of_the_user),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
