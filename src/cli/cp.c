/* partita cp: files and folders into a guest and out of it, without a network. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/request.h"
#include "agent/tree.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/guest.h"
#include "cli/order.h"
#include "cli/size.h"
#include "control/socket.h"

enum {
    EXIT_COPY = 1,
    HOST_MODES = 0777, /* no guest makes a program of root's on the host */
    PROGRESS_NS = 200000000,
};

struct cp_command {
    struct order_words words;
    unsigned wait_seconds;
    bool quiet, help;
};

#define STANDARD_OUTPUT "-"

/* One side of the copy. */
struct side {
    char name[CONTROL_NAME_SIZE]; /* "": the host */
    const char *path;
};

struct progress {
    bool shown;
    uint64_t started_ns, last_ns;
};

/* ---- options ---- */

static int take_quiet(void *command, const char *value)
{
    (void)value;
    ((struct cp_command *)command)->quiet = true;
    return 0;
}

/* As others have it; there is nothing to switch. */
static int take_recursive(void *command, const char *value)
{
    (void)command;
    (void)value;
    return 0;
}

static int take_wait(void *command, const char *value)
{
    return guest_parse_wait("cp", value, &((struct cp_command *)command)->wait_seconds);
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct cp_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct cp_command *)command)->words, 2, "cp", word);
}

