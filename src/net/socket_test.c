#include "net/socket.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/lossy.h"

static struct fixture {
    struct loop *loop;
    struct net_port *port;
    int peer;
    bool link;
    unsigned take; /* frames that are taken yet */
    unsigned received, writable;
    size_t length;
    struct net_offload offload;
    uint8_t bytes[NET_MOST_FRAME];
} f;

static unsigned receive(void *owner, const struct net_frame *frames, unsigned count)
{
    unsigned i = 0;
    assert_ptr_equal(owner, &f);
    for (; i < count && f.take > 0; i++, f.take--) {
        f.received++;
        f.length = frames[i].length;
        f.offload = frames[i].offload;
        assert_int_equal(frames[i].iov_count, 1);
        memcpy(f.bytes, frames[i].iov[0].iov_base, f.length);
    }
    return i;
}

static void writable(void *owner)
{
    assert_ptr_equal(owner, &f);
    f.writable++;
}

static void link_changed(void *owner, bool up)
{
    assert_ptr_equal(owner, &f);
    f.link = up;
}

static int set_up_type(int type)
{
    static const struct net_port_user user = {&f, receive, writable, link_changed};
    int pair[2];
    struct reason reason;
    f = (struct fixture){.take = UINT32_MAX};
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(loop_create(&f.loop), 0);
    f.peer = pair[1];
    assert_int_equal(net_socket_create(f.loop, NULL, pair[0], &f.port, &reason), 0);
    f.port->ops->start(f.port, &user);
    assert_true(f.link);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_type(SOCK_SEQPACKET);
}

static int set_up_datagrams(void **state)
{
    (void)state;
    return set_up_type(SOCK_DGRAM);
}

static int tear_down(void **state)
{
    (void)state;
    f.port->ops->destroy(f.port);
    if (f.peer >= 0)
        (void)close(f.peer);
    loop_destroy(f.loop);
    return 0;
}

static void run_a_while(void)
{
    struct loop_timer *end = NULL;
    assert_int_equal(loop_timer_create(f.loop, (loop_timer_fn)loop_stop, f.loop, &end), 0);
    loop_timer_set(end, clock_monotonic_ns() + NS_PER_SECOND / 20);
    assert_int_equal(loop_run(f.loop), 0);
    loop_timer_destroy(end);
}

static void frames_go_out_behind_a_header(void **state)
{
    static uint8_t bytes[5000];
    const struct iovec iov[] = {{bytes, 100}, {bytes + 100, 4900}};
    const struct net_frame frame = {.iov = iov,
                                    .iov_count = 2,
                                    .length = 5000,
                                    .offload = {.wants_checksum = true,
                                                .checksum_start = 34,
                                                .checksum_offset = 16,
                                                .segmentation = NET_TCP4,
                                                .segment_size = 1448,
                                                .headers_length = 54}};
    const struct net_frame frames[] = {frame, frame};
    uint8_t got[6000];
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 3);
    assert_int_equal(f.port->ops->send(f.port, frames, 2), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(recv(f.peer, got, sizeof(got), MSG_DONTWAIT), 12 + 5000);
        assert_int_equal(got[0], 1);
        assert_int_equal(got[1], 1);
        assert_memory_equal(got + 12, bytes, 5000);
    }
}

static void frames_come_in_behind_a_header(void **state)
{
    uint8_t bytes[12 + 100] = {2};
    (void)state;
    for (int i = 0; i < 100; i++)
        bytes[12 + i] = (uint8_t)i;
    for (int i = 0; i < 10; i++)
        assert_int_equal(send(f.peer, bytes, sizeof(bytes), MSG_DONTWAIT), sizeof(bytes));
    assert_int_equal(send(f.peer, bytes, 12, MSG_DONTWAIT), 12); /* nothing behind it */
    run_a_while();
    assert_int_equal(f.received, 10);
    assert_int_equal(f.length, 100);
    assert_memory_equal(f.bytes, bytes + 12, 100);
    assert_true(f.offload.checksum_known);
}

static void what_is_not_taken_waits(void **state)
{
    uint8_t bytes[12 + 60] = {0};
    (void)state;
    f.take = 2;
    for (uint8_t i = 0; i < 7; i++) {
        bytes[12] = i;
        assert_int_equal(send(f.peer, bytes, sizeof(bytes), MSG_DONTWAIT), sizeof(bytes));
    }
    run_a_while();
    assert_int_equal(f.received, 2);
    f.take = 2;
    f.port->ops->resume(f.port);
    run_a_while();
    assert_int_equal(f.received, 4);
    f.take = 100;
    f.port->ops->resume(f.port);
    run_a_while();
    assert_int_equal(f.received, 7);
    assert_int_equal(f.bytes[0], 6);
}

static void a_full_socket_is_told(void **state)
{
    static uint8_t bytes[60000];
    const struct iovec iov = {bytes, sizeof(bytes)};
    const struct net_frame frame = {.iov = &iov, .iov_count = 1, .length = sizeof(bytes)};
    unsigned sent = 0;
    (void)state;
    while (sent < 10000 && f.port->ops->send(f.port, &frame, 1) == 1)
        sent++;
    assert_in_range(sent, 1, 9999);
    run_a_while();
    assert_int_equal(f.writable, 0);
    while (recv(f.peer, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    run_a_while();
    assert_int_equal(f.writable, 1);
    assert_int_equal(f.port->ops->send(f.port, &frame, 1), 1);
}

static void the_other_end_is_the_cable(void **state)
{
    static uint8_t bytes[60];
    const struct iovec iov = {bytes, sizeof(bytes)};
    const struct net_frame frame = {.iov = &iov, .iov_count = 1, .length = sizeof(bytes)};
    (void)state;
    (void)close(f.peer);
    f.peer = -1;
    run_a_while();
    assert_false(f.link);
    assert_int_equal(f.port->ops->send(f.port, &frame, 1), 1); /* lost, not waited for */
}

static void a_lossy_line_loses_its_share(void **state)
{
    static const struct net_port_user user = {&f, receive, writable, link_changed};
    static uint8_t bytes[60];
    const struct iovec iov = {bytes, sizeof(bytes)};
    const struct net_frame frame = {.iov = &iov, .iov_count = 1, .length = sizeof(bytes)};
    unsigned arrived = 0;
    (void)state;
    f.port->ops->stop(f.port);
    assert_int_equal(lossy_create(f.port, 200, &f.port), 0);
    f.port->ops->start(f.port, &user);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(f.port->ops->send(f.port, &frame, 1), 1);
        arrived += recv(f.peer, bytes, sizeof(bytes), MSG_DONTWAIT) > 0;
    }
    assert_in_range(arrived, 740, 860);
}

static void nobody_there_is_told(void **state)
{
    struct net_port *none = NULL;
    struct reason reason;
    (void)state;
    assert_int_equal(net_socket_create(f.loop, "/nonexistent/x", -1, &none, &reason), -ENOENT);
    assert_non_null(strstr(reason.text, "/nonexistent/x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(frames_go_out_behind_a_header),
        TEST(frames_come_in_behind_a_header),
        cmocka_unit_test_setup_teardown(frames_come_in_behind_a_header, set_up_datagrams,
                                        tear_down),
        TEST(what_is_not_taken_waits),
        TEST(a_full_socket_is_told),
        TEST(the_other_end_is_the_cable),
        TEST(a_lossy_line_loses_its_share),
        TEST(nobody_there_is_told),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
