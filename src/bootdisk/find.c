#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "bootdisk/bootdisk.h"
#include "bootdisk/child.h"
#include "bootdisk/choose.h"
#include "bootdisk/command_line.h"
#include "bootdisk/ext.h"
#include "disk/partition.h"

enum message_kind {
    MESSAGE_ROOT, /* number of the place, UUID of its file system */
    MESSAGE_KERNEL_NAME,
    MESSAGE_KERNEL,
    MESSAGE_INITRD_NAME,
    MESSAGE_INITRD,
    MESSAGE_GRUB,
    MESSAGE_KINDS,
};

enum { ROOT_SIZE = 4 + 16, MOST_KERNEL = 256 << 20, MOST_INITRD = 1 << 30, MOST_GRUB = 1 << 16 };
#define TIMEOUT_NS (UINT64_C(60) * NS_PER_SECOND)

static const uint64_t limits[MESSAGE_KINDS] = {
    [MESSAGE_ROOT] = ROOT_SIZE,     [MESSAGE_KERNEL_NAME] = BOOTDISK_NAME_SIZE - 1,
    [MESSAGE_KERNEL] = MOST_KERNEL, [MESSAGE_INITRD_NAME] = BOOTDISK_NAME_SIZE - 1,
    [MESSAGE_INITRD] = MOST_INITRD, [MESSAGE_GRUB] = MOST_GRUB,
};

/* Where a file system may be: the partitions of Linux, or the whole disk. */
struct place {
    uint64_t offset, length;
    const struct partition *partition; /* NULL: the whole disk */
};

struct search {
    struct disk *disk;
    struct partition_table table;
    struct place places[PARTITION_MOST];
    unsigned count;
};

/* ---- places ---- */

static bool may_be_linux(const struct partition_table *table, const struct partition *partition)
{
    static const char *const types[] = {
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", /* Linux root (x86-64) */
        "0fc63daf-8483-4772-8e79-3d69d8477de4", /* Linux file system data */
        "bc13c2ff-59e6-4262-a352-b275fd6f7172", /* Linux extended boot */
    };

    if (table->scheme == PARTITION_MBR)
        return partition->mbr_type == PARTITION_MBR_LINUX;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (partition_guid_is(&partition->type, types[i]))
            return true;
    }
    return false;
}

static void find_places(struct search *search)
{
    const struct partition_table *table = &search->table;

    if (table->scheme == PARTITION_NONE)
        search->places[search->count++] =
            (struct place){.length = disk_geometry(search->disk)->capacity};
    for (unsigned i = 0; i < table->count; i++) {
        const struct partition *partition = &table->partitions[i];
        if (may_be_linux(table, partition))
            search->places[search->count++] =
                (struct place){partition->offset, partition->length, partition};
    }
}

/* ---- in the child: which file system has what ---- */

static bool tree_is_file(void *owner, const char *path)
{
    return S_ISREG(ext_type(owner, path, true));
}

static void tree_list(void *owner, const char *folder, choose_name_fn each, void *each_owner)
{
    (void)ext_list(owner, folder, each, each_owner); /* a broken folder has no kernel */
}

/* A partition that is mounted at /boot has neither; a link "boot" to itself is no folder. */
static bool is_root(struct ext *ext)
{
    return S_ISDIR(ext_type(ext, "/etc", false)) || S_ISDIR(ext_type(ext, "/boot", false));
}

struct find_state {
    struct choice choice;
    unsigned kernel_place, root_place;
    bool has_kernel, has_root, in_boot; /* in_boot: the kernel is on a partition for /boot */
};

/* A root with a kernel beats a /boot partition, which beats nothing; the first of each kind. */
static void look_at(struct ext *ext, unsigned place, struct find_state *state)
{
    const struct choose_tree tree = {ext, tree_is_file, tree_list};
    struct choice choice;
    bool root = is_root(ext);
    bool kernel = choose_kernel(&tree, !root, &choice);

    if (kernel && (!state->has_kernel || (state->in_boot && root))) {
        state->has_kernel = true;
        state->in_boot = !root;
        state->kernel_place = place;
        state->choice = choice;
    }
    if (root && (!state->has_root || (kernel && state->kernel_place == place))) {
        state->has_root = true;
        state->root_place = place;
    }
}

