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
    *state = guest_create(3);
    return 0;
}

static int tear_down(void **state)
{
    guest_destroy(*state);
    return 0;
}

static void linux_goes_through_its_sequence(void **state)
{
    struct guest *g = *state;
    assert_int_equal(fake_guest_open(guest_channel(g, 0)), 0);
    assert_int_equal(guest_operate(g, STORVSP_BEGIN_INITIALIZATION, 0), NT_SUCCESS);
    assert_int_equal(g->answer.length, 64);
    assert_int_equal(guest_operate(g, STORVSP_QUERY_PROTOCOL_VERSION, STORVSP_VERSION_6_2),
                     NT_SUCCESS);
    assert_int_equal(get_le16(g->answer.payload + STORVSP_AT_VERSION), STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_QUERY_PROPERTIES, 0xffff), NT_SUCCESS);
    assert_int_equal(get_le32(g->answer.payload + 12), 0);
    assert_int_equal(get_le16(g->answer.payload + 16), 3);
    assert_int_equal(get_le32(g->answer.payload + 20), 1);
    assert_int_equal(get_le32(g->answer.payload + 24), 1 << 20);
    assert_int_equal(guest_operate(g, STORVSP_END_INITIALIZATION, 0), NT_SUCCESS);
    assert_int_equal(fake_vmbus_offers(g->vmbus), 1);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 2), NT_SUCCESS);
    assert_int_equal(fake_vmbus_offers(g->vmbus), 3);
    assert_non_null(guest_channel(g, 2));
    assert_int_equal(fake_guest_open(guest_channel(g, 1)), 0);
    assert_int_equal(fake_guest_open(guest_channel(g, 2)), 0);
}

static void unknown_versions_are_refused_until_one_is_known(void **state)
{
    struct guest *g = *state;
    static const uint16_t unknown[] = {0, 1, 0x0100, 0x0603, 0x0700, 0xffff};
    static const uint16_t known[] = {0x0200, 0x0402, 0x0501, 0x0600, 0x0602};
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_int_equal(fake_guest_open(guest_channel(g, 0)), 0);
        assert_int_equal(guest_operate(g, STORVSP_BEGIN_INITIALIZATION, 0), NT_SUCCESS);
        for (unsigned k = 0; k < sizeof(unknown) / sizeof(unknown[0]); k++)
            assert_int_equal(guest_operate(g, STORVSP_QUERY_PROTOCOL_VERSION, unknown[k]),
                             NT_REVISION_MISMATCH);
        assert_int_equal(guest_operate(g, STORVSP_QUERY_PROTOCOL_VERSION, known[i]), NT_SUCCESS);
        assert_int_equal(guest_operate(g, STORVSP_QUERY_PROPERTIES, 0), NT_SUCCESS);
        assert_int_equal(get_le16(g->answer.payload + 16), known[i] >= 0x0501 ? 3 : 0);
        fake_guest_close(guest_channel(g, 0));
    }
}

static void steps_out_of_order_are_refused(void **state)
{
    struct guest *g = *state;
    assert_int_equal(fake_guest_open(guest_channel(g, 0)), 0);
    assert_int_equal(guest_operate(g, STORVSP_END_INITIALIZATION, 0), NT_INVALID_DEVICE_STATE);
    assert_int_equal(guest_operate(g, STORVSP_QUERY_PROPERTIES, 0), NT_INVALID_DEVICE_STATE);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_INVALID_REQUEST);
    assert_int_equal(guest_status(g), NT_INVALID_DEVICE_STATE);
    assert_int_equal(guest_operate(g, STORVSP_RESET_BUS, 0), NT_INVALID_DEVICE_STATE);
    assert_int_equal(guest_operate(g, STORVSP_BEGIN_INITIALIZATION, 0), NT_SUCCESS);
    assert_int_equal(guest_operate(g, STORVSP_BEGIN_INITIALIZATION, 0), NT_INVALID_DEVICE_STATE);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 1), NT_INVALID_DEVICE_STATE);
    assert_int_equal(guest_operate(g, 0, 0), NT_INVALID_PARAMETER);
    assert_int_equal(guest_operate(g, 12, 0), NT_INVALID_PARAMETER); /* Fibre Channel's */
    assert_int_equal(guest_operate(g, STORVSP_COMPLETE_IO, 0), NT_INVALID_PARAMETER);
    assert_int_equal(guest_operate(g, 0x80000003, 0), NT_INVALID_PARAMETER);
}

