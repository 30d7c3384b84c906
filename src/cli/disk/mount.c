/*
 * partita disk mount: open the image, let FUSE mount it, serve until it is unmounted or a signal
 * comes, close the image.
 *
 * In the background all of that is a child's; its parent waits for the byte that says that the
 * mount works, and otherwise passes on the child's exit code. The child's messages reach the
 * terminal until then.
 */
#include "cli/disk/mount.h"

#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>

#include "base/cleanup.h"
#include "cli/disk/tool.h"
#include "cli/ending.h"
#include "cli/size.h"

struct mount {
    struct tool tool; /* its first member */
    bool read_only, foreground, allow_root;
    char *folder, *image; /* absolute: the working directory changes */
    int ready;            /* in the background: where the byte is written; else -1 */
    bool told;            /* it was */
    int signals;          /* those that end the work */
    struct fuse_session *session;
    struct mount_files files;
};

static int take_read_only(void *command, const char *value)
{
    (void)value;
    ((struct mount *)command)->read_only = true;
    return 0;
}

static int take_foreground(void *command, const char *value)
{
    (void)value;
    ((struct mount *)command)->foreground = true;
    return 0;
}

static int take_allow_root(void *command, const char *value)
{
    (void)value;
    ((struct mount *)command)->allow_root = true;
    return 0;
}

const struct cli_option disk_mount_options[] = {
    {"read-only", 'r', CLI_FLAG, NULL, NULL, "nothing can be written; several may look at a time",
     take_read_only},
    {"foreground", 'F', CLI_FLAG, NULL, NULL, "stay until it is unmounted, or Ctrl-C",
     take_foreground},
    {"allow-root", 0, CLI_FLAG, NULL, NULL, "root may use it too, as mount -o loop must",
     take_allow_root},
    {"format", 'f', CLI_WORDS, "FORMAT", "raw vhd vhdx", "raw, vhd or vhdx; else the name tells",
     tool_take_format},
    TOOL_QUIET,
    TOOL_HELP,
    {0},
};

static const char usage[] =
    "Usage: partita disk mount FILE FOLDER [OPTION]...\n"
    "Show what is on a disk as files of FOLDER: 'disk' is all of it, 'part1', 'part2' and so on\n"
    "are its partitions, whatever the image's format. They can be written, and the image is "
    "locked\n"
    "against guests and other tools, unless --read-only is there. It goes on in the background\n"
    "until 'partita disk unmount FOLDER'.\n"
    "\n"
    "Examples:\n"
    "  partita disk mount data.vhdx /mnt/data\n"
    "  mount -o loop /mnt/data/part1 /mnt/files\n"
    "  umount /mnt/files && partita disk unmount /mnt/data\n"
    "  partita disk mount clone.avhdx look --read-only\n";

/* ---- telling ---- */

/* What libfuse has to say goes into one line of ours. */
static char fuse_words[200];

__attribute__((format(printf, 2, 0))) static void note_fuse_words(enum fuse_log_level level,
                                                                  const char *format,
                                                                  va_list arguments)
{
    (void)level;
    (void)vsnprintf(fuse_words, sizeof(fuse_words), format, arguments);
    fuse_words[strcspn(fuse_words, "\n")] = '\0';
}

static int fail_in_fuse(const struct mount *mount)
{
    const char *words = fuse_words[0] != '\0' ? fuse_words : "it cannot be mounted";

    cli_error("%s: %s: %s", mount->tool.verb, mount->tool.words[1], words);
    return CLI_EXIT_FILE;
}

static void print_files(const struct mount *mount)
{
    for (unsigned i = 0; i < mount->files.count; i++) {
        const struct mount_file *file = &mount->files.files[i];
        (void)printf("%s/%s: %s\n", mount->tool.words[1], file->name, size_text(file->length).text);
    }
    (void)fflush(stdout);
}

/* From here on nobody's terminal, folder or pipe is held. */
static int leave_to_background(struct mount *mount)
{
    auto_close int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setsid();
    if (nothing < 0 || chdir("/") != 0)
        return -errno;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        (void)dup2(nothing, fd);
    if (write(mount->ready, "", 1) != 1) /* nobody waits any more: it was interrupted */
        return -errno;
    (void)close(take_fd(&mount->ready));
    return 0;
}

static void tell_ready(void *owner)
{
    struct mount *mount = owner;

    mount->told = true;
    if (!mount->tool.quiet)
        print_files(mount);
    if (mount->ready >= 0 && leave_to_background(mount) < 0)
        fuse_session_exit(mount->session);
}

/* ---- serving ---- */

/* They are only looked at between two requests, so that none is cut off. */
static int hold_signals(struct mount *mount)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};

    (void)sigaction(SIGPIPE, &ignore, NULL);
    mount->signals = cli_watch_ending(NULL);
    return mount->signals < 0 ? mount->signals : 0;
}

/* A file system on a loop device may wait for us to write: our own writes must not wait for it. */
static void promise_to_others(void)
{
    (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); /* without CAP_SYS_RESOURCE it stays as it is */
}

static int serve_one(struct mount *mount, struct fuse_buf *request)
{
    int length = fuse_session_receive_buf(mount->session, request);

    if (length > 0)
        fuse_session_process_buf(mount->session, request);
    return length < 0 && length != -EAGAIN && length != -EINTR ? length : 0;
}

