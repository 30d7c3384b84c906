#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bootdisk/bootdisk.h"
#include "bootdisk/image_fixture.h"
#include "disk/disk.h"

static const char *missing;
static struct bootdisk_images images;
static struct reason reason;

/*
 * root.fs: as Debian lays it out; boot.fs: a partition for /boot; bare.fs: the root that goes with
 * it; none.fs: no kernel. Each in a disk of its own kind.
 */
static const char make_all[] =
    "mkdir -p root/boot root/etc/default bare/etc bare/boot none/etc boot\n"
    "echo old >root/boot/vmlinuz-6.1.0-9-amd64; echo new >root/boot/vmlinuz-6.1.0-10-amd64\n"
    "echo initrd >root/boot/initrd.img-6.1.0-10-amd64\n"
    "ln -s boot/vmlinuz-6.1.0-9-amd64 root/vmlinuz; ln -s boot/missing root/initrd.img\n"
    "echo 'GRUB_CMDLINE_LINUX=\"net.ifnames=0\"' >root/etc/default/grub\n"
    "echo kernel >boot/vmlinuz-6.5; echo fs >boot/initramfs-6.5.img; ln -s . boot/boot\n"
    "for name in root bare none boot; do\n"
    "  mke2fs -q -t ext4 -d $name -U 00112233-4455-6677-8899-aabbccddeeff $name.fs 4M\n"
    "done\n"
    "place() { dd if=$1 of=$2 bs=1M seek=$3 conv=notrunc status=none; }\n"
    "truncate -s 16M gpt.img mbr.img two.img none.img\n"
    "printf 'label: gpt\\nstart=2048,size=2048,type=U\\nstart=8192,size=8192,type=L,'"
    "'uuid=0A1B2C3D-0000-0000-0000-00000000000F\\n' | sfdisk -q gpt.img\n"
    "place root.fs gpt.img 4\n"
    "printf 'label: dos\\nlabel-id: 0xCAFE0102\\nstart=2048,size=20480,type=5\\n'"
    "'start=8192,size=8192,type=83\\n' | sfdisk -q mbr.img\n"
    "place root.fs mbr.img 4\n"
    "printf 'label: dos\\nlabel-id: 0xCAFE0102\\nstart=2048,size=8192,type=83\\n'"
    "'start=12288,size=8192,type=83\\n' | sfdisk -q two.img\n"
    "place boot.fs two.img 1; place bare.fs two.img 6\n"
    "printf 'label: dos\\nstart=2048,size=8192,type=83\\n' | sfdisk -q none.img\n"
    "place none.fs none.img 1\n"
    /* A kernel that is larger than is allowed, and one whose blocks are outside. */
    "cp root.fs broken.fs; cp root.fs large.fs\n"
    "debugfs -w -R 'sif /boot/vmlinuz-6.1.0-10-amd64 size 0x20000000' large.fs\n"
    "tail -c +1 root.fs | head -c 1M >short.fs\n";

static int make_images(void **state)
{
    (void)state;
    if (!image_folder_make())
        return -1;
    missing = image_tools_missing();
    return missing == NULL && !image_script(make_all) ? -1 : 0;
}

static int remove_images(void **state)
{
    (void)state;
    image_folder_remove();
    return 0;
}

static void skip_without_tools(void)
{
    if (missing == NULL)
        return;
    print_message("# skipped: %s\n", missing);
    skip();
}

static int find(const char *name, const char *append)
{
    struct disk *disk = NULL;

    reason.text[0] = '\0';
    assert_int_equal(disk_open(image_path(name), 0, &disk, NULL), 0);
    const struct bootdisk_wish wish = {.append = append};
    int error = bootdisk_find(disk, &wish, &images, &reason);
    (void)disk_close(disk);
    assert_int_equal(error < 0, reason.text[0] != '\0');
    return error;
}