static int look_everywhere(const struct search *search, struct find_state *state,
                           struct reason *reason)
{
    for (unsigned i = 0; i < search->count; i++) {
        const struct place *place = &search->places[i];
        struct ext *ext = NULL;
        int error = ext_open(search->disk, place->offset, place->length, &ext);
        if (error == -ENOMEM)
            return reason_set(reason, error, "out of memory");
        if (error < 0)
            continue;
        look_at(ext, i, state);
        ext_close(ext);
        if (state->has_kernel && !state->in_boot)
            break;
    }
    if (!state->has_kernel)
        return reason_set(reason, -ENOENT,
                          "no partition with a Linux kernel in /boot was found; give --kernel");
    if (!state->has_root)
        return reason_set(reason, -ENOENT,
                          "a kernel was found, but no root file system of type ext2 to ext4;"
                          " give --kernel and --append root=");
    return 0;
}

/* ---- in the child: files through the pipe ---- */

struct sending {
    struct child_pipe *pipe;
    unsigned kind;
    bool too_long;
};

static int send_first(void *owner, uint64_t length)
{
    struct sending *sending = owner;

    sending->too_long = length > limits[sending->kind];
    return sending->too_long ? -EFBIG : child_begin(sending->pipe, sending->kind, length);
}

static int send_next(void *owner, const void *bytes, size_t length)
{
    const struct sending *sending = owner;
    return child_send(sending->pipe, bytes, length);
}

static int send_file(struct ext *ext, const char *path, struct sending sending,
                     struct reason *reason)
{
    const struct ext_reader reader = {send_first, send_next, &sending};
    int error = ext_read(ext, path, &reader);

    if (error == 0)
        return 0;
    if (sending.too_long)
        return reason_set(reason, -EINVAL, "its %s is larger than %llu MiB", path,
                          (unsigned long long)(limits[sending.kind] >> 20));
    return reason_set(reason, error, "its %s cannot be read: the file system is damaged", path);
}

static int send_bytes(struct child_pipe *pipe, unsigned kind, const void *bytes, size_t length)
{
    int error = child_begin(pipe, kind, length);
    return error < 0 ? error : child_send(pipe, bytes, length);
}

static int send_kernel(const struct search *search, const struct find_state *state,
                       struct child_pipe *pipe, struct reason *reason)
{
    const struct place *place = &search->places[state->kernel_place];
    const char *kernel = state->choice.kernel;
    const char *initrd = state->choice.initrd;
    struct ext *ext = NULL;

    int error = ext_open(search->disk, place->offset, place->length, &ext);
    if (error == 0)
        error = send_bytes(pipe, MESSAGE_KERNEL_NAME, kernel, strlen(kernel));
    if (error == 0)
        error = send_file(ext, kernel, (struct sending){pipe, MESSAGE_KERNEL, false}, reason);
    if (error == 0 && *initrd != '\0') {
        error = send_bytes(pipe, MESSAGE_INITRD_NAME, initrd, strlen(initrd));
        if (error == 0)
            error = send_file(ext, initrd, (struct sending){pipe, MESSAGE_INITRD, false}, reason);
    }
    ext_close(ext);
    return error;
}

static int send_root(const struct search *search, const struct find_state *state,
                     struct child_pipe *pipe)
{
    static const char grub[] = "/etc/default/grub";
    const struct place *place = &search->places[state->root_place];
    struct sending sending = {pipe, MESSAGE_GRUB, false};
    const struct ext_reader reader = {send_first, send_next, &sending};
    uint8_t root[ROOT_SIZE];
    struct ext *ext = NULL;

    int error = ext_open(search->disk, place->offset, place->length, &ext);
    if (error < 0)
        return error;
    put_le32(root, state->root_place);
    ext_uuid(ext, root + 4);
    error = send_bytes(pipe, MESSAGE_ROOT, root, sizeof(root));
    if (error == 0 && tree_is_file(ext, grub)) {
        error = ext_read(ext, grub, &reader);
        if (error == -EFBIG)
            error = 0; /* nothing was sent: such a file says nothing */
    }
    ext_close(ext);
    return error;
}

