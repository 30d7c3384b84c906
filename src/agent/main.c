/*
 * partita-agent: runs in a guest and does what the host orders over a socket of Hyper-V's, as root.
 *
 *   partita-agent                serve orders of the host, for ever
 *   partita-agent connect PORT   connect to this port of the host; standard input and output are it
 *   partita-agent listen PORT    the same for one connection from the host
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/frame.h"
#include "agent/pipe.h"
#include "agent/serve.h"

/* The kernel's own patience of 2 seconds is short for a guest that has too much to do. */
enum { BACKLOG = 64, EXIT_USAGE = 2, RETRY_SECONDS = 1, CONNECT_SECONDS = 10 };

static int fail(const char *what)
{
    (void)fprintf(stderr, "partita-agent: %s: %s\n", what, strerrordesc_np(errno));
    return EXIT_FAILURE;
}

static int listen_on(unsigned port)
{
    const struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = error;
    return -1;
}

/* Only the host may give orders: programs in the guest can reach the port by the loopback. */
static int accept_host(int listener)
{
    struct sockaddr_vm peer = {0};
    socklen_t length = sizeof(peer);
    int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);

    if (fd >= 0 && peer.svm_cid != VMADDR_CID_HOST) {
        (void)close(fd);
        errno = EAGAIN;
        return -1;
    }
    return fd;
}

/* A process a connection: what one does is no business of the others. */
static void serve_apart(int listener, int fd)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)close(listener);
        (void)signal(SIGCHLD, SIG_DFL);
        serve_connection(fd);
        _exit(0);
    }
    (void)close(fd);
}

static int serve_all(void)
{
    int listener = listen_on(AGENT_PORT);

    if (listener < 0)
        return fail("cannot listen for the host");
    (void)signal(SIGCHLD, SIG_IGN); /* no child is waited for */
    if (chdir("/") < 0)
        return fail("/");
    for (;;) {
        int fd = accept_host(listener);
        if (fd >= 0)
            serve_apart(listener, fd);
        else if (errno != EAGAIN && errno != EINTR)
            (void)sleep(RETRY_SECONDS); /* NOLINT(concurrency-mt-unsafe) */
    }
}

static int connect_to(unsigned port)
{
    const struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_HOST};
    const struct timeval patience = {.tv_sec = CONNECT_SECONDS};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 ||
        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof(patience)) < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return fail("cannot connect to the host");
    return pipe_both(fd);
}

static int listen_once(unsigned port)
{
    int listener = listen_on(port);
    int fd = listener >= 0 ? accept_host(listener) : -1;

    if (fd < 0)
        return fail("cannot listen for the host");
    (void)close(listener);
    return pipe_both(fd);
}

int main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long port = argc == 3 ? strtoul(argv[2], &end, 10) : 0;

    if (argc == 1)
        return serve_all();
    if (argc == 3 && argv[2][0] != '\0' && *end == '\0' && strcmp(argv[1], "connect") == 0)
        return connect_to((unsigned)port);
    if (argc == 3 && argv[2][0] != '\0' && *end == '\0' && strcmp(argv[1], "listen") == 0)
        return listen_once((unsigned)port);
    (void)fputs("Usage: partita-agent [connect PORT | listen PORT]\n", stderr);
    return EXIT_USAGE;
}
