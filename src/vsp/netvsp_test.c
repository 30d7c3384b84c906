/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>

#include "base/clock.h"
#include "tests/harness/netvsc_guest.h"

static int set_up(void **state)
{
    *state = ng_create(NULL);
    return 0;
}

static int tear_down(void **state)
{
    ng_destroy(*state);
    return 0;
}

static void wrong_cards_are_refused(void **state)
{
    struct netvsc_guest *g = *state;
    struct netvsp_config config = g->netvsp->config;
    struct netvsp *none = NULL;
    struct reason reason = {""};
    assert_int_equal(netvsp_create(&config, &none, &reason), -EEXIST);
    assert_non_null(strstr(reason.text, "card 0"));
    config.card = NETVSP_MAX_CARDS;
    assert_int_equal(netvsp_create(&config, &none, &reason), -EINVAL);
    config.card = 1;
    config.mtu = NETVSP_MOST_MTU + 1;
    assert_int_equal(netvsp_create(&config, &none, &reason), -EINVAL);
    config.mtu = 1500;
    config.mac[0] = 1;
    assert_int_equal(netvsp_create(&config, &none, &reason), -EINVAL);
    netvsp_destroy(NULL);
}

static void every_version_is_spoken(void **state)
{
    static const uint32_t versions[] = {NVSP_VERSION_1, NVSP_VERSION_2, NVSP_VERSION_4,
                                        NVSP_VERSION_5, NVSP_VERSION_6, NVSP_VERSION_6_1};
    struct netvsc_guest *g = *state;
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct netvsp_report report;
        ng_connect(g, versions[i]);
        netvsp_describe(g->netvsp, &report);
        assert_int_equal(report.version, versions[i]);
        assert_true(report.used && report.link);
        assert_int_equal(report.channels, 1);
        fake_guest_close(ng_channel(g, 0));
        netvsp_describe(g->netvsp, &report);
        assert_false(report.used);
    }
}

static void the_highest_common_version_is_chosen(void **state)
{
    struct netvsc_guest *g = *state;
    assert_int_equal(fake_guest_open(ng_channel(g, 0)), 0);
    assert_true(ng_ask(g, NVSP_INIT, 0x70000, 0x80000));
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_THIRD), NVSP_UNSUPPORTED);
    assert_true(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, NG_RECEIVE_GPADL, NG_BUFFER_ID));
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), 0); /* no version yet */
    assert_true(ng_ask(g, NVSP_INIT, NVSP_VERSION_1, 0x58000));
    assert_int_equal(get_le32(g->answer.payload), NVSP_INIT_COMPLETE);
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), NVSP_VERSION_5);
}

static void buffers_are_checked(void **state)
{
    struct netvsc_guest *g = *state;
    assert_int_equal(fake_guest_open(ng_channel(g, 0)), 0);
    assert_true(ng_ask(g, NVSP_INIT, NVSP_VERSION_6_1, NVSP_VERSION_6_1));
    assert_true(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, 7, NG_BUFFER_ID));
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), NVSP_FAILURE);
    fake_vmbus_set_gpadl(g->vmbus, 3, NG_RECEIVE_AT, 4);
    assert_true(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, 3, NG_BUFFER_ID));
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), NVSP_FAILURE);
    assert_true(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, NG_RECEIVE_GPADL, NG_BUFFER_ID));
    const uint8_t *answer = g->answer.payload;
    assert_int_equal(get_le32(answer + NVSP_AT_FIRST), NVSP_SUCCESS);
    assert_int_equal(get_le32(answer + NVSP_AT_SECOND), 1);
    assert_int_equal(get_le32(answer + NVSP_AT_SECTION_OFFSET), 0);
    assert_int_equal(get_le32(answer + NVSP_AT_SECTION_SIZE), NETVSP_LARGE_SECTION);
    assert_int_equal(get_le32(answer + NVSP_AT_SECTION_COUNT) * NETVSP_LARGE_SECTION,
                     NG_RECEIVE_PAGES * 4096);
    assert_true(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, NG_RECEIVE_GPADL, NG_BUFFER_ID)); /* again */
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), NVSP_FAILURE);
}

static void small_frames_get_small_sections(void **state)
{
    struct netvsc_guest *g = *state;
    assert_int_equal(fake_guest_open(ng_channel(g, 0)), 0);
    assert_true(ng_ask(g, NVSP_INIT, NVSP_VERSION_5, NVSP_VERSION_5));
    assert_true(ng_ask(g, NVSP_SEND_RECEIVE_BUFFER, NG_RECEIVE_GPADL, NG_BUFFER_ID));
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_SECTION_SIZE), NETVSP_SMALL_SECTION);
}