static int search_disk(void *owner, struct child_pipe *pipe, struct reason *reason)
{
    const struct search *search = owner;
    struct find_state state = {0};

    int error = look_everywhere(search, &state, reason);
    if (error == 0)
        error = send_kernel(search, &state, pipe, reason);
    return error < 0 ? error : send_root(search, &state, pipe);
}

/* ---- in the parent: what came ---- */

static void take_file(struct child_message *name, struct child_message *bytes,
                      struct bootdisk_file *ret)
{
    memset(ret->name, '?', name->length);
    for (size_t i = 0; i < name->length; i++) {
        if (name->bytes[i] > ' ' && name->bytes[i] <= '~')
            ret->name[i] = (char)name->bytes[i];
    }
    ret->bytes = bytes->bytes;
    ret->length = bytes->length;
    *bytes = (struct child_message){0};
}

static int describe_root(const struct search *search, const struct child_message *message,
                         char *ret, size_t size)
{
    char uuid[PARTITION_GUID_TEXT];

    if (message->length != ROOT_SIZE || get_le32(message->bytes) >= search->count)
        return -EPROTO;
    const struct partition *partition = search->places[get_le32(message->bytes)].partition;
    if (partition != NULL) {
        partition_uuid_text(&search->table, partition, uuid);
        (void)snprintf(ret, size, "PARTUUID=%s", uuid);
        return 0;
    }
    /* The UUID of a file system has its bytes in the order of its text. */
    const uint8_t *b = message->bytes + 4;
    (void)snprintf(ret, size,
                   "UUID=%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
    return 0;
}

static int take_messages(const struct search *search, struct child_message *messages,
                         const struct bootdisk_wish *wish, struct bootdisk_images *ret,
                         struct reason *reason)
{
    char root[64] = "";
    char words[COMMAND_LINE_MOST_WORDS] = "";
    const struct child_message *grub = &messages[MESSAGE_GRUB];

    if (messages[MESSAGE_KERNEL].length == 0)
        return reason_set(reason, -EINVAL, "its kernel is an empty file");
    if (describe_root(search, &messages[MESSAGE_ROOT], root, sizeof(root)) < 0)
        return reason_set(reason, -EPROTO, "its file systems are damaged: reading them failed");
    if (grub->bytes != NULL)
        command_line_grub_words((const char *)grub->bytes, grub->length, words);
    int error = command_line_compose(root, words, wish, ret->command_line, reason);
    if (error < 0)
        return error;
    take_file(&messages[MESSAGE_KERNEL_NAME], &messages[MESSAGE_KERNEL], &ret->kernel);
    if (messages[MESSAGE_INITRD].length > 0)
        take_file(&messages[MESSAGE_INITRD_NAME], &messages[MESSAGE_INITRD], &ret->initrd);
    return 0;
}

static int run_search(struct search *search, const struct bootdisk_wish *wish,
                      struct bootdisk_images *ret, struct reason *reason)
{
    struct child_message messages[MESSAGE_KINDS];
    const struct child_work work = {
        .run = search_disk,
        .owner = search,
        .limits = limits,
        .kinds = MESSAGE_KINDS,
        .timeout_ns = TIMEOUT_NS,
    };
    int error = child_run(&work, messages, reason);

    if (error < 0)
        return error;
    error = take_messages(search, messages, wish, ret, reason);
    child_release(messages, MESSAGE_KINDS);
    return error;
}

int bootdisk_find(struct disk *disk, const struct bootdisk_wish *wish, struct bootdisk_images *ret,
                  struct reason *reason)
{
    struct search *search = calloc(1, sizeof(*search));

    *ret = (struct bootdisk_images){0};
    if (search == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    search->disk = disk;
    int error = partition_read(disk, &search->table, reason);
    if (error == 0) {
        find_places(search);
        error = run_search(search, wish, ret, reason);
    }
    free(search);
    return error;
}

static void release_file(struct bootdisk_file *file)
{
    if (file->bytes != NULL)
        (void)munmap(file->bytes, file->length);
    *file = (struct bootdisk_file){0};
}

void bootdisk_release(struct bootdisk_images *images)
{
    release_file(&images->kernel);
    release_file(&images->initrd);
}
