/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/hv_fixture.h"
/* clang-format on */

static unsigned messages, events;

static enum hv_status on_message(void *owner, const struct hv_message *message)
{
    (void)owner;
    messages += message->length;
    return HV_STATUS_INSUFFICIENT_BUFFERS;
}

static enum hv_status on_event(void *owner, uint16_t flag)
{
    (void)owner;
    events += flag;
    return HV_STATUS_SUCCESS;
}

static void ids_lead_to_their_ports(void **state)
{
    struct fixture *f = *state;
    const struct hv_port talks = {.message = on_message};
    const struct hv_port rings = {.event = on_event};
    const struct hv_message message = {.type = 1, .length = 7};
    for (uint32_t id = 100; id > 0; id--)
        assert_int_equal(hv_port_connect(f->hv, id * 2, id % 2 != 0 ? &talks : &rings), 0);
    assert_int_equal(hv_port_connect(f->hv, 14, &talks), -EEXIST);
    messages = 0;
    events = 0;
    assert_int_equal(port_message(f->hv, 14, &message), HV_STATUS_INSUFFICIENT_BUFFERS);
    assert_int_equal(messages, 7);
    assert_int_equal(port_event(f->hv, 14, 3), HV_STATUS_INVALID_CONNECTION_ID);
    assert_int_equal(port_event(f->hv, 12, 3), HV_STATUS_SUCCESS);
    assert_int_equal(events, 3);
    assert_int_equal(port_message(f->hv, 15, &message), HV_STATUS_INVALID_CONNECTION_ID);
}

static void disconnected_ports_are_silent(void **state)
{
    struct fixture *f = *state;
    const struct hv_port rings = {.event = on_event};
    for (uint32_t id = 1; id < 50; id++)
        assert_int_equal(hv_port_connect(f->hv, id, &rings), 0);
    hv_port_disconnect(f->hv, 25);
    hv_port_disconnect(f->hv, 25);
    hv_port_disconnect(f->hv, 1000);
    assert_int_equal(port_event(f->hv, 25, 0), HV_STATUS_INVALID_CONNECTION_ID);
    assert_int_equal(port_event(f->hv, 24, 0), HV_STATUS_SUCCESS);
    assert_int_equal(port_event(f->hv, 49, 0), HV_STATUS_SUCCESS);
    assert_int_equal(hv_port_connect(f->hv, 25, &rings), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HV_TEST(ids_lead_to_their_ports),
        HV_TEST(disconnected_ports_are_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
