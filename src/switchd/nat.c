#include "switchd/nat.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/hello.h"
#include "net/socket.h"
#include "switchd/hub.h"

enum { START_SECONDS = 10, BUFFER_BYTES = 4 << 20, FIXED_WORDS = 3 };

/* The words are constant, whatever posix_spawn() calls them. */
static int spawn(int fd, const char *const *forwards, unsigned count)
{
    const char *words[FIXED_WORDS + HUB_MOST_FORWARDS + 1] = {"partita", "switch", "nat"};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t child = -1;

    memcpy(&words[FIXED_WORDS], forwards, count * sizeof(words[0]));
    (void)sigemptyset(&none);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, fd, NAT_FD);
    (void)posix_spawn_file_actions_addclosefrom_np(&actions, NAT_FD + 1);
    int error = posix_spawn(&child, "/proc/self/exe", &actions, &attributes,
                            (char *const *)(const void *)words, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return -error;
}

/* What it says once it is ready, or cannot be. */
static int await(int fd, struct reason *reason)
{
    uint8_t bytes[WELCOME_SIZE];
    struct net_welcome welcome;
    const struct timeval limit = {.tv_sec = START_SECONDS};

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ssize_t length = recv(fd, bytes, sizeof(bytes), 0);
    if (length <= 0 || net_welcome_decode(bytes, (size_t)length, &welcome) < 0)
        return reason_set(reason, -EIO, "the process of the NAT does not start");
    return welcome.error < 0 ? reason_set(reason, welcome.error, "%.200s", welcome.reason.text) : 0;
}

/* A descriptor that the child has a number for must not be in the other's way. */
static int make_pair(int ret[2])
{
    enum { ABOVE = 10 };
    int pair[2];
    int size = BUFFER_BYTES;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ret[0] = pair[0];
    ret[1] = fcntl(pair[1], F_DUPFD_CLOEXEC, ABOVE);
    (void)close(pair[1]);
    return ret[1] < 0 ? -errno : 0;
}

int nat_create(struct loop *loop, const char *const *forwards, unsigned count,
               struct net_port **ret, struct reason *reason)
{
    int pair[2] = {-1, -1};
    int error = make_pair(pair);
    auto_close int own = pair[0];
    auto_close int childs = pair[1];

    if (error == 0)
        error = spawn(childs, forwards, count);
    if (error < 0)
        return reason_set(reason, error, "the process of the NAT: %s", strerrordesc_np(-error));
    (void)close(take_fd(&childs));
    error = await(own, reason);
    return error < 0 ? error : net_socket_create(loop, NULL, take_fd(&own), ret, reason);
}