const struct cli_option cp_options[] = {
    {"quiet", 'q', CLI_FLAG, NULL, NULL, "no progress on a terminal", take_quiet},
    {"recursive", 'r', CLI_FLAG, NULL, NULL, "changes nothing: folders are copied anyway",
     take_recursive},
    {"wait", 0, CLI_TEXT, "SECONDS", NULL, "so long, for a guest that still boots", take_wait},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_cp_help(void)
{
    (void)puts("Usage: partita cp SOURCE NAME:DESTINATION [OPTION]...\n"
               "       partita cp NAME:SOURCE DESTINATION [OPTION]...\n"
               "Copy a file or a folder into the guest of the running partition NAME, or out of\n"
               "it, without a network.\n");
    cli_print_options(stdout, cp_options);
    (void)puts("\n"
               "What goes to a folder that is there gets its old name in it; with SOURCE/. only\n"
               "the contents of a folder go. A path of the host with a colon begins with ./ or\n"
               "/; a path of the guest that does not begin with / is one in root's home. As\n"
               "DESTINATION of a file, - is standard output.\n"
               "\n"
               "Exit codes: 0 copied, 1 a file cannot be read or written, 2 usage, 5 no such\n"
               "partition runs, 125 no connection to the guest.\n"
               "\n"
               "Examples:\n"
               "  partita cp site.conf web:/etc/\n"
               "  partita cp web:/var/log/syslog .\n"
               "  partita cp web:/etc/hostname -");
}

/* ---- where from, where to ---- */

/* NAME:PATH, when what is before the colon can be a name. */
static void parse_side(const char *word, struct side *ret)
{
    const char *colon = strchr(word, ':');
    size_t length = colon != NULL ? (size_t)(colon - word) : 0;

    *ret = (struct side){.path = word};
    if (length == 0 || length >= sizeof(ret->name))
        return;
    memcpy(ret->name, word, length);
    if (control_name_is_valid(ret->name))
        ret->path = colon + 1;
    else
        ret->name[0] = '\0';
}

/* The last part of a path; "" when it is the contents that are meant. */
static void name_of(const char *path, char ret[NAME_MAX + 1])
{
    size_t end = strlen(path);

    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    (void)snprintf(ret, NAME_MAX + 1, "%.*s", (int)(end - start), path + start);
    if (strcmp(ret, ".") == 0 || strcmp(ret, "..") == 0)
        ret[0] = '\0';
}

/* ---- progress ---- */

static void show_progress(void *owner, uint64_t bytes)
{
    struct progress *progress = owner;
    uint64_t now = clock_monotonic_ns();

    if (now - progress->last_ns < PROGRESS_NS)
        return;
    progress->last_ns = now;
    progress->shown = true;
    double seconds = (double)(now - progress->started_ns) / NS_PER_SECOND;
    (void)fprintf(stderr, "\rcp: %s, %s/s \033[K", size_text(bytes).text,
                  size_text((uint64_t)((double)bytes / seconds)).text);
}

static void end_progress(const struct progress *progress)
{
    if (progress->shown)
        (void)fputs("\r\033[K", stderr);
}

/* ---- copying ---- */

static int send_request(const struct tree_peer *peer, enum frame_type type, const char *path,
                        const char *name, struct reason *reason)
{
    const struct copy_request request = {path, name};
    auto_free uint8_t *payload = malloc(FRAME_MOST);
    int length = payload != NULL ? copy_encode(&request, payload) : -ENOMEM;
    int error = length;

    if (length >= 0)
        error = frame_write(peer->fd, type, payload, (size_t)length);
    return error < 0
               ? reason_set(reason, error, "the guest cannot be asked: %s", strerrordesc_np(-error))
               : 0;
}

static int await_frame(const struct tree_peer *peer, enum frame_type type, struct reason *reason)
{
    struct frame frame;
    int error = frame_read(peer->reader, peer->fd, &frame);

    if (error < 0)
        return reason_set(reason, error, "the connection to the guest broke");
    return frame.type == type ? 0 : tree_refusal(&frame, reason);
}

static int copy_in(struct tree_peer *peer, const struct side *from, const struct side *to,
                   struct reason *reason)
{
    char name[NAME_MAX + 1];

    name_of(from->path, name);
    int error = send_request(peer, FRAME_PUT, to->path, name, reason);
    if (error == 0)
        error = await_frame(peer, FRAME_STARTED, reason);
    if (error == 0)
        error = tree_send(peer, from->path, reason);
    return error == 0 ? await_frame(peer, FRAME_DONE, reason) : error;
}

static int copy_out(struct tree_peer *peer, const struct side *from, const struct side *to,
                    struct reason *reason)
{
    char name[NAME_MAX + 1];

    name_of(from->path, name);
    mode_t masked = umask(0);
    struct tree_target target = {.path = to->path, .name = name, .mode_mask = HOST_MODES & ~masked};

    (void)umask(masked); /* there is no other way to ask for it */
    if (strcmp(to->path, STANDARD_OUTPUT) == 0)
        target = (struct tree_target){.path = "standard output", .stream = STDOUT_FILENO};
    int error = send_request(peer, FRAME_GET, from->path, "", reason);
    return error == 0 ? tree_receive(peer, &target, reason) : error;
}

/* Whose file it is that made trouble: what the guest says begins with its path. */
static void complain(int error, const struct side *guest, const struct reason *reason)
{
    bool of_path = strncmp(reason->text, guest->path, strlen(guest->path)) == 0;

    if (error == -EREMOTEIO)
        cli_error("cp: %s:%s%s", guest->name, of_path ? "" : " ", reason->text);
    else
        cli_error("cp: %s", reason->text);
}

static int copy(const struct cp_command *command, const struct side *from, const struct side *to)
{
    struct progress progress = {.started_ns = clock_monotonic_ns()};
    struct tree_peer peer = {.owner = &progress};
    struct reason reason = {""};
    bool inward = to->name[0] != '\0';
    auto_close int fd = -1;

    /* What is not there is said before the guest is asked. */
    if (inward && access(from->path, R_OK) < 0) {
        cli_error("cp: %s: %s", from->path, strerrordesc_np(errno));
        return EXIT_COPY;
    }
    const struct side *guest = inward ? to : from;
    int code = guest_connect("cp", guest->name, command->wait_seconds, &fd);
    if (code != 0)
        return code;
    auto_free struct frame_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL)
        return GUEST_EXIT_FAILED;
    peer.reader = reader;
    peer.fd = fd;
    if (!command->quiet && isatty(STDERR_FILENO) == 1 && strcmp(to->path, STANDARD_OUTPUT) != 0)
        peer.progress = show_progress;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): auto_free */
    int error = inward ? copy_in(&peer, from, to, &reason) : copy_out(&peer, from, to, &reason);
    end_progress(&progress);
    if (error < 0)
        complain(error, guest, &reason);
    return error < 0 ? EXIT_COPY : 0;
}

int cp_main(int argc, char **argv)
{
    struct cp_command command = {.quiet = false};
    struct side from;
    struct side to;
    int code = cli_parse_words(cp_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_cp_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&command.words, 2, "cp", "SOURCE DESTINATION");
    if (code != 0)
        return code;
    parse_side(command.words.words[0], &from);
    parse_side(command.words.words[1], &to);
    if ((from.name[0] != '\0') == (to.name[0] != '\0') || from.path[0] == '\0' ||
        to.path[0] == '\0') {
        cli_error("cp: one side is to be NAME:PATH, the other a path of the host");
        return CLI_EXIT_USAGE;
    }
    if (from.name[0] == '\0' && strcmp(from.path, STANDARD_OUTPUT) == 0) {
        cli_error("cp: '-' is standard output, and no SOURCE; a file of that name is './-'");
        return CLI_EXIT_USAGE;
    }
    return copy(&command, &from, &to);
}
