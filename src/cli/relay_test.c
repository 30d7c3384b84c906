#include "cli/relay.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 3 << 20 };

struct fixture {
    struct sockaddr_un address;
    struct relay_config config;
    pthread_t thread;
    int result, behind; /* behind: the other end of the last connection */
    int refuse;         /* what connecting says */
    int gone;           /* and looking */
    bool shut;          /* nobody may come */
};

static int connect_behind(void *owner, int *ret_fd)
{
    struct fixture *f = owner;
    int ends[2];

    if (f->refuse != 0)
        return f->refuse;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_fd = ends[0];
    f->behind = ends[1];
    return 0;
}

static bool admit(void *owner, int fd)
{
    (void)fd;
    return !((struct fixture *)owner)->shut;
}

static int look(void *owner)
{
    return ((struct fixture *)owner)->gone;
}

static void *run(void *owner)
{
    struct fixture *f = owner;
    f->result = relay_run(&f->config);
    return NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->address.sun_family = AF_UNIX; /* abstract: the kernel names it */
    socklen_t length = sizeof(f->address);
    f->config = (struct relay_config){
        .listener_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
        .stop_fd = eventfd(0, EFD_CLOEXEC),
        .admit = admit,
        .connect = connect_behind,
        .look = look,
        .owner = f,
    };
    int listener = f->config.listener_fd;
    assert_int_equal(bind(listener, (struct sockaddr *)&f->address, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&f->address, &length), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)close(f->config.listener_fd);
    (void)close(f->config.stop_fd);
    free(f);
    return 0;
}

static void begin(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

static void stop(struct fixture *f, int wanted)
{
    assert_int_equal(eventfd_write(f->config.stop_fd, 1), 0);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    assert_int_equal(f->result, wanted);
}

/* A connection to the relay. */
static int come(const struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&f->address,
                             sizeof(sa_family_t) + 6 /* the kernel's names */),
                     0);
    return fd;
}

static void read_all(int fd, uint8_t *to, size_t length)
{
    while (length > 0) {
        ssize_t count = recv(fd, to, length, 0);
        assert_true(count > 0);
        to += count;
        length -= (size_t)count;
    }
}

/* An end of one way leaves the other. */
static void bytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    uint8_t *sent = malloc(LARGE);
    uint8_t *got = malloc(LARGE);
    uint8_t byte = 0;

    assert_true(sent != NULL && got != NULL);
    for (size_t i = 0; i < LARGE; i++)
        sent[i] = (uint8_t)(i * 7 + i / 1000);
    begin(f);
    int front = come(f);
    assert_int_equal(send(front, "?", 1, 0), 1);
    while (__atomic_load_n(&f->behind, __ATOMIC_SEQ_CST) == 0)
        (void)usleep(1000);
    read_all(f->behind, &byte, 1);
    assert_int_equal(byte, '?');
    for (size_t at = 0; at < LARGE; at += 65536) {
        assert_int_equal(send(f->behind, sent + at, 65536, 0), 65536);
        read_all(front, got + at, 65536);
    }
    assert_memory_equal(sent, got, LARGE);
    assert_int_equal(shutdown(front, SHUT_WR), 0);
    assert_int_equal(recv(f->behind, &byte, 1, 0), 0); /* the end, but only of that way */
    assert_int_equal(send(f->behind, "!", 1, 0), 1);
    read_all(front, &byte, 1);
    assert_int_equal(byte, '!');
    (void)close(f->behind);
    assert_int_equal(recv(front, &byte, 1, 0), 0);
    (void)close(front);
    stop(f, 0);
    free(sent);
    free(got);
}

static void it_ends_with_what_is_behind(void **state)
{
    struct fixture *f = *state;

    f->gone = -ENOENT;
    begin(f);
    assert_int_equal(pthread_join(f->thread, NULL), 0); /* within a second or so */
    assert_int_equal(f->result, -ENOENT);
    f->gone = 0;
    f->refuse = -ENOENT;
    begin(f);
    int front = come(f);
    uint8_t byte;
    assert_int_equal(recv(front, &byte, 1, 0), 0);
    (void)close(front);
    stop(f, -ENOENT);
}

static void one_that_cannot_be_served_is_closed_alone(void **state)
{
    struct fixture *f = *state;
    uint8_t byte = 0;

    begin(f);
    int served = come(f);
    assert_int_equal(send(served, "?", 1, 0), 1);
    while (__atomic_load_n(&f->behind, __ATOMIC_SEQ_CST) == 0)
        (void)usleep(1000);
    int behind = f->behind;
    f->refuse = -ENOBUFS;
    int front = come(f);
    assert_int_equal(recv(front, &byte, 1, 0), 0);
    (void)close(front);
    f->shut = true;
    front = come(f);
    assert_int_equal(recv(front, &byte, 1, 0), 0);
    (void)close(front);
    assert_int_equal(send(behind, "!", 1, 0), 1);
    read_all(served, &byte, 1);
    assert_int_equal(byte, '!');
    (void)close(served);
    (void)close(behind);
    stop(f, 0);
}

/* Its viewer takes nothing more, what is behind has gone: neither end may be spun on. */
static void an_end_that_is_stuck_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct timespec before;
    struct timespec after;
    uint8_t *bytes = calloc(1, 65536);

    assert_non_null(bytes);
    begin(f);
    int front = come(f);
    assert_int_equal(send(front, "?", 1, 0), 1);
    while (__atomic_load_n(&f->behind, __ATOMIC_SEQ_CST) == 0)
        (void)usleep(1000);
    while (send(f->behind, bytes, 65536, MSG_DONTWAIT) > 0)
        (void)usleep(2000);
    (void)close(f->behind);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
    (void)usleep(300000);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
    int64_t spent_ms =
        (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(spent_ms < 100);
    f->gone = -ENOENT; /* and its end is seen all the same */
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    assert_int_equal(f->result, -ENOENT);
    (void)close(front);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_go_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(it_ends_with_what_is_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_served_is_closed_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_that_is_stuck_costs_nothing, setup, teardown),
    };
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
