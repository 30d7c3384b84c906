#include "worker/images.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"

static int system_error(struct reason *reason, const char *path)
{
    int error = errno;
    char text[128];
    return reason_set(reason, -error, "%s: %s", path, strerror_r(error, text, sizeof(text)));
}

static int read_whole(int fd, uint8_t *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t part = read(fd, bytes + done, length - done);
        if (part < 0 && errno != EINTR)
            return -errno;
        if (part == 0) {
            errno = EIO; /* it shrank meanwhile */
            return -errno;
        }
        if (part > 0)
            done += (size_t)part;
    }
    return 0;
}

int image_read(const char *path, struct boot_file *ret, struct reason *reason)
{
    struct stat status;

    /* Non-blocking, or a named pipe without a writer would hang the open. */
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return system_error(reason, path);
    if (S_ISDIR(status.st_mode))
        return reason_set(reason, -EISDIR, "%s: is a directory", path);
    if (!S_ISREG(status.st_mode))
        return reason_set(reason, -EINVAL, "%s: not a regular file", path);
    if (status.st_size == 0)
        return reason_set(reason, -ENOEXEC, "%s: the file is empty", path);

    size_t length = (size_t)status.st_size;
    uint8_t *bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return system_error(reason, path);
    if (read_whole(fd, bytes, length) < 0) {
        int error = system_error(reason, path);
        (void)munmap(bytes, length);
        return error;
    }
    *ret = (struct boot_file){.name = path, .bytes = bytes, .length = length};
    return 0;
}

void image_release(struct boot_file *file)
{
    /* The bytes are ours, const only for their readers. */
    const union {
        const uint8_t *bytes;
        void *address;
    } ours = {file->bytes};

    if (file->bytes != NULL)
        (void)munmap(ours.address, file->length);
    *file = (struct boot_file){0};
}

/* A file without a name, on a disk if it can be: its pages are memory that the host may take. */
static int open_nameless(void)
{
    const char *folder = secure_getenv("TMPDIR");
    int fd = open(folder != NULL ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return fd >= 0 ? fd : open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static int write_whole(int fd, const uint8_t *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t part = pwrite(fd, bytes + done, length - done, (off_t)done);
        if (part < 0 && errno != EINTR)
            return -errno;
        if (part > 0)
            done += (size_t)part;
    }
    return 0;
}

static void image_set_aside(const struct boot_file *file)
{
    const union {
        const uint8_t *bytes;
        void *address;
    } ours = {file->bytes};

    if (file->bytes == NULL)
        return;
    auto_close int fd = open_nameless();
    if (fd < 0 || write_whole(fd, file->bytes, file->length) < 0)
        return;
    /* In place of the memory, in one step: where that fails the memory stays. */
    (void)mmap(ours.address, file->length, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
}

void images_set_aside(const struct images *images)
{
    image_set_aside(&images->boot.kernel);
    image_set_aside(&images->boot.initrd);
    for (size_t i = 0; i < images->boot.module_count; i++)
        image_set_aside(&images->modules[i].file);
}

static int read_modules(const struct worker_config *config, struct images *images,
                        struct reason *reason)
{
    for (size_t i = 0; i < config->module_count; i++) {
        const struct worker_module *from = &config->modules[i];
        struct boot_module *to = &images->modules[i];
        int error = image_read(from->path, &to->file, reason);
        if (error < 0)
            return error;
        to->command_line = from->command_line != NULL ? from->command_line : from->path;
        images->boot.module_count = i + 1;
    }
    return 0;
}

int images_read(const struct worker_config *config, struct images *images, struct reason *reason)
{
    images->boot.command_line = config->machine.boot.command_line;
    images->boot.modules = images->modules;
    int error = image_read(config->kernel_path, &images->boot.kernel, reason);
    if (error == 0 && config->initrd_path != NULL)
        error = image_read(config->initrd_path, &images->boot.initrd, reason);
    return error < 0 ? error : read_modules(config, images, reason);
}

/* The bytes are the images' now; the name stays where it is. */
static void take_found(struct bootdisk_file *found, struct boot_file *ret)
{
    if (found->bytes == NULL)
        return;
    *ret = (struct boot_file){.name = found->name, .bytes = found->bytes, .length = found->length};
    found->bytes = NULL;
}

int images_find(const struct worker_config *config, struct disk *disk, struct images *images,
                struct reason *reason)
{
    const struct bootdisk_wish wish = {.append = config->machine.boot.command_line,
                                       .screen = config->machine.video_width != 0};
    int error = bootdisk_find(disk, &wish, &images->found, reason);

    images->boot.modules = images->modules;
    if (error < 0)
        return error;
    take_found(&images->found.kernel, &images->boot.kernel);
    images->boot.command_line = images->found.command_line;
    if (config->initrd_path != NULL)
        error = image_read(config->initrd_path, &images->boot.initrd, reason);
    else
        take_found(&images->found.initrd, &images->boot.initrd);
    return error < 0 ? error : read_modules(config, images, reason);
}

void images_release(struct images *images)
{
    image_release(&images->boot.kernel);
    image_release(&images->boot.initrd);
    bootdisk_release(&images->found);
    for (size_t i = 0; i < BOOT_MAX_MODULES; i++)
        image_release(&images->modules[i].file);
}
