#include "switchd/notation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void prefixes_are_written_as_they_were_read(void **state)
{
    static const char *const good[] = {"any",     "10.0.0.0/8", "192.0.2.7/32", "fd00::/8",
                                       "::1/128", "0.0.0.0/0",  "2001:db8::/32"};
    struct acl_prefix prefix;
    char text[NOTATION_PREFIX];
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(notation_parse_prefix(good[i], &prefix));
        notation_prefix(&prefix, text);
        assert_string_equal(text, good[i]);
    }
    assert_true(notation_parse_prefix("192.0.2.7", &prefix));
    assert_int_equal(prefix.length, 128);
}

static void other_addresses_are_refused(void **state)
{
    static const char *const bad[] = {"",           "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8",
                                      "fd00::/129", "/8",         "10.0.0.0/",   "10.0.0.0/-1"};
    struct acl_prefix prefix;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(notation_parse_prefix(bad[i], &prefix));
}

static void vlans_are_ranges(void **state)
{
    uint64_t set[64];
    char text[NOTATION_VLANS];
    (void)state;
    assert_true(notation_parse_vlans("20,1-10,11", set));
    notation_vlans(set, text);
    assert_string_equal(text, "1-11,20");
    assert_true(notation_parse_vlans("all", set));
    notation_vlans(set, text);
    assert_string_equal(text, "1-4094");
    assert_true(notation_parse_vlans("", set));
    notation_vlans(set, text);
    assert_string_equal(text, "");
    static const char *const bad[] = {"0", "4095", "5-4", "1,", "a", "1-", "1--2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(notation_parse_vlans(bad[i], set));
    for (unsigned vlan = 1; vlan < FRAME_VLANS; vlan += 2)
        set[vlan / 64] |= UINT64_C(1) << vlan % 64;
    notation_vlans(set, text);
    assert_non_null(strstr(text, ",..."));
}

static void addresses_of_cards(void **state)
{
    uint8_t mac[FRAME_MAC_SIZE];
    char text[NOTATION_MAC];
    (void)state;
    assert_true(notation_parse_mac("00:15:5D:01:02:03", mac));
    notation_mac(mac, text);
    assert_string_equal(text, "00:15:5d:01:02:03");
    assert_false(notation_parse_mac("00:15:5d:01:02:0", mac));
    assert_false(notation_parse_mac("00-15-5d-01-02-03", mac));
    assert_false(notation_parse_mac("00:15:5d:01:02:g3", mac));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_are_written_as_they_were_read),
        cmocka_unit_test(other_addresses_are_refused),
        cmocka_unit_test(vlans_are_ranges),
        cmocka_unit_test(addresses_of_cards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
