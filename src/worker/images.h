/* The files of a boot, kept for as long as the machine may boot them again. */
#ifndef WORKER_IMAGES_H
#define WORKER_IMAGES_H

#include "bootdisk/bootdisk.h"
#include "worker/worker.h"

/* Points into itself: it is not moved. */
struct images {
    struct boot_config boot;
    struct boot_module modules[BOOT_MAX_MODULES];
    struct bootdisk_images found; /* names and command line of what images_find() found */
};

/* Fill `images->boot` from the paths of `config`; -errno and a reason that names the file. */
int images_read(const struct worker_config *config, struct images *images, struct reason *reason);
/*
 * Fill it with the kernel, the initrd and the command line of a disk's own file systems; what the
 * configuration has of an initrd and of a command line replaces the first and ends the second. The
 * reason does not name the disk. It forks: before there are threads.
 */
int images_find(const struct worker_config *config, struct disk *disk, struct images *images,
                struct reason *reason);
/*
 * Their bytes go where the host can do without the memory, into files without a name in $TMPDIR or
 * /var/tmp; they stay readable at the same addresses, for the next reset. What finds no room there
 * stays in memory. For before other threads read them.
 */
void images_set_aside(const struct images *images);
void images_release(struct images *images);

/* One file, copied: what happens to it later does not matter. An empty one is refused. */
int image_read(const char *path, struct boot_file *ret, struct reason *reason);
void image_release(struct boot_file *file);

#endif
