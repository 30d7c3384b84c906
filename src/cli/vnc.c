/* partita vnc: a guest's screen for programs that show such, as VNC. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/ending.h"
#include "cli/order.h"
#include "cli/place.h"
#include "cli/relay.h"
#include "control/call.h"
#include "control/socket.h"

enum { FIRST_PORT = 5900, LAST_PORT = 5999, MOST_PORT = 65535, BACKLOG = 16, ANSWER_MS = 10000 };

struct vnc_command {
    struct order_words words;
    unsigned port; /* 0: the first that is free */
    bool path, help;
};

static int take_port(void *command, const char *value)
{
    unsigned *port = &((struct vnc_command *)command)->port;

    if (place_parse_number(value, port) && *port > 0 && *port <= MOST_PORT)
        return 0;
    cli_error("vnc: --port '%s': 1 to %d is wanted", value, MOST_PORT);
    return CLI_EXIT_USAGE;
}

static int take_path(void *command, const char *value)
{
    (void)value;
    ((struct vnc_command *)command)->path = true;
    return 0;
}

static int take_help(void *command, const char *value)
{
    (void)value;
    ((struct vnc_command *)command)->help = true;
    return 0;
}

static int take_word(void *command, const char *word)
{
    return order_take_word(&((struct vnc_command *)command)->words, 1, "vnc", word);
}

const struct cli_option vnc_options[] = {
    {"port", 'p', CLI_TEXT, "PORT", NULL, "of the loopback (default: the first free from 5900)",
     take_port},
    {"path", 0, CLI_FLAG, NULL, NULL, "print where the screen's Unix socket is, and end",
     take_path},
    {"help", 'h', CLI_FLAG, NULL, NULL, "this text", take_help},
    {0},
};

static void print_help(void)
{
    (void)puts("Usage: partita vnc NAME [OPTION]...\n"
               "Let VNC viewers of this machine look at the screen of the running partition\n"
               "NAME, which was started with --video, and use its keyboard and mouse: until\n"
               "Ctrl-C. Viewers of other users than you and root are turned away. A viewer that\n"
               "takes a Unix socket needs none of this: see --path.\n");
    cli_print_options(stdout, vnc_options);
    (void)puts("\n"
               "Exit codes: 0 ended by Ctrl-C or SIGTERM, 1 no screen, no free port, or the\n"
               "partition has ended, 2 usage, 5 no such partition runs.\n"
               "\n"
               "Examples:\n"
               "  partita vnc web & vncviewer 127.0.0.1:5900\n"
               "  vncviewer $(partita vnc web --path)\n"
               "  ssh -L 5900:$(ssh HOST partita vnc web --path) HOST");
}

static int refuse(int error, const struct reason *reason)
{
    cli_error("vnc: %s", reason->text);
    return error == -ENOENT ? CLI_EXIT_NO_PARTITION : CLI_EXIT_FAILED;
}

/* ---- the port ---- */

static int listen_at(unsigned port, int *ret_fd)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int find_port(unsigned *port, int *ret_fd, struct reason *reason)
{
    unsigned last = *port != 0 ? *port : LAST_PORT;
    int error = -EADDRINUSE;

    for (unsigned at = *port != 0 ? *port : FIRST_PORT; error == -EADDRINUSE && at <= last; at++) {
        error = listen_at(at, ret_fd);
        *port = at;
    }
    return error < 0 ? reason_set(reason, error, "port %u of 127.0.0.1: %s", *port,
                                  strerrordesc_np(-error))
                     : 0;
}

/* ---- who may come ---- */

/* An address as /proc/net/tcp has it. */
static bool address_text(int fd, int (*name_of)(int, struct sockaddr *, socklen_t *), char ret[16])
{
    struct sockaddr_in address = {0};
    socklen_t length = sizeof(address);

    if (name_of(fd, (struct sockaddr *)&address, &length) < 0 || address.sin_family != AF_INET)
        return false;
    (void)snprintf(ret, 16, "%08X:%04X", address.sin_addr.s_addr, ntohs(address.sin_port));
    return true;
}

