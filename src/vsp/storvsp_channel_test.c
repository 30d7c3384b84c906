/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>

#include "tests/harness/storvsc_guest.h"

static int set_up(void **state)
{
    struct guest *g = guest_create(2);
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 2), NT_SUCCESS);
    assert_int_equal(fake_guest_open(guest_channel(g, 1)), 0);
    assert_int_equal(fake_guest_open(guest_channel(g, 2)), 0);
    *state = g;
    return 0;
}

static int tear_down(void **state)
{
    guest_destroy(*state);
    return 0;
}

/* Put `count` reads on a channel, ids from `first` on. */
static void put_reads(struct guest *g, uint16_t channel, uint64_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct guest_command read = guest_move(0, false, i, 1, 0x100000 + i * UINT64_C(512));
        read.channel = channel;
        read.id = first + i;
        assert_true(guest_put(g, &read));
    }
}

static void take_reads(struct guest *g, uint16_t channel, uint64_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_true(guest_take(g, channel));
        assert_int_equal(g->answer.transaction_id, first + i);
        assert_int_equal(g->answer.payload[STORVSP_AT_SRB_STATUS], SRB_STATUS_SUCCESS);
    }
}

static void each_channel_gets_its_own_answers(void **state)
{
    struct guest *g = *state;
    g->disk[0]->late = true;
    for (uint16_t i = 0; i < 3; i++) {
        put_reads(g, i, i * UINT64_C(1000), 100);
        fake_guest_signal(guest_channel(g, i));
    }
    assert_int_equal(g->disk[0]->pending_count, 300);
    for (unsigned i = 0; i < 150; i++) { /* from both ends */
        fake_disk_end(g->disk[0], g->disk[0]->pending_count - 1);
        fake_disk_end(g->disk[0], 0);
    }
    for (uint16_t i = 0; i < 3; i++) {
        unsigned taken = 0;
        for (; guest_take(g, i); taken++)
            assert_int_equal(g->answer.transaction_id / 1000, i);
        assert_int_equal(taken, 100);
    }
}

static void reading_stops_when_the_pool_is_used_up(void **state)
{
    struct guest *g = *state;
    g->disk[0]->late = true;
    put_reads(g, 0, 0, FAKE_RING);
    fake_guest_signal(guest_channel(g, 0));
    assert_int_equal(g->disk[0]->pending_count, STORVSP_POOL);
    assert_int_equal(fake_guest_left(guest_channel(g, 0)), FAKE_RING - STORVSP_POOL);
    fake_disk_end(g->disk[0], 0); /* one goes, one comes, without a signal */
    assert_int_equal(g->disk[0]->pending_count, STORVSP_POOL);
    assert_int_equal(fake_guest_left(guest_channel(g, 0)), FAKE_RING - STORVSP_POOL - 1);
    fake_disk_end_all(g->disk[0]);
    take_reads(g, 0, 0, FAKE_RING);
    assert_false(guest_take(g, 0));
}

static void answers_wait_for_room_in_the_ring(void **state)
{
    struct guest *g = *state;
    fake_guest_set_room(guest_channel(g, 0), 3);
    put_reads(g, 0, 0, FAKE_RING);
    fake_guest_signal(guest_channel(g, 0));
    /* Three are in the ring; a pool of others waits; the rest is not read. */
    assert_int_equal(fake_guest_left(guest_channel(g, 0)), FAKE_RING - 3 - STORVSP_POOL);
    take_reads(g, 0, 0, FAKE_RING);
    assert_false(guest_take(g, 0));
    assert_int_equal(fake_guest_left(guest_channel(g, 0)), 0);
}

static void answers_keep_their_order(void **state)
{
    struct guest *g = *state;
    g->disk[0]->late = true;
    fake_guest_set_room(guest_channel(g, 0), 1);
    put_reads(g, 0, 0, 4);
    fake_guest_signal(guest_channel(g, 0));
    for (unsigned i = 0; i < 3; i++)
        fake_disk_end(g->disk[0], 0); /* one is in the ring, two wait */
    fake_guest_set_room(guest_channel(g, 0), FAKE_RING);
    fake_disk_end(g->disk[0], 0);
    take_reads(g, 0, 0, 4);
}

static void news_of_the_bus_wait_for_room_too(void **state)
{
    struct guest *g = *state;
    fake_guest_set_room(guest_channel(g, 0), 2);
    put_reads(g, 0, 0, 4);
    fake_guest_signal(guest_channel(g, 0));
    assert_int_equal(storvsp_add(g->storvsp, 5, g->target[1]), 0);
    assert_int_equal(storvsp_add(g->storvsp, 6, g->target[3]), 0);
    take_reads(g, 0, 0, 4);
    assert_true(guest_take(g, 0)); /* once for both */
    assert_false(g->answer.completion);
    assert_int_equal(g->answer.transaction_id, 0);
    assert_int_equal(get_le32(g->answer.payload), STORVSP_ENUMERATE_BUS);
    assert_false(guest_take(g, 0));
}