static void subchannels_come_when_asked_for_and_go_with_the_primary(void **state)
{
    struct netvsc_guest *g = *state;
    ng_connect(g, NVSP_VERSION_6_1);
    assert_true(ng_ask(g, NVSP_SUBCHANNEL, 1, 99) || g->answer.length > NVSP_MESSAGE);
    bool table = !g->answer.completion;
    if (table) /* it may come first */
        assert_true(ng_take(g, 0));
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_FIRST), NVSP_SUCCESS);
    assert_int_equal(get_le32(g->answer.payload + NVSP_AT_SECOND), NG_CHANNELS - 1);
    assert_non_null(ng_channel(g, 1));
    assert_non_null(ng_channel(g, NG_CHANNELS - 1));
    assert_null(ng_channel(g, NG_CHANNELS));
    fake_guest_close(ng_channel(g, 0));
    assert_null(ng_channel(g, 1));
}

static void the_send_table_names_channels_that_exist(void **state)
{
    struct netvsc_guest *g = *state;
    ng_connect(g, NVSP_VERSION_6_1);
    (void)ng_ask(g, NVSP_SUBCHANNEL, 1, NG_CHANNELS - 1);
    while (g->answer.completion)
        assert_true(ng_take(g, 0));
    const uint8_t *message = g->answer.payload;
    assert_int_equal(get_le32(message), NVSP_INDIRECTION_TABLE);
    uint32_t count = get_le32(message + NVSP_AT_FIRST);
    uint32_t offset = get_le32(message + NVSP_AT_SECOND);
    assert_int_equal(count, NVSP_SEND_TABLE);
    assert_true(offset + count * 4 <= g->answer.length);
    for (uint32_t i = 0; i < count; i++)
        assert_true(get_le32(message + offset + (size_t)i * 4) < NG_CHANNELS);
}

/* Names of channels that the guest has not let go of are taken for a while. */
static void owed_subchannels_come_later(void **state)
{
    struct netvsc_guest *g = *state;
    ng_connect(g, NVSP_VERSION_6_1);
    fake_vmbus_refuse_offer(g->vmbus, -EEXIST);
    (void)ng_ask(g, NVSP_SUBCHANNEL, 1, 1);
    assert_null(ng_channel(g, 1));
    struct loop_timer *end = NULL;
    assert_int_equal(loop_timer_create(g->loop, (loop_timer_fn)loop_stop, g->loop, &end), 0);
    loop_timer_set(end, clock_monotonic_ns() + NS_PER_SECOND / 5);
    assert_int_equal(loop_run(g->loop), 0);
    loop_timer_destroy(end);
    assert_non_null(ng_channel(g, 1));
}

static bool take_link(struct netvsc_guest *g, uint32_t status)
{
    uint8_t message[64] = {0};
    bool taken = ng_take_transfer(g, 0, message, sizeof(message)) &&
                 get_le32(g->answer.payload + NVSP_AT_FIRST) == NVSP_CHANNEL_CONTROL &&
                 get_le32(message) == RNDIS_INDICATE_STATUS && get_le32(message + 8) == status;
    if (taken)
        ng_complete(g, 0);
    return taken;
}

static void the_guest_hears_of_its_cable(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t bytes[8];
    uint32_t length;
    ng_connect(g, NVSP_VERSION_6_1);
    netvsp_set_link(g->netvsp, false);
    assert_true(take_link(g, RNDIS_MEDIA_DISCONNECTED));
    assert_int_equal(ng_query(g, OID_CONNECT_STATUS, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(get_le32(bytes), 1);
    g->user.link(g->user.owner, false); /* it is out already */
    assert_false(ng_take(g, 0));
    netvsp_set_link(g->netvsp, true);
    assert_false(ng_take(g, 0));
    g->user.link(g->user.owner, true);
    assert_true(take_link(g, RNDIS_MEDIA_CONNECTED));
}

/* The ring is full at first; only the last state counts. */
static void news_of_the_cable_wait_for_room(void **state)
{
    struct netvsc_guest *g = *state;
    ng_connect(g, NVSP_VERSION_6_1);
    fake_guest_set_room(ng_channel(g, 0), 0);
    netvsp_set_link(g->netvsp, false);
    netvsp_set_link(g->netvsp, true);
    netvsp_set_link(g->netvsp, false);
    fake_guest_set_room(ng_channel(g, 0), 10);
    g->netvsp->channel[0].vmbus != NULL ? fake_guest_signal(ng_channel(g, 0)) : (void)0;
    assert_true(take_link(g, RNDIS_MEDIA_DISCONNECTED) || take_link(g, RNDIS_MEDIA_DISCONNECTED));
}

static void a_new_guest_finds_a_new_card(void **state)
{
    struct netvsc_guest *g = *state;
    ng_connect(g, NVSP_VERSION_6_1);
    ng_add_channels(g);
    vmbus_reset(g->vmbus);
    assert_int_equal(g->netvsp->version, 0);
    assert_int_equal(g->netvsp->filter.packets, 0);
    assert_int_equal(g->netvsp->free_count, 0);
    ng_connect(g, NVSP_VERSION_5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_cards_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_version_is_spoken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_highest_common_version_is_chosen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buffers_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_frames_get_small_sections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(subchannels_come_when_asked_for_and_go_with_the_primary,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_send_table_names_channels_that_exist, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(owed_subchannels_come_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_guest_hears_of_its_cable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(news_of_the_cable_wait_for_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_guest_finds_a_new_card, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