/* Lines of /proc/net/tcp: number, own address, other address, state, queues, timer, retries, user.
 */
static bool user_of(const char *line, const char *own, const char *other, unsigned long *ret)
{
    enum { BEHIND_OTHER = 4 };
    const char *at = strchr(line, ':');
    char wanted[40];

    (void)snprintf(wanted, sizeof(wanted), ": %s %s ", own, other);
    if (at == NULL || strncmp(at, wanted, strlen(wanted)) != 0)
        return false;
    at += strlen(wanted);
    for (unsigned i = 0; i < BEHIND_OTHER; i++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    *ret = strtoul(at, NULL, 10);
    return true;
}

/* The loopback is every user's; whose the other end is the kernel says. */
static bool is_ours(void *owner, int fd)
{
    char own[16];
    char other[16];
    char line[256];
    unsigned long user = 0;
    bool found = false;
    auto_fclose FILE *table = fopen("/proc/net/tcp", "re");

    (void)owner;
    if (table == NULL || !address_text(fd, getsockname, own) ||
        !address_text(fd, getpeername, other))
        return false;
    while (!found && fgets(line, sizeof(line), table) != NULL)
        found = user_of(line, other, own, &user);
    if (found && (user == geteuid() || user == 0))
        return true;
    (void)fprintf(stderr, "partita: vnc: another user's viewer was turned away\n");
    return false;
}

/* ---- the relay ---- */

struct screen_behind {
    const char *name;
    struct reason reason;
};

static int connect_screen(void *owner, int *ret_fd)
{
    struct screen_behind *behind = owner;
    return control_connect_display(behind->name, ret_fd, &behind->reason);
}

static int look_for_partition(void *owner)
{
    struct screen_behind *behind = owner;
    auto_close int fd = -1;
    return control_connect(behind->name, &fd, &behind->reason);
}

static int serve(const char *name, unsigned port)
{
    struct screen_behind behind = {name, {""}};
    auto_close int listener = -1;
    auto_close int signals = cli_watch_ending(&behind.reason);
    int error = signals < 0 ? signals : find_port(&port, &listener, &behind.reason);

    if (error < 0)
        return refuse(-EADDRINUSE, &behind.reason);
    (void)printf("VNC: 127.0.0.1:%u shows the screen of %s; Ctrl-C ends it\n", port, name);
    (void)fflush(stdout);
    const struct relay_config config = {
        .listener_fd = listener,
        .stop_fd = signals,
        .admit = is_ours,
        .connect = connect_screen,
        .look = look_for_partition,
        .owner = &behind,
    };
    error = relay_run(&config);
    if (error == -ENOENT)
        (void)reason_set(&behind.reason, error, "the partition %s has ended", name);
    if (error < 0 && behind.reason.text[0] == '\0')
        (void)reason_set(&behind.reason, error, "%s", strerrordesc_np(-error));
    return error < 0 ? refuse(-EPIPE, &behind.reason) : 0;
}

static int print_path(const char *name)
{
    char path[CONTROL_SOCKET_PATH_SIZE];
    struct reason reason = {0};
    int error = control_display_path(name, path, &reason);

    if (error < 0)
        return refuse(error, &reason);
    (void)puts(path);
    return 0;
}

/* It has to be there from the start: what is wrong is said before a viewer comes. */
static int show(const struct vnc_command *command)
{
    const char *name = command->words.words[0];
    struct reason reason = {0};
    auto_close int fd = -1;
    int error = control_open_display(name, ANSWER_MS, &fd, &reason);

    if (error < 0)
        return refuse(error, &reason);
    return command->path ? print_path(name) : serve(name, command->port);
}

int vnc_main(int argc, char **argv)
{
    struct vnc_command command = {0};
    int code = cli_parse_words(vnc_options, argc, argv, &command, take_word);

    if (code == 0 && command.help) {
        print_help();
        return 0;
    }
    if (code == 0)
        code = order_check_words(&command.words, 1, "vnc", "NAME");
    return code != 0 ? code : show(&command);
}