static void close_drops_what_is_in_flight(void **state)
{
    struct guest *g = *state;
    g->disk[0]->late = true;
    put_reads(g, 0, 0, 10);
    put_reads(g, 1, 100, 10);
    fake_guest_signal(guest_channel(g, 0));
    fake_guest_signal(guest_channel(g, 1));
    fake_guest_close(guest_channel(g, 0));
    assert_int_equal(fake_vmbus_offers(g->vmbus), 1);
    guest_connect(g, STORVSP_VERSION_6_0);
    put_reads(g, 0, 200, 10);
    fake_guest_signal(guest_channel(g, 0));
    assert_int_equal(g->disk[0]->pending_count, 30);
    fake_disk_end_all(g->disk[0]);
    take_reads(g, 0, 200, 10); /* and none of the old ones */
    assert_false(guest_take(g, 0));
}

static void old_commands_hold_the_pool_until_they_end(void **state)
{
    struct guest *g = *state;
    g->disk[0]->late = true;
    put_reads(g, 0, 0, 250);
    fake_guest_signal(guest_channel(g, 0));
    fake_guest_close(guest_channel(g, 0));
    guest_connect(g, STORVSP_VERSION_6_2);
    put_reads(g, 0, 1000, 10);
    fake_guest_signal(guest_channel(g, 0));
    assert_int_equal(fake_guest_left(guest_channel(g, 0)), 4);
    fake_disk_end_all(g->disk[0]);
    take_reads(g, 0, 1000, 10);
}

static void reset_of_the_machine_in_the_middle_is_survived(void **state)
{
    struct guest *g = *state;
    g->disk[0]->late = true;
    fake_guest_set_room(guest_channel(g, 0), 1);
    put_reads(g, 0, 0, 20);
    put_reads(g, 2, 0, 20);
    fake_guest_signal(guest_channel(g, 0));
    fake_guest_signal(guest_channel(g, 2));
    for (unsigned i = 0; i < 5; i++)
        fake_disk_end(g->disk[0], 0); /* four answers wait */
    vmbus_reset(g->vmbus);
    assert_int_equal(fake_vmbus_offers(g->vmbus), 1);
    fake_guest_set_room(guest_channel(g, 0), FAKE_RING);
    guest_connect(g, STORVSP_VERSION_5_1);
    fake_disk_end_all(g->disk[0]);
    assert_false(guest_take(g, 0));
    assert_int_equal(guest_test_ready(g, 0), 0 + SRB_STATUS_SUCCESS);
}

static void broken_ring_closes_the_channel_wherever_it_is_noticed(void **state)
{
    struct guest *g = *state;
    put_reads(g, 0, 0, 2);
    fake_guest_break(guest_channel(g, 0));
    fake_guest_signal(guest_channel(g, 0)); /* in a read */
    assert_false(vmbus_channel_is_open(guest_channel(g, 0)));
    guest_connect(g, STORVSP_VERSION_6_2);
    g->disk[0]->late = true;
    put_reads(g, 0, 0, 3);
    fake_guest_signal(guest_channel(g, 0));
    fake_guest_break(guest_channel(g, 0));
    fake_disk_end(g->disk[0], 1); /* in an answer */
    assert_false(vmbus_channel_is_open(guest_channel(g, 0)));
    fake_disk_end_all(g->disk[0]);
    guest_connect(g, STORVSP_VERSION_6_2);
    fake_guest_break(guest_channel(g, 0));
    assert_int_equal(storvsp_add(g->storvsp, 9, g->target[1]), 0); /* in news */
    assert_false(vmbus_channel_is_open(guest_channel(g, 0)));
    guest_connect(g, STORVSP_VERSION_6_2);
    fake_guest_set_room(guest_channel(g, 0), 1);
    g->disk[0]->late = false;
    put_reads(g, 0, 0, 5);
    fake_guest_signal(guest_channel(g, 0));
    fake_guest_break(guest_channel(g, 0));
    assert_true(guest_take(g, 0)); /* in what waited */
    assert_false(vmbus_channel_is_open(guest_channel(g, 0)));
    fake_guest_set_room(guest_channel(g, 0), FAKE_RING);
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_SUCCESS);
}

static void packets_that_cannot_be_read_are_refused(void **state)
{
    struct guest *g = *state;
    struct fake_packet packet = {
        .type = VMBUS_PACKET_DATA_INBAND, .transaction_id = 5, .length = 200};
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    packet.transaction_id = 6;
    packet.length = 64;
    packet.segment_count = VMBUS_MAX_SEGMENTS + 1;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    packet.no_completion = true;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    packet.segment_count = 0;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    packet.no_completion = false;
    packet.type = VMBUS_PACKET_COMPLETION;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    fake_guest_signal(guest_channel(g, 0));
    for (unsigned id = 5; id < 7; id++) {
        assert_true(guest_take(g, 0));
        assert_int_equal(g->answer.transaction_id, id);
        assert_int_equal(guest_status(g), NT_INVALID_PARAMETER);
        assert_int_equal(g->answer.payload[STORVSP_AT_SRB_STATUS], SRB_STATUS_INVALID_REQUEST);
    }
    assert_false(guest_take(g, 0));
}

