#include "net/hello.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct net_hello sample = {.switch_name = "lan",
                                        .partition = "web",
                                        .card = 3,
                                        .has_mac = true,
                                        .mac = {0, 0x15, 0x5d, 1}};

static void a_hello_comes_as_it_was_sent(void **state)
{
    uint8_t bytes[HELLO_SIZE];
    struct net_hello got;
    (void)state;
    net_hello_encode(&sample, bytes);
    assert_int_equal(net_hello_decode(bytes, sizeof(bytes), &got), 0);
    assert_string_equal(got.switch_name, "lan");
    assert_string_equal(got.partition, "web");
    assert_int_equal(got.card, 3);
    assert_true(got.has_mac);
    assert_memory_equal(got.mac, sample.mac, sizeof(got.mac));
}

static void a_refusal_comes_with_its_reason(void **state)
{
    struct net_welcome welcome = {.error = -ENOENT, .reason = {"no such switch"}};
    uint8_t bytes[WELCOME_SIZE];
    struct net_welcome got;
    (void)state;
    net_welcome_encode(&welcome, bytes);
    assert_int_equal(net_welcome_decode(bytes, sizeof(bytes), &got), 0);
    assert_int_equal(got.error, -ENOENT);
    assert_string_equal(got.reason.text, "no such switch");
    bytes[6] = 1;
    assert_int_equal(net_welcome_decode(bytes, sizeof(bytes), &got), -EINVAL);
}

static void junk_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } bad[] = {{0, 'X'}, {4, 64}, {5, 1}, {8, 2}, {12, 1}, {20, 0}, {84, 0}};
    uint8_t bytes[HELLO_SIZE];
    struct net_hello got;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        net_hello_encode(&sample, bytes);
        bytes[bad[i].at] = bad[i].value;
        assert_int_equal(net_hello_decode(bytes, sizeof(bytes), &got), -EINVAL);
    }
    net_hello_encode(&sample, bytes);
    assert_int_equal(net_hello_decode(bytes, sizeof(bytes) - 1, &got), -EINVAL);
    memset(bytes + 20, 'a', HELLO_NAME_SIZE);
    assert_int_equal(net_hello_decode(bytes, sizeof(bytes), &got), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_comes_as_it_was_sent),
        cmocka_unit_test(a_refusal_comes_with_its_reason),
        cmocka_unit_test(junk_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