static void expect(const char *kernel, const char *initrd, const char *command_line)
{
    assert_int_equal(images.kernel.length, strlen(kernel));
    assert_memory_equal(images.kernel.bytes, kernel, strlen(kernel));
    assert_int_equal(images.initrd.length, strlen(initrd));
    assert_memory_equal(images.initrd.bytes, initrd, strlen(initrd));
    assert_string_equal(images.command_line, command_line);
    bootdisk_release(&images);
    bootdisk_release(&images);
}

static void newest_kernel_of_a_gpt_disk_is_found(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(find("gpt.img", "quiet"), 0);
    assert_string_equal(images.kernel.name, "/boot/vmlinuz-6.1.0-10-amd64");
    assert_string_equal(images.initrd.name, "/boot/initrd.img-6.1.0-10-amd64");
    expect("new\n", "initrd\n",
           "root=PARTUUID=0a1b2c3d-0000-0000-0000-00000000000f ro net.ifnames=0 console=ttyS0"
           " quiet");
}

static void logical_partition_of_an_mbr_disk_is_named(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(find("mbr.img", NULL), 0);
    expect("new\n", "initrd\n", "root=PARTUUID=cafe0102-05 ro net.ifnames=0 console=ttyS0");
}

static void disk_without_partitions_is_a_file_system(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(find("root.fs", NULL), 0);
    expect("new\n", "initrd\n",
           "root=UUID=00112233-4455-6677-8899-aabbccddeeff ro net.ifnames=0 console=ttyS0");
}

static void kernel_of_a_boot_partition_gets_the_other_root(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(find("two.img", NULL), 0);
    expect("kernel\n", "fs\n", "root=PARTUUID=cafe0102-02 ro console=ttyS0");
}

static void disk_without_a_kernel_says_so(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(find("none.img", NULL), -ENOENT);
    assert_string_equal(reason.text,
                        "no partition with a Linux kernel in /boot was found; give --kernel");
    assert_int_equal(find("boot.fs", NULL), -ENOENT);
    assert_non_null(strstr(reason.text, "no root file system"));
    assert_null(images.kernel.bytes);
}

static void kernel_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    skip_without_tools();
    assert_int_equal(find("large.fs", NULL), -EINVAL);
    assert_non_null(strstr(reason.text, "larger than 256 MiB"));
    assert_null(images.kernel.bytes);
}

/* Every byte of metadata may be anything: an error or a result, and in time. */
static void damaged_file_systems_end_in_a_reason(void **state)
{
    uint64_t seed = 0x9e3779b97f4a7c15;
    unsigned refused = 0;
    (void)state;
    skip_without_tools();

    for (unsigned round = 0; round < 40; round++) {
        assert_true(image_script("cp root.fs broken.fs"));
        FILE *file = fopen(image_path("broken.fs"), "r+e");
        assert_non_null(file);
        for (unsigned i = 0; i < 200; i++) {
            seed = seed * 6364136223846793005 + 1442695040888963407;
            /* Superblock, descriptors, tables of inodes, first folders. */
            assert_int_equal(fseek(file, (long)(1024 + (seed >> 33) % (400 << 10)), SEEK_SET), 0);
            assert_int_not_equal(fputc((int)(seed >> 24 & 0xff), file), EOF);
        }
        (void)fclose(file);
        if (find("broken.fs", NULL) < 0)
            refused++;
        bootdisk_release(&images);
    }
    assert_int_not_equal(refused, 0);
    (void)find("short.fs", NULL);
    bootdisk_release(&images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_kernel_of_a_gpt_disk_is_found),
        cmocka_unit_test(logical_partition_of_an_mbr_disk_is_named),
        cmocka_unit_test(disk_without_partitions_is_a_file_system),
        cmocka_unit_test(kernel_of_a_boot_partition_gets_the_other_root),
        cmocka_unit_test(disk_without_a_kernel_says_so),
        cmocka_unit_test(kernel_beyond_the_limit_is_refused),
        cmocka_unit_test(damaged_file_systems_end_in_a_reason),
    };
    return cmocka_run_group_tests_name("find", tests, make_images, remove_images);
}
