/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "tests/harness/netvsc_guest.h"

static int set_up(void **state)
{
    struct netvsc_guest *g = ng_create(NULL);
    ng_connect(g, NVSP_VERSION_6_1);
    *state = g;
    return 0;
}

static int tear_down(void **state)
{
    ng_destroy(*state);
    return 0;
}

static uint8_t bytes[NETVSP_CONTROL_ANSWER];
static uint32_t length;

static void what_linux_asks_for_is_there(void **state)
{
    struct netvsc_guest *g = *state;
    assert_int_equal(ng_query(g, OID_MAXIMUM_FRAME, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(length, 4);
    assert_int_equal(get_le32(bytes), 1500);
    assert_int_equal(ng_query(g, OID_PERMANENT_ADDRESS, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(length, NET_MAC_SIZE);
    assert_memory_equal(bytes, ng_mac, NET_MAC_SIZE);
    assert_int_equal(ng_query(g, OID_FRIENDLY_NAME, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(ng_query(g, OID_CONNECT_STATUS, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(get_le32(bytes), 0);
    assert_int_equal(ng_query(g, OID_LINK_SPEED, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(ng_query(g, OID_RSS_CAPABILITIES, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(length, NDIS_RSS_CAPABILITIES);
    assert_int_equal(get_le32(bytes + NDIS_AT_RSS_QUEUES), NG_CHANNELS);
    assert_int_equal(ng_query(g, 0x12345678, bytes, &length), RNDIS_NOT_SUPPORTED);
}

static void all_that_is_listed_is_answered(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t list[NETVSP_CONTROL_ANSWER];
    uint32_t size = 0;
    assert_int_equal(ng_query(g, OID_SUPPORTED, list, &size), RNDIS_SUCCESS);
    for (uint32_t at = 0; at < size; at += 4) {
        uint32_t oid = get_le32(list + at);
        bool settable_only = oid == OID_RSS_PARAMETERS || oid == OID_CONFIG_PARAMETER ||
                             oid == OID_OFFLOAD_PARAMETERS;
        assert_int_equal(ng_query(g, oid, bytes, &length) == RNDIS_SUCCESS, !settable_only);
    }
}

static void offloads_are_of_the_guests_revision(void **state)
{
    static const struct {
        uint32_t version, size;
        uint8_t revision;
        bool coalesces;
    } rows[] = {{NVSP_VERSION_2, NDIS_OFFLOAD_6_0, 1, false},
                {NVSP_VERSION_4, NDIS_OFFLOAD_6_1, 2, false},
                {NVSP_VERSION_5, NDIS_OFFLOAD_6_30, 3, false},
                {NVSP_VERSION_6_1, NDIS_OFFLOAD_6_30, 3, true}};
    struct netvsc_guest *g = *state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake_guest_close(ng_channel(g, 0));
        ng_connect(g, rows[i].version);
        assert_int_equal(ng_query(g, OID_OFFLOAD_CAPABILITIES, bytes, &length), RNDIS_SUCCESS);
        assert_int_equal(length, rows[i].size);
        assert_int_equal(bytes[0], NDIS_OBJECT_OFFLOAD);
        assert_int_equal(bytes[1], rows[i].revision);
        assert_int_equal(get_le16(bytes + 2), rows[i].size);
        assert_true(length <= NDIS_AT_COALESCE4 || bytes[NDIS_AT_COALESCE4] == rows[i].coalesces);
        assert_int_equal(get_le32(bytes + NDIS_AT_LARGE4_MOST), NETVSP_LARGE_SEND);
    }
}

static void what_the_port_cannot_is_not_promised(void **state)
{
    struct netvsc_guest *g = *state;
    g->port.takes_offload = false;
    assert_int_equal(ng_query(g, OID_OFFLOAD_CAPABILITIES, bytes, &length), RNDIS_SUCCESS);
    assert_int_equal(get_le32(bytes + NDIS_AT_SEND4_CHECKSUM), 0);
    assert_int_equal(get_le32(bytes + NDIS_AT_LARGE4_MOST), 0);
}

static void the_port_is_told_of_the_filter(void **state)
{
    struct netvsc_guest *g = *state;
    assert_int_equal(ng_set_filter(g, NDIS_FILTER_PROMISCUOUS | NDIS_FILTER_ALL_MULTICAST),
                     RNDIS_SUCCESS);
    assert_true(g->filter.promiscuous && g->filter.all_multicast);
    assert_int_equal(ng_set(g, OID_PACKET_FILTER, bytes, 3), RNDIS_INVALID_DATA);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(ng_set(g, OID_MULTICAST_LIST, bytes, 6 * NETVSP_MULTICASTS), RNDIS_SUCCESS);
    assert_int_equal(ng_set(g, OID_MULTICAST_LIST, bytes, 6 * NETVSP_MULTICASTS + 6),
                     RNDIS_INVALID_DATA);
    assert_int_equal(ng_set(g, OID_MULTICAST_LIST, bytes, 7), RNDIS_INVALID_DATA);
}

static size_t make_address(const char *name, const char *digits)
{
    size_t name_size = strlen(name) * 2;
    size_t digits_size = strlen(digits) * 2;
    memset(bytes, 0, sizeof(bytes));
    put_le32(bytes, 20);
    put_le32(bytes + 4, (uint32_t)name_size);
    put_le32(bytes + 8, 2);
    put_le32(bytes + 12, (uint32_t)(20 + name_size));
    put_le32(bytes + 16, (uint32_t)digits_size);
    for (size_t i = 0; i < strlen(name); i++)
        put_le16(bytes + 20 + i * 2, (uint8_t)name[i]);
    for (size_t i = 0; i < strlen(digits); i++)
        put_le16(bytes + 20 + name_size + i * 2, (uint8_t)digits[i]);
    return 20 + name_size + digits_size;
}

static void a_guest_may_have_another_address(void **state)
{
    static const uint8_t wanted[] = {0x02, 0xab, 0xcd, 0xef, 0x01, 0x23};
    struct netvsc_guest *g = *state;
    size_t size = make_address("NetworkAddress", "02ABcdef0123");
    assert_int_equal(ng_set(g, OID_CONFIG_PARAMETER, bytes, size), RNDIS_SUCCESS);
    assert_memory_equal(g->filter.mac, wanted, sizeof(wanted));
    assert_int_equal(ng_query(g, OID_CURRENT_ADDRESS, bytes, &length), RNDIS_SUCCESS);
    assert_memory_equal(bytes, wanted, sizeof(wanted));
    size = make_address("NetworkAddress", "03ABcdef0123"); /* a group's */
    assert_int_equal(ng_set(g, OID_CONFIG_PARAMETER, bytes, size), RNDIS_INVALID_DATA);
    size = make_address("NetworkAddress", "02ABcdef012x");
    assert_int_equal(ng_set(g, OID_CONFIG_PARAMETER, bytes, size), RNDIS_INVALID_DATA);
    size = make_address("NetworkAddresx", "02ABcdef0123");
    assert_int_equal(ng_set(g, OID_CONFIG_PARAMETER, bytes, size), RNDIS_NOT_SUPPORTED);
    size = make_address("NetworkAddress", "02ABcdef0123");
    assert_int_equal(ng_set(g, OID_CONFIG_PARAMETER, bytes, size - 1), RNDIS_NOT_SUPPORTED);
}

static void tables_that_leave_the_message_are_refused(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t rss[40 + 16 + NDIS_RSS_KEY] = {NDIS_OBJECT_RSS_PARAMETERS, 2, 40};
    put_le16(rss + NDIS_AT_RSS_TABLE_SIZE, 16);
    put_le32(rss + NDIS_AT_RSS_TABLE_OFFSET, 40);
    put_le16(rss + NDIS_AT_RSS_KEY_SIZE, NDIS_RSS_KEY);
    put_le32(rss + NDIS_AT_RSS_KEY_OFFSET, 56);
    assert_int_equal(ng_set(g, OID_RSS_PARAMETERS, rss, sizeof(rss)), RNDIS_SUCCESS);
    assert_true(g->netvsp->rss.on);
    assert_int_equal(ng_set(g, OID_RSS_PARAMETERS, rss, sizeof(rss) - 1), RNDIS_INVALID_DATA);
    put_le32(rss + NDIS_AT_RSS_TABLE_OFFSET, 0xfffffff8);
    assert_int_equal(ng_set(g, OID_RSS_PARAMETERS, rss, sizeof(rss)), RNDIS_INVALID_DATA);
    put_le32(rss + NDIS_AT_RSS_TABLE_OFFSET, 40);
    put_le16(rss + NDIS_AT_RSS_TABLE_SIZE, 12); /* no power of two */
    assert_int_equal(ng_set(g, OID_RSS_PARAMETERS, rss, sizeof(rss)), RNDIS_INVALID_DATA);
    put_le16(rss + NDIS_AT_RSS_CHANGES, NDIS_RSS_DISABLE);
    assert_int_equal(ng_set(g, OID_RSS_PARAMETERS, rss, sizeof(rss)), RNDIS_SUCCESS);
    assert_false(g->netvsp->rss.on);
}

static void requests_are_bounded(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t message[RNDIS_REQUEST_LENGTH] = {RNDIS_SET};
    put_le32(message + RNDIS_AT_LENGTH, sizeof(message));
    put_le32(message + RNDIS_AT_OID, OID_PACKET_FILTER);
    put_le32(message + RNDIS_AT_BUFFER_LENGTH, 4);
    put_le32(message + RNDIS_AT_BUFFER_OFFSET, 20);
    assert_false(ng_request(g, message, sizeof(message), bytes, sizeof(bytes)));
    put_le32(message + RNDIS_AT_BUFFER_OFFSET, 0xfffffff0);
    assert_false(ng_request(g, message, sizeof(message), bytes, sizeof(bytes)));
    put_le32(message + RNDIS_AT_LENGTH, 0x10000);
    assert_false(ng_request(g, message, sizeof(message), bytes, sizeof(bytes)));
    put_le32(message, 99);
    put_le32(message + RNDIS_AT_LENGTH, sizeof(message));
    assert_false(ng_request(g, message, sizeof(message), bytes, sizeof(bytes)));
}

/* Nothing is kept for a guest that asks and does not listen. */
static void unheard_answers_are_few(void **state)
{
    struct netvsc_guest *g = *state;
    uint8_t message[12] = {RNDIS_KEEPALIVE};
    unsigned refused = 0;
    put_le32(message + RNDIS_AT_LENGTH, sizeof(message));
    unsigned sections = g->netvsp->free_count;
    for (unsigned i = 0; i < sections + 30; i++) {
        ng_put_rndis(g, 0, message, sizeof(message), false);
        while (ng_take(g, 0)) /* transfers are taken, but not given back */
            refused += g->answer.completion && get_le32(g->answer.payload + 4) != NVSP_SUCCESS;
    }
    assert_int_equal(refused, 30 - NETVSP_CONTROL_QUEUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_linux_asks_for_is_there),
        TEST(all_that_is_listed_is_answered),
        TEST(offloads_are_of_the_guests_revision),
        TEST(what_the_port_cannot_is_not_promised),
        TEST(the_port_is_told_of_the_filter),
        TEST(a_guest_may_have_another_address),
        TEST(tables_that_leave_the_message_are_refused),
        TEST(requests_are_bounded),
        TEST(unheard_answers_are_few),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