static void subchannels_are_made_once_and_go_with_the_primary(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 0), NT_INVALID_PARAMETER);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 4), NT_INVALID_PARAMETER);
    fake_vmbus_refuse_offer(g->vmbus, -ENOMEM);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 3), NT_IO_DEVICE_ERROR);
    assert_int_equal(fake_vmbus_offers(g->vmbus), 1);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 3), NT_SUCCESS);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 3), NT_INVALID_DEVICE_STATE);
    assert_int_equal(fake_guest_open(guest_channel(g, 3)), 0);
    fake_guest_close(guest_channel(g, 0));
    assert_int_equal(fake_vmbus_offers(g->vmbus), 1);
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 1), NT_SUCCESS);
}

/* A guest that has been told to let go of the old ones may not have done so yet. */
static void subchannels_that_linger_are_not_made_again(void **state)
{
    struct guest *g = *state;
    fake_vmbus_keep_withdrawn(g->vmbus, true);
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 2), NT_SUCCESS);
    fake_guest_close(guest_channel(g, 0));
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 3), NT_IO_DEVICE_ERROR);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_SUCCESS);
    fake_vmbus_keep_withdrawn(g->vmbus, false);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 3), NT_SUCCESS);
}

static void old_versions_have_no_subchannels(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_4_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 1), NT_INVALID_PARAMETER);
}

static void subchannel_does_not_set_up_the_controller(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 1), NT_SUCCESS);
    struct vmbus_channel *channel = guest_channel(g, 1);
    assert_int_equal(fake_guest_open(channel), 0);
    struct fake_packet packet = {
        .type = VMBUS_PACKET_DATA_INBAND, .length = 64, .payload = {STORVSP_CREATE_SUB_CHANNELS}};
    assert_true(fake_guest_put(channel, &packet));
    fake_guest_signal(channel);
    assert_true(guest_take(g, 1));
    assert_int_equal(guest_status(g), NT_INVALID_DEVICE_STATE);
    packet.payload[0] = STORVSP_RESET_BUS;
    assert_true(fake_guest_put(channel, &packet));
    fake_guest_signal(channel);
    assert_true(guest_take(g, 1));
    assert_int_equal(guest_status(g), NT_SUCCESS);
}

static void resets_reach_their_units(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_RESET_BUS, 0), NT_SUCCESS);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    assert_int_equal(g->answer.payload[STORVSP_AT_CDB + 12], 0x29);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_SUCCESS);
    assert_int_equal(guest_test_ready(g, 2), SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    struct fake_packet packet = {
        .type = VMBUS_PACKET_DATA_INBAND, .length = 64, .payload = {STORVSP_RESET_LUN}};
    packet.payload[STORVSP_AT_LUN] = 2;
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    packet.payload[STORVSP_AT_LUN] = 200; /* nobody's */
    assert_true(fake_guest_put(guest_channel(g, 0), &packet));
    fake_guest_signal(guest_channel(g, 0));
    assert_true(guest_take(g, 0));
    assert_true(guest_take(g, 0));
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_SUCCESS);
    assert_int_equal(guest_test_ready(g, 2), SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
}

static void answers_are_as_long_as_their_packets(void **state)
{
    struct guest *g = *state;
    static const size_t lengths[][2] = {{0, 48}, {3, 48}, {12, 48}, {48, 48}, {60, 60}, {64, 64}};
    assert_int_equal(fake_guest_open(guest_channel(g, 0)), 0);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct fake_packet packet = {.type = VMBUS_PACKET_DATA_INBAND,
                                     .length = lengths[i][0],
                                     .payload = {STORVSP_END_INITIALIZATION}};
        assert_true(fake_guest_put(guest_channel(g, 0), &packet));
        fake_guest_signal(guest_channel(g, 0));
        assert_true(guest_take(g, 0));
        assert_int_equal(g->answer.length, lengths[i][1]);
        assert_int_not_equal(guest_status(g), NT_SUCCESS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(linux_goes_through_its_sequence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_versions_are_refused_until_one_is_known, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(steps_out_of_order_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(subchannels_are_made_once_and_go_with_the_primary, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(subchannels_that_linger_are_not_made_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(old_versions_have_no_subchannels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(subchannel_does_not_set_up_the_controller, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(resets_reach_their_units, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_are_as_long_as_their_packets, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