/* Until it is unmounted, or a signal is there. */
static int serve(struct mount *mount)
{
    struct fuse_buf request = {.mem = NULL}; /* libfuse's memory */
    struct pollfd sources[] = {{.fd = fuse_session_fd(mount->session), .events = POLLIN},
                               {.fd = mount->signals, .events = POLLIN}};
    int error = fcntl(sources[0].fd, F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;

    while (error == 0 && !fuse_session_exited(mount->session)) {
        int count = poll(sources, sizeof(sources) / sizeof(sources[0]), -1);
        if (count < 0 && errno != EINTR)
            error = -errno;
        if (count > 0 && sources[1].revents != 0)
            break;
        if (count > 0 && sources[0].revents != 0)
            error = serve_one(mount, &request);
    }
    free(request.mem);
    return error;
}

/* ---- mounting ---- */

static int make_arguments(const struct mount *mount, struct fuse_args *ret)
{
    char *options = NULL;
    int failed = fuse_opt_add_opt(&options, "subtype=" MOUNT_SUBTYPE) |
                 fuse_opt_add_opt(&options, mount->read_only ? "ro" : "rw");

    if (failed == 0 && mount->allow_root)
        failed = fuse_opt_add_opt(&options, "allow_root");
    if (failed == 0) { /* it may have commas */
        auto_free char *source = NULL;
        failed = asprintf(&source, "fsname=%s", mount->image) < 0
                     ? -1
                     : fuse_opt_add_opt_escaped(&options, source);
    }
    if (failed == 0)
        failed = fuse_opt_add_arg(ret, "partita") | fuse_opt_add_arg(ret, "-o") |
                 fuse_opt_add_arg(ret, options);
    free(options);
    return failed != 0 ? -ENOMEM : 0;
}

static int serve_mounted(struct mount *mount)
{
    int error = serve(mount);

    fuse_session_unmount(mount->session);
    if (!mount->told)
        return fuse_words[0] != '\0' ? fail_in_fuse(mount)
                                     : tool_fail(&mount->tool, -ECANCELED, NULL);
    return error < 0 ? tool_fail(&mount->tool, error, NULL) : 0;
}

static int mount_session(struct mount *mount)
{
    struct fuse_args arguments = {0};
    int error = make_arguments(mount, &arguments);
    int code = 0;

    if (error == 0)
        error = hold_signals(mount);
    if (error < 0) {
        fuse_opt_free_args(&arguments);
        return tool_fail(&mount->tool, error, NULL);
    }
    fuse_set_log_func(note_fuse_words);
    mount->session =
        fuse_session_new(&arguments, &mount_operations, sizeof(mount_operations), &mount->files);
    if (mount->session == NULL || fuse_session_mount(mount->session, mount->folder) != 0)
        code = fail_in_fuse(mount);
    else
        code = serve_mounted(mount);
    if (mount->session != NULL)
        fuse_session_destroy(mount->session);
    fuse_opt_free_args(&arguments);
    return code;
}

/* Open, mount, serve, close: an exit code. */
static int mount_disk(struct mount *mount)
{
    const struct tool *tool = &mount->tool;
    struct disk *disk = NULL;
    struct reason reason = {""};
    int code = tool_open(tool, tool->words[0],
                         tool_flags(tool, mount->read_only ? 0 : DISK_WRITABLE), &disk);

    if (code != 0)
        return code;
    mount_files_init(&mount->files, disk, &reason);
    mount->files.ready = tell_ready;
    mount->files.owner = mount;
    if (reason.text[0] != '\0')
        cli_error("%s: %s: %s; only '%s' is there", tool->verb, tool->words[0], reason.text,
                  MOUNT_DISK_FILE);
    promise_to_others();
    code = tool_close(tool, tool->words[0], disk, mount_session(mount));
    if (code != 0 && mount->told && !mount->foreground)
        syslog(LOG_DAEMON | LOG_ERR, "partita disk mount: %s: what was written last may be lost",
               mount->image);
    return code;
}

/* ---- the process ---- */

static int find_folder(struct mount *mount)
{
    const char *name = mount->tool.words[1];
    struct stat status;

    mount->folder = realpath(name, NULL);
    if (mount->folder == NULL || stat(mount->folder, &status) != 0)
        cli_error("%s: %s: %s", mount->tool.verb, name, strerrordesc_np(errno));
    else if (!S_ISDIR(status.st_mode))
        cli_error("%s: %s: not a folder", mount->tool.verb, name);
    else
        return 0;
    return CLI_EXIT_FILE;
}

static int await_child(const struct mount *mount, pid_t child, int ready)
{
    char byte = 0;
    int status = 0;
    ssize_t got = 0;

    do
        got = read(ready, &byte, sizeof(byte));
    while (got < 0 && errno == EINTR);
    if (got == sizeof(byte))
        return 0;
    if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return WEXITSTATUS(status);
    cli_error("%s: its process has ended before it was mounted", mount->tool.verb);
    return CLI_EXIT_FAILED;
}

static int run_in_background(struct mount *mount)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return tool_fail(&mount->tool, -errno, NULL);
    auto_close int ready = ends[0];
    mount->ready = ends[1];
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        (void)close(take_fd(&ready));
        return mount_disk(mount);
    }
    (void)close(take_fd(&mount->ready));
    return child < 0 ? tool_fail(&mount->tool, -errno, NULL) : await_child(mount, child, ready);
}

int disk_mount_main(int argc, char **argv)
{
    static struct mount mount; /* with the bytes of an answer: too large for a stack */

    mount.tool = (struct tool){.most_words = 2, .wanted = "an image and a folder are wanted"};
    mount.ready = mount.signals = -1;
    int code = tool_parse(&mount.tool, disk_mount_options, 2, usage, argc, argv);
    if (code != 0)
        return code < 0 ? 0 : code;
    code = find_folder(&mount);
    mount.image = realpath(mount.tool.words[0], NULL);
    if (code == 0 && mount.image == NULL)
        code = tool_fail(&mount.tool, -errno, NULL);
    if (code == 0)
        code = mount.foreground ? mount_disk(&mount) : run_in_background(&mount);
    free(mount.folder);
    free(mount.image);
    return code;
}
