#include "switchd/hub.h"

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
#include "net/socket.h"
#include "net/virtio_header.h"

enum { GUESTS = 3, FRAME = 80 };

static struct fixture {
    struct loop *loop;
    struct hub *hub;
    struct hub_port *ports[GUESTS];
    int peers[GUESTS];
    unsigned ended;
} f;

static void uplink_ended(void *owner, struct hub *hub)
{
    assert_ptr_equal(owner, &f);
    assert_ptr_equal(hub, f.hub);
    f.ended++;
}

static int line(struct net_port **ret)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(net_socket_create(f.loop, NULL, pair[0], ret, NULL), 0);
    return pair[1];
}

static int set_up(void **state)
{
    static const char *const names[GUESTS] = {"a", "b", "c"};
    struct hub_config config = {.name = "lan"};
    (void)state;
    f = (struct fixture){0};
    assert_int_equal(loop_create(&f.loop), 0);
    assert_int_equal(hub_create(f.loop, &config, uplink_ended, &f, &f.hub), 0);
    for (unsigned i = 0; i < GUESTS; i++) {
        struct port_settings settings;
        struct net_port *port = NULL;
        hub_default_settings(&settings);
        settings.core.mac[5] = (uint8_t)(i + 1);
        assert_int_equal(hub_add_port(f.hub, names[i], 0, &settings, &f.ports[i]), 0);
        f.peers[i] = line(&port);
        assert_int_equal(hub_plug(f.ports[i], port, -1), 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hub_destroy(f.hub);
    for (unsigned i = 0; i < GUESTS; i++)
        (void)close(f.peers[i]);
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

/* From 00:00:00:00:00:FROM to :TO; tag 0: none. Wants a checksum from byte 34 or 38 on. */
static void send_frame(int fd, uint8_t to, uint8_t from, uint8_t tag)
{
    uint8_t bytes[VIRTIO_HEADER + FRAME] = {0};
    uint8_t *frame = bytes + VIRTIO_HEADER;
    const struct net_offload offload = {
        .wants_checksum = true, .checksum_start = tag != 0 ? 38 : 34, .checksum_offset = 16};
    virtio_header_encode(&offload, bytes);
    frame[5] = to;
    frame[11] = from;
    if (tag != 0) {
        frame[12] = 0x81;
        frame[15] = tag;
    }
    frame[tag != 0 ? 16 : 12] = 0x88;
    frame[tag != 0 ? 17 : 13] = 0xb5;
    assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
}

static ssize_t got(int fd, uint8_t *ret, size_t size)
{
    return recv(fd, ret, size, MSG_DONTWAIT);
}

static void a_frame_goes_to_its_address_alone(void **state)
{
    uint8_t bytes[200];
    (void)state;
    send_frame(f.peers[0], 2, 1, 0);
    run_a_while();
    assert_int_equal(got(f.peers[1], bytes, sizeof(bytes)), VIRTIO_HEADER + FRAME);
    assert_int_equal(got(f.peers[2], bytes, sizeof(bytes)), -1);
    assert_int_equal(got(f.peers[0], bytes, sizeof(bytes)), -1);
}

static void tags_and_checksums_move_together(void **state)
{
    struct port_settings settings = f.ports[0]->settings;
    struct net_offload offload;
    uint8_t bytes[200];
    (void)state;
    settings.core.vlan = 5;
    assert_int_equal(hub_change_port(f.ports[0], &settings), 0);
    settings = f.ports[1]->settings;
    settings.core.trunk = true;
    settings.core.allowed[0] = 1 << 5;
    assert_int_equal(hub_change_port(f.ports[1], &settings), 0);
    send_frame(f.peers[0], 2, 1, 0);
    run_a_while();
    assert_int_equal(got(f.peers[1], bytes, sizeof(bytes)), VIRTIO_HEADER + FRAME + FRAME_TAG);
    assert_int_equal(virtio_header_decode(bytes, FRAME + FRAME_TAG, &offload), 0);
    assert_int_equal(offload.checksum_start, 38);
    assert_memory_equal(bytes + VIRTIO_HEADER + 12, "\x81\0\0\5\x88\xb5", 6);
    send_frame(f.peers[1], 1, 2, 5);
    run_a_while();
    assert_int_equal(got(f.peers[0], bytes, sizeof(bytes)), VIRTIO_HEADER + FRAME - FRAME_TAG);
    assert_int_equal(virtio_header_decode(bytes, FRAME - FRAME_TAG, &offload), 0);
    assert_int_equal(offload.checksum_start, 34);
    assert_memory_equal(bytes + VIRTIO_HEADER + 12, "\x88\xb5", 2);
}

static void a_line_that_has_gone_makes_room_for_another(void **state)
{
    struct net_port *other = NULL;
    (void)state;
    int peer = line(&other);
    assert_int_equal(hub_plug(f.ports[0], other, -1), -EBUSY);
    (void)close(f.peers[0]);
    run_a_while();
    assert_null(f.ports[0]->line);
    send_frame(f.peers[1], 1, 2, 0);
    run_a_while();
    assert_int_equal(f.ports[0]->unplugged, 1);
    assert_int_equal(hub_plug(f.ports[0], other, -1), 0);
    f.peers[0] = peer;
}

static void an_uplink_that_ends_is_told(void **state)
{
    struct net_port *uplink = NULL;
    (void)state;
    int peer = line(&uplink);
    assert_int_equal(hub_plug_uplink(f.hub, uplink), 0);
    send_frame(f.peers[0], 9, 1, 0);
    run_a_while();
    uint8_t bytes[200];
    assert_int_equal(got(peer, bytes, sizeof(bytes)), VIRTIO_HEADER + FRAME);
    (void)close(peer);
    run_a_while();
    assert_int_equal(f.ended, 1);
    assert_null(f.hub->ports[HUB_UPLINK].line);
}

static void ports_have_names_and_addresses_of_their_own(void **state)
{
    struct port_settings settings = f.ports[0]->settings;
    struct hub_port *port = NULL;
    (void)state;
    assert_ptr_equal(hub_find_port(f.hub, "b", 0), f.ports[1]);
    assert_null(hub_find_port(f.hub, "b", 1));
    assert_int_equal(hub_add_port(f.hub, "d", 0, &settings, &port), -EEXIST);
    assert_int_equal(hub_change_port(f.ports[1], &settings), -EEXIST);
    hub_remove_port(f.ports[0]);
    assert_int_equal(hub_add_port(f.hub, "d", 0, &settings, &port), 0);
}

/* 8000 bits a second: the burst goes at once, what is more waits. */
static void what_is_too_fast_waits(void **state)
{
    struct port_settings settings = f.ports[0]->settings;
    uint8_t bytes[200];
    unsigned count = 0;
    (void)state;
    settings.bandwidth_max = 8000;
    assert_int_equal(hub_change_port(f.ports[0], &settings), 0);
    for (unsigned i = 0; i < 1750; i++) {
        send_frame(f.peers[0], 2, 1, 0);
        if (i % 100 == 99)
            run_a_while();
        while (got(f.peers[1], bytes, sizeof(bytes)) > 0)
            count++;
    }
    assert_in_range(count, (128 << 10) / FRAME, (128 << 10) / FRAME + 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_frame_goes_to_its_address_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tags_and_checksums_move_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_that_has_gone_makes_room_for_another, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_uplink_that_ends_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ports_have_names_and_addresses_of_their_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_fast_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
