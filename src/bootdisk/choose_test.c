#include "bootdisk/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Paths of files, ended by NULL. */
static bool fake_is_file(void *owner, const char *path)
{
    for (const char *const *file = owner; *file != NULL; file++) {
        if (strcmp(*file, path) == 0)
            return true;
    }
    return false;
}

static void fake_list(void *owner, const char *folder, choose_name_fn each, void *each_owner)
{
    size_t length = strlen(folder);

    for (const char *const *file = owner; *file != NULL; file++) {
        const char *name = *file + (length > 1 ? length + 1 : length);
        if (strncmp(*file, folder, length) == 0 && strchr(name, '/') == NULL)
            each(each_owner, name);
    }
}

static void expect(const char *const *files, bool is_boot, const char *kernel, const char *initrd)
{
    union {
        const char *const *files;
        void *owner;
    } tree_files = {files};
    const struct choose_tree tree = {tree_files.owner, fake_is_file, fake_list};
    struct choice choice = {.kernel = ""};

    bool found = choose_kernel(&tree, is_boot, &choice);
    assert_int_equal(found, kernel != NULL);
    if (!found)
        return;
    assert_string_equal(choice.kernel, kernel);
    assert_string_equal(choice.initrd, initrd);
}

#define FILES(...)        \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

static void links_of_the_distribution_come_first(void **state)
{
    (void)state;
    expect(FILES("/vmlinuz", "/initrd.img", "/boot/vmlinuz-9", "/boot/initrd.img-9"), false,
           "/vmlinuz", "/initrd.img");
    expect(FILES("/boot/vmlinuz", "/boot/initrd", "/boot/vmlinuz-9"), false, "/boot/vmlinuz",
           "/boot/initrd");
}

static void newest_version_is_taken_with_its_initrd(void **state)
{
    (void)state;
    expect(FILES("/boot/vmlinuz-6.1.0-9-amd64", "/boot/vmlinuz-6.1.0-10-amd64",
                 "/boot/vmlinuz-5.10.0-30-amd64", "/boot/initrd.img-6.1.0-9-amd64",
                 "/boot/initrd.img-6.1.0-10-amd64"),
           false, "/boot/vmlinuz-6.1.0-10-amd64", "/boot/initrd.img-6.1.0-10-amd64");
    expect(FILES("/boot/vmlinuz-0-rescue-ffff", "/boot/vmlinuz-6.5.fc39",
                 "/boot/initramfs-6.5.fc39.img"),
           false, "/boot/vmlinuz-6.5.fc39", "/boot/initramfs-6.5.fc39.img");
    expect(FILES("/boot/vmlinuz-6.4", "/boot/initrd-6.4"), false, "/boot/vmlinuz-6.4",
           "/boot/initrd-6.4");
}

/* A kernel with all drivers built in needs none; a foreign initrd would not fit. */
static void kernel_without_its_initrd_boots_without(void **state)
{
    (void)state;
    expect(FILES("/boot/vmlinuz-6.1", "/boot/initrd.img-6.0"), false, "/boot/vmlinuz-6.1", "");
    expect(FILES("/vmlinuz"), false, "/vmlinuz", "");
    expect(FILES("/vmlinuz", "/boot/vmlinuz-6.1"), false, "/boot/vmlinuz-6.1", "");
}

static void copies_and_odd_names_are_passed_over(void **state)
{
    (void)state;
    expect(FILES("/boot/vmlinuz-6.2.old", "/boot/vmlinuz-6.1", "/boot/vmlinuz-7.0.dpkg-new",
                 "/boot/vmlinuz-8\x1b[0m", "/boot/vmlinuz-", "/boot/vmlinux-9"),
           false, "/boot/vmlinuz-6.1", "");
    expect(FILES("/boot/vmlinuz-6.2.old", "/etc/passwd"), false, NULL, NULL);
}

static void boot_partition_has_them_at_its_top(void **state)
{
    (void)state;
    expect(FILES("/vmlinuz-6.1", "/initrd.img-6.1", "/vmlinuz-6.0"), true, "/vmlinuz-6.1",
           "/initrd.img-6.1");
    expect(FILES("/vmlinuz", "/initrd"), true, "/vmlinuz", "/initrd");
    expect(FILES("/vmlinuz-6.1"), false, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_of_the_distribution_come_first),
        cmocka_unit_test(newest_version_is_taken_with_its_initrd),
        cmocka_unit_test(kernel_without_its_initrd_boots_without),
        cmocka_unit_test(copies_and_odd_names_are_passed_over),
        cmocka_unit_test(boot_partition_has_them_at_its_top),
    };
    return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}
