#include "cli/net_option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char words[256];
static struct worker_card card;
static struct reason reason;
static bool none;

static bool parse(const char *text)
{
    (void)snprintf(words, sizeof(words), "%s", text);
    return net_option_parse(words, &card, &none, &reason);
}

static void kinds_are_known(void **state)
{
    (void)state;
    assert_true(parse("nat") && card.kind == WORKER_CARD_NAT && !none);
    assert_true(parse("none") && none);
    assert_true(parse("tap:t0") && card.kind == WORKER_CARD_TAP && card.fd == -1);
    assert_string_equal(card.name, "t0");
    assert_true(parse("tap:fd=7") && card.fd == 7);
    assert_true(parse("socket:/run/s") && card.kind == WORKER_CARD_SOCKET);
    assert_string_equal(card.name, "/run/s");
}

static void settings_follow(void **state)
{
    static const uint8_t mac[] = {0x02, 0xab, 0, 1, 2, 0xff};
    (void)state;
    assert_true(parse("tap:t0,mac=02:AB:00:01:02:ff,mtu=9000,vlan=42,loss=0.5"));
    assert_true(card.mac_given);
    assert_memory_equal(card.mac, mac, sizeof(mac));
    assert_int_equal(card.mtu, 9000);
    assert_int_equal(card.vlan, 42);
    assert_int_equal(card.loss, 5);
    assert_true(parse("nat,forward=tcp:2222:22,forward=udp:127.0.0.1/53:5353"));
    assert_int_equal(card.forward_count, 2);
    assert_false(card.forwards[0].udp);
    assert_string_equal(card.forwards[0].ports, "2222:22");
    assert_true(card.forwards[1].udp);
    assert_string_equal(card.forwards[1].ports, "127.0.0.1/53:5353");
}

static void slips_are_named(void **state)
{
    static const char *const wrong[] = {
        "",
        "bridge",
        "tap:",
        "tap:fd=x",
        "tap:fd=1",
        "socket:",
        "nat,",
        "none,mtu=1500",
        "nat,mac=1:2:3:4:5:6",
        "nat,mac=01:00:00:00:00:01",
        "nat,mac=02:00:00:00:00:0g",
        "nat,mac=02:00:00:00:00:011",
        "nat,mtu=575",
        "nat,mtu=9001",
        "nat,mtu=15x",
        "nat,vlan=0",
        "nat,vlan=4095",
        "nat,loss=101",
        "nat,loss=x",
        "nat,forward=22",
        "nat,forward=tcp:22",
        "nat,forward=tcp:0:22",
        "nat,forward=tcp:22:65536",
        "nat,forward=tcp:x:22",
        "nat,forward=sctp:1:2",
        "tap:t0,forward=tcp:1:2",
        "nat,speed=10",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        reason.text[0] = '\0';
        assert_false(parse(wrong[i]));
        assert_true(reason.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_known),
        cmocka_unit_test(settings_follow),
        cmocka_unit_test(slips_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
