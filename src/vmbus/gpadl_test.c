/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmbus/vmbus_fixture.h"
/* clang-format on */

static uint32_t created(struct bus *bus, uint32_t *ret_status)
{
    uint8_t message[240];
    uint32_t type = guest_take(bus, message);
    *ret_status = get_le32(message + GPADL_CREATED_STATUS);
    return type;
}

static void begin(struct bus *bus)
{
    uint8_t message[240];
    device_offer(bus);
    guest_connect(bus, VMBUS_VERSION(5, 3));
    SEND(bus, WIRE_REQUEST_OFFERS, 0);
    while (guest_take(bus, message) != 0)
        continue;
}

static void header(struct bus *bus, uint32_t id, uint32_t ranges, uint32_t bytes, uint32_t offset)
{
    SEND(bus, WIRE_GPADL_HEADER, 0, bus->channel->relid, id, ranges << 16, bytes, offset, 0x40, 0);
}

static void long_lists_come_in_bodies(void **state)
{
    struct bus *bus = *state;
    struct vmbus_segment segments[8];
    uint32_t status;
    size_t count;
    begin(bus);
    header(bus, 9, 1, 3 * 4096, 0x800); /* four pages, one is in the header */
    assert_int_equal(created(bus, &status), 0);
    assert_int_equal(vmbus_gpadl_segments(bus->channel, 9, segments, 8, &count), -ENOENT);
    SEND(bus, WIRE_GPADL_BODY, 0, 0, 9, 0x41, 0, 0x50, 0);
    assert_int_equal(created(bus, &status), 0);
    SEND(bus, WIRE_GPADL_BODY, 0, 0, 9, 0x60, 0, 0x61, 0); /* one too many */
    assert_int_equal(created(bus, &status), WIRE_GPADL_CREATED);
    assert_int_equal(status, 0);
    assert_int_equal(vmbus_gpadl_segments(bus->channel, 9, segments, 8, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(segments[0].gpa, 0x40800);
    assert_int_equal(segments[0].length, 0x1800); /* neighbours are joined */
    assert_int_equal(segments[1].length, 0x1000);
    assert_int_equal(segments[2].length, 0x800);
    assert_int_equal(vmbus_gpadl_segments(bus->channel, 9, segments, 2, &count), -ENOSPC);
}

static void wrong_lists_are_refused(void **state)
{
    struct bus *bus = *state;
    static const uint32_t wrong[][3] = {
        {0, 4096, 0}, {2, 4096, 0}, {1, 0, 0}, {1, 4096, 4096}, {1, UINT32_MAX, 0}};
    uint32_t status;
    begin(bus);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        header(bus, 9, wrong[i][0], wrong[i][1], wrong[i][2]);
        assert_int_equal(created(bus, &status), WIRE_GPADL_CREATED);
        assert_int_not_equal(status, 0);
    }
    header(bus, 9, 1, 4096, 0);
    assert_int_equal(created(bus, &status), WIRE_GPADL_CREATED);
    assert_int_equal(status, 0);
    header(bus, 9, 1, 4096, 0); /* the handle is taken */
    assert_int_equal(created(bus, &status), WIRE_GPADL_CREATED);
    assert_int_not_equal(status, 0);
}

static void all_lists_together_are_bounded(void **state)
{
    struct bus *bus = *state;
    uint32_t status;
    begin(bus);
    header(bus, 1, 1, (VMBUS_MAX_GPADL_PAGES - 1) * 4096u, 0);
    assert_int_equal(created(bus, &status), 0); /* it waits for its bodies */
    header(bus, 2, 1, 2 * 4096, 0);
    assert_int_equal(created(bus, &status), WIRE_GPADL_CREATED);
    assert_int_not_equal(status, 0);
}

static void a_list_that_is_torn_down_takes_its_channel_along(void **state)
{
    struct bus *bus = *state;
    uint8_t message[240];
    guest_open(bus);
    SEND(bus, WIRE_GPADL_TEARDOWN, 0, bus->channel->relid, GPADL);
    assert_int_equal(guest_take(bus, message), WIRE_GPADL_TORNDOWN);
    assert_int_equal(get_le32(message + GPADL_TORNDOWN_ID), GPADL);
    assert_int_equal(bus->closed, 1);
    SEND(bus, WIRE_GPADL_TEARDOWN, 0, bus->channel->relid, 12345); /* is answered, too */
    assert_int_equal(guest_take(bus, message), WIRE_GPADL_TORNDOWN);
}

static void pages_must_be_ram_to_be_used(void **state)
{
    struct bus *bus = *state;
    struct vmbus_segment segments[2];
    uint32_t status;
    size_t count;
    begin(bus);
    SEND(bus, WIRE_GPADL_HEADER, 0, bus->channel->relid, 3, 1 << 16, 4096, 0, 0x12345, 0x678);
    assert_int_equal(created(bus, &status), WIRE_GPADL_CREATED);
    assert_int_equal(vmbus_gpadl_segments(bus->channel, 3, segments, 2, &count), -EFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BUS_TEST(long_lists_come_in_bodies),
        BUS_TEST(wrong_lists_are_refused),
        BUS_TEST(all_lists_together_are_bounded),
        BUS_TEST(a_list_that_is_torn_down_takes_its_channel_along),
        BUS_TEST(pages_must_be_ram_to_be_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
