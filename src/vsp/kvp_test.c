#include "vsp/kvp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/ic_guest.h"

static int setup(void **state)
{
    struct kvp *kvp = NULL;

    assert_int_equal(kvp_create(ic_guest_start(), &kvp), 0);
    ic_enable(kvp_ic(kvp), true);
    *state = kvp;
    return 0;
}

static int teardown(void **state)
{
    kvp_destroy(*state);
    ic_guest_end();
    return 0;
}

static int result;
static unsigned results;
static struct kvp_request got;

static void take_result(void *owner, int error, const struct kvp_request *answer,
                        const struct reason *reason)
{
    (void)owner;
    assert_int_equal(error < 0, reason->text[0] != '\0');
    result = error;
    results++;
    got = *answer;
}

static int ask(struct kvp *kvp, struct kvp_request request)
{
    return kvp_ask(kvp, &request, take_result, NULL, NULL);
}

static struct ic_message *take(void)
{
    static struct ic_message message;

    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, 28 + 7430);
    return &message;
}

static void set_has_both_texts(void **state)
{
    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    results = 0;
    assert_int_equal(ask(*state, (struct kvp_request){.operation = KVP_SET,
                                                      .pool = KVP_POOL_GUEST,
                                                      .key = "ab",
                                                      .value = "\xc3\xa4"}),
                     0);
    const uint8_t *body = ic_guest_body(take());
    assert_int_equal(body[0], 1);
    assert_int_equal(body[1], 1);
    assert_int_equal(get_le32(body + 4), 1); /* a text */
    assert_int_equal(get_le32(body + 8), 6);
    assert_int_equal(get_le32(body + 12), 4);
    assert_memory_equal(body + 16, "a\0b\0\0", 6);
    assert_memory_equal(body + 528, "\xe4\0\0", 4);
}

static void texts_that_are_too_long_are_refused(void **state)
{
    struct kvp_request request = {.operation = KVP_DELETE};

    assert_int_equal(ask(*state, request), -ENOTCONN);
    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    memset(request.key, 'k', 256);
    assert_int_equal(ask(*state, request), -EINVAL);
    request.key[255] = '\0';
    assert_int_equal(ask(*state, request), 0);
    assert_int_equal(get_le32(ic_guest_body(take()) + 4), 512);
    request.key[0] = '\xff';
    assert_int_equal(ask(*state, request), -EINVAL);
}

static void items_are_decoded_whatever_sizes_they_claim(void **state)
{
    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    results = 0;
    assert_int_equal(
        ask(*state,
            (struct kvp_request){.operation = KVP_ENUMERATE, .pool = KVP_POOL_AUTO, .index = 7}),
        0);
    struct ic_message *message = take();
    uint8_t *body = ic_guest_body(message);
    assert_int_equal(body[0], 3);
    assert_int_equal(get_le32(body + 4), 7);
    put_le32(body + 12, UINT32_MAX);
    put_le32(body + 16, UINT32_MAX);
    put_le16(body + 20, 'k');
    memset(body + 532, 'v', 2048); /* without an end */
    ic_guest_answer(ic_guest_find(), message, 0);
    assert_int_equal(results, 1);
    assert_int_equal(result, 0);
    assert_string_equal(got.key, "k");
    assert_true(strlen(got.value) >= 1024);
}

static void requests_wait_for_each_other(void **state)
{
    struct ic_message second;

    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    results = 0;
    for (unsigned i = 0; i < KVP_MOST_WAITING; i++)
        assert_int_equal(ask(*state, (struct kvp_request){.operation = KVP_ENUMERATE, .index = i}),
                         0);
    assert_int_equal(ask(*state, (struct kvp_request){.operation = KVP_ENUMERATE}), -EBUSY);
    struct ic_message *first = take();
    assert_false(ic_guest_take(ic_guest_find(), &second));
    ic_guest_answer(ic_guest_find(), first, (uint32_t)IC_NO_MORE);
    assert_int_equal(result, -ENOENT);
    assert_int_equal(get_le32(ic_guest_body(take()) + 4), 1);
    ic_guest_pass(UINT64_C(25) * NS_PER_SECOND);
    assert_int_equal(result, -EAGAIN);
    assert_int_equal(get_le32(ic_guest_body(take()) + 4), 2);
    ic_guest_close(ic_guest_find());
    assert_int_equal(results, KVP_MOST_WAITING);
    assert_int_equal(result, -EIO);
}

static void addresses_go_both_ways(void **state)
{
    struct kvp_request request = {.operation = KVP_SET_IP,
                                  .ip = {.adapter = "{id}",
                                         .addresses = "10.0.0.2;fe80::1",
                                         .masks = "255.0.0.0",
                                         .gateways = "10.0.0.1",
                                         .servers = "10.0.0.3"}};

    ic_guest_connect(ic_guest_find(), IC_VERSION(4, 0));
    results = 0;
    assert_int_equal(ask(*state, request), 0);
    struct ic_message *message = take();
    uint8_t *body = ic_guest_body(message);
    assert_int_equal(body[0], 5);
    assert_memory_equal(body + 2, "{\0i\0d\0}\0", 9);
    assert_int_equal(body[258], 3);
    assert_memory_equal(body + 260, "1\0000\0.", 5);
    assert_memory_equal(body + 2308, "2\0005\0005", 5);
    assert_memory_equal(body + 5380 + 14, "3\0", 2);
    ic_guest_answer(ic_guest_find(), message, 0);
    request.operation = KVP_GET_IP;
    request.ip = (struct kvp_ip){.adapter = "00-15"};
    assert_int_equal(ask(*state, request), 0);
    message = take();
    body = ic_guest_body(message);
    body[259] = 1;
    put_le16(body + 4356, 'g');
    ic_guest_answer(ic_guest_find(), message, 0);
    assert_int_equal(results, 2);
    assert_true(got.ip.dhcp);
    assert_string_equal(got.ip.gateways, "g");
    assert_string_equal(got.ip.addresses, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(set_has_both_texts),
        TEST(texts_that_are_too_long_are_refused),
        TEST(items_are_decoded_whatever_sizes_they_claim),
        TEST(requests_wait_for_each_other),
        TEST(addresses_go_both_ways),
    };
    return cmocka_run_group_tests_name("kvp", tests, NULL, NULL);
}
