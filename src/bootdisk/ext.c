#include "bootdisk/ext.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bootdisk/ext_io.h"

enum { MOST_NAMES = 65536, PIECE = 1 << 20 };

struct ext {
    ext2_filsys fs;
};

int ext_open(struct disk *disk, uint64_t offset, uint64_t length, struct ext **ret)
{
    struct ext *ext = calloc(1, sizeof(*ext));

    if (ext == NULL)
        return -ENOMEM;
    io_manager manager = ext_io_prepare(disk, offset, length);
    errcode_t error = ext2fs_open("disk", EXT2_FLAG_64BITS, 0, 0, manager, &ext->fs);
    if (error != 0) {
        free(ext);
        return error == EXT2_ET_NO_MEMORY ? -ENOMEM : -EINVAL;
    }
    *ret = ext;
    return 0;
}

void ext_close(struct ext *ext)
{
    if (ext == NULL)
        return;
    ext2fs_free(ext->fs);
    free(ext);
}

void ext_uuid(const struct ext *ext, uint8_t ret[16])
{
    memcpy(ret, ext->fs->super->s_uuid, 16);
}

static bool find(struct ext *ext, const char *path, bool follow, ext2_ino_t *ret)
{
    errcode_t error = follow ? ext2fs_namei_follow(ext->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, ret)
                             : ext2fs_namei(ext->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, ret);
    return error == 0;
}

mode_t ext_type(struct ext *ext, const char *path, bool follow)
{
    struct ext2_inode inode;
    ext2_ino_t number = 0;

    if (!find(ext, path, follow, &number) || ext2fs_read_inode(ext->fs, number, &inode) != 0)
        return 0;
    return inode.i_mode & S_IFMT;
}

/* ---- folders ---- */

struct listing {
    ext_name_fn each;
    void *owner;
    unsigned count;
};

/* The type is libext2fs's. NOLINTNEXTLINE(readability-non-const-parameter) */
static int list_entry(struct ext2_dir_entry *entry, int offset, int block_size, char *block,
                      void *owner)
{
    struct listing *listing = owner;
    char name[EXT2_NAME_LEN + 1];
    int length = ext2fs_dirent_name_len(entry);

    (void)offset;
    (void)block_size;
    (void)block;
    if (++listing->count > MOST_NAMES)
        return DIRENT_ABORT;
    memcpy(name, entry->name, (size_t)length);
    name[length] = '\0';
    listing->each(listing->owner, name);
    return 0;
}

int ext_list(struct ext *ext, const char *path, ext_name_fn each, void *owner)
{
    struct listing listing = {.each = each, .owner = owner};
    ext2_ino_t number = 0;

    if (!find(ext, path, true, &number))
        return -ENOENT;
    return ext2fs_dir_iterate(ext->fs, number, 0, NULL, list_entry, &listing) == 0 ? 0 : -EINVAL;
}

/* ---- files ---- */

static int read_pieces(ext2_file_t file, uint8_t *piece, uint64_t length,
                       const struct ext_reader *reader)
{
    int error = reader->first(reader->owner, length);

    while (error == 0 && length > 0) {
        unsigned got = 0;
        unsigned wanted = length < PIECE ? (unsigned)length : PIECE;
        if (ext2fs_file_read(file, piece, wanted, &got) != 0 || got == 0 || got > wanted)
            return -EINVAL;
        error = reader->next(reader->owner, piece, got);
        length -= got;
    }
    return error;
}

int ext_read(struct ext *ext, const char *path, const struct ext_reader *reader)
{
    struct ext2_inode inode;
    ext2_file_t file = NULL;
    ext2_ino_t number = 0;

    if (!find(ext, path, true, &number))
        return -ENOENT;
    if (ext2fs_read_inode(ext->fs, number, &inode) != 0 || !LINUX_S_ISREG(inode.i_mode))
        return -EINVAL;
    uint8_t *piece = malloc(PIECE);
    if (piece == NULL)
        return -ENOMEM;
    int error = -EINVAL;
    if (ext2fs_file_open(ext->fs, number, 0, &file) == 0) {
        error = read_pieces(file, piece, EXT2_I_SIZE(&inode), reader);
        (void)ext2fs_file_close(file);
    }
    free(piece);
    return error;
}