/* ---- many in flight, over all channels, while units come and go ---- */

enum { STRESS_SLOTS = 120, STRESS_STEPS = 20000, STRESS_BLOCKS = 8 };

struct slot {
    bool busy, write;
    uint8_t lun;
};

static uint32_t seed;

static uint32_t next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

/* Slot n has its own place on the disk and in memory, so what it reads is what it last wrote. */
static void stress_send(struct guest *g, struct slot *slots, uint8_t *last)
{
    unsigned n = next_random() % STRESS_SLOTS;
    struct slot *slot = &slots[n];
    if (slot->busy)
        return;
    *slot = (struct slot){true, next_random() % 2 == 0, (uint8_t)(n % 2 * 2)};
    uint64_t gpa = 0x100000 + n * UINT64_C(8192) + (n % 3 == 0 ? 516 : 0);
    struct guest_command command =
        guest_move(slot->lun, slot->write, n * STRESS_BLOCKS, STRESS_BLOCKS, gpa);
    command.channel = (uint16_t)(n % 3);
    command.id = n + 1;
    if (slot->write) {
        last[n] = (uint8_t)next_random();
        memset(mem_pin(g->mem, gpa, 4096), last[n], 4096);
    } else {
        memset(mem_pin(g->mem, gpa, 4096), last[n] ^ 0xff, 4096);
    }
    assert_true(guest_put(g, &command));
    if (next_random() % 3 != 0)
        fake_guest_signal(guest_channel(g, command.channel));
}

static void stress_take(struct guest *g, struct slot *slots, const uint8_t *last)
{
    uint16_t channel = (uint16_t)(next_random() % 3);
    if (!guest_take(g, channel) || !g->answer.completion)
        return;
    unsigned n = (unsigned)g->answer.transaction_id - 1;
    assert_int_equal(n % 3, channel);
    assert_true(slots[n].busy);
    slots[n].busy = false;
    if (g->answer.payload[STORVSP_AT_SRB_STATUS] == SRB_STATUS_INVALID_LUN) {
        assert_int_equal(slots[n].lun, 2);
        if (slots[n].write) /* it did not happen: make the disk as if it had */
            memset(g->disk[2]->bytes + n * UINT64_C(4096), last[n], 4096);
        return;
    }
    assert_int_equal(g->answer.payload[STORVSP_AT_SRB_STATUS], SRB_STATUS_SUCCESS);
    assert_int_equal(guest_transferred(g), 4096);
    uint64_t gpa = 0x100000 + n * UINT64_C(8192) + (n % 3 == 0 ? 516 : 0);
    const uint8_t *data = mem_pin(g->mem, gpa, 4096);
    assert_int_equal(data[0], last[n]);
    assert_memory_equal(data, data + 1, 4095);
}

static void stress_plug(struct guest *g)
{
    if (g->storvsp->unit[2].target == NULL)
        assert_int_equal(storvsp_add(g->storvsp, 2, g->target[2]), 0);
    else if (!g->storvsp->unit[2].leaving)
        assert_int_equal(storvsp_remove(g->storvsp, 2, guest_removed, g), 0);
}

static void data_survives_many_in_flight_and_units_that_come_and_go(void **state)
{
    struct guest *g = *state;
    struct slot slots[STRESS_SLOTS] = {0};
    uint8_t last[STRESS_SLOTS] = {0};
    seed = 7;
    g->disk[0]->late = g->disk[2]->late = true;
    for (uint16_t i = 0; i < 3; i++)
        fake_guest_set_room(guest_channel(g, i), 5);
    for (unsigned step = 0; step < STRESS_STEPS; step++) {
        struct disk *disk = g->disk[next_random() % 2 * 2];
        unsigned choice = next_random() % 100;
        if (choice < 45)
            stress_send(g, slots, last);
        else if (choice < 75 && disk->pending_count > 0)
            fake_disk_end(disk, next_random() % disk->pending_count);
        else if (choice < 99)
            stress_take(g, slots, last);
        else
            stress_plug(g);
    }
    assert_true(g->removed > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_channel_gets_its_own_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_stops_when_the_pool_is_used_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_wait_for_room_in_the_ring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(news_of_the_bus_wait_for_room_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(close_drops_what_is_in_flight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_commands_hold_the_pool_until_they_end, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reset_of_the_machine_in_the_middle_is_survived, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(broken_ring_closes_the_channel_wherever_it_is_noticed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(packets_that_cannot_be_read_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(data_survives_many_in_flight_and_units_that_come_and_go,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
