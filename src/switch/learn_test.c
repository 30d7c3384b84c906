/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "switch/learn.h"

static struct learn learn;

static const uint8_t *mac(unsigned number)
{
    static uint8_t ret[FRAME_MAC_SIZE] = {0, 0x15, 0x5d};

    ret[3] = (uint8_t)(number >> 16);
    ret[4] = (uint8_t)(number >> 8);
    ret[5] = (uint8_t)number;
    return ret;
}

static void addresses_belong_to_a_vlan(void **state)
{
    (void)state;
    learn_init(&learn, 100);
    learn_source(&learn, mac(1), 10, 3, 1);
    assert_int_equal(learn_find(&learn, mac(1), 10, 2), 3);
    assert_int_equal(learn_find(&learn, mac(1), 11, 2), -1);
    assert_int_equal(learn_find(&learn, mac(2), 10, 2), -1);
}

static void the_last_port_counts(void **state)
{
    (void)state;
    learn_init(&learn, 100);
    learn_source(&learn, mac(1), 0, 3, 1);
    learn_source(&learn, mac(1), 0, 4, 2);
    assert_int_equal(learn_find(&learn, mac(1), 0, 2), 4);
    assert_int_equal(learn.of_port[3], 0);
    assert_int_equal(learn.of_port[4], 1);
}

static void entries_age(void **state)
{
    (void)state;
    learn_init(&learn, 100);
    learn_source(&learn, mac(1), 0, 3, 1);
    assert_int_equal(learn_find(&learn, mac(1), 0, 101), 3);
    assert_int_equal(learn_find(&learn, mac(1), 0, 102), -1);
}

/* One port that claims every address leaves room for the others. */
static void a_port_has_only_so_many(void **state)
{
    (void)state;
    learn_init(&learn, 100000);
    for (unsigned i = 0; i < 100000; i++)
        learn_source(&learn, mac(i), 0, 1, 1 + i / 1000);
    assert_int_equal(learn.of_port[1], LEARN_MOST_OF_A_PORT);
    unsigned found = 0;
    for (unsigned i = 0; i < 500; i++) {
        learn_source(&learn, mac(200000 + i), 0, 2, 200);
        found += learn_find(&learn, mac(200000 + i), 0, 200) == 2;
    }
    assert_true(found > 490);
    learn_source(&learn, mac(300000), 0, 1, 200000); /* the old ones have aged */
    assert_int_equal(learn_find(&learn, mac(300000), 0, 200000), 1);
    assert_int_equal(learn.of_port[1], 1);
}

static void a_port_is_forgotten(void **state)
{
    (void)state;
    learn_init(&learn, 100);
    learn_source(&learn, mac(1), 0, 1, 1);
    learn_source(&learn, mac(2), 0, 2, 1);
    learn_forget_port(&learn, 1);
    assert_int_equal(learn_find(&learn, mac(1), 0, 1), -1);
    assert_int_equal(learn_find(&learn, mac(2), 0, 1), 2);
    assert_int_equal(learn.of_port[1], 0);
}

static void multicast_is_no_source(void **state)
{
    uint8_t many[FRAME_MAC_SIZE] = {1};
    (void)state;
    learn_init(&learn, 100);
    learn_source(&learn, many, 0, 1, 1);
    assert_int_equal(learn_find(&learn, many, 0, 1), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_belong_to_a_vlan),
        cmocka_unit_test(the_last_port_counts),
        cmocka_unit_test(entries_age),
        cmocka_unit_test(a_port_has_only_so_many),
        cmocka_unit_test(a_port_is_forgotten),
        cmocka_unit_test(multicast_is_no_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
