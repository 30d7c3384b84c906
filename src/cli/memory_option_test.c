#include "cli/memory_option.h"

/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <string.h>

#define MIB UINT64_C(0x100000)

static void sizes_are_whole_mebibytes(void **state)
{
    struct reason reason;
    uint64_t size = 0;
    (void)state;
    assert_int_equal(memory_option_size("512M", &size, &reason), 0);
    assert_int_equal(size, 512 * MIB);
    assert_int_equal(memory_option_size("much", &size, &reason), -EINVAL);
    assert_int_equal(memory_option_size("0", &size, &reason), -EINVAL);
    assert_int_equal(memory_option_size("512", &size, &reason), -EINVAL);
    assert_non_null(strstr(reason.text, "mind the unit"));
    assert_int_equal(memory_option_size("1025K", &size, &reason), -EINVAL);
    assert_int_equal(memory_option_size("2T", &size, &reason), -ERANGE);
    assert_int_equal(size, 512 * MIB);
}

static void buffers_and_weights_have_bounds(void **state)
{
    struct reason reason;
    unsigned number = 0;
    (void)state;
    assert_int_equal(memory_option_buffer("5", &number, &reason), 0);
    assert_int_equal(memory_option_buffer("2000", &number, &reason), 0);
    assert_int_equal(number, 2000);
    assert_int_equal(memory_option_buffer("4", &number, &reason), -EINVAL);
    assert_int_equal(memory_option_buffer("2001", &number, &reason), -EINVAL);
    assert_int_equal(memory_option_buffer("20%", &number, &reason), -EINVAL);
    assert_int_equal(memory_option_weight("1", &number, &reason), 0);
    assert_int_equal(memory_option_weight("10000", &number, &reason), 0);
    assert_int_equal(memory_option_weight("0", &number, &reason), -EINVAL);
    assert_int_equal(memory_option_weight("10001", &number, &reason), -EINVAL);
}

static int complete(uint64_t minimum, uint64_t startup, uint64_t maximum, unsigned buffer,
                    struct worker_config *ret)
{
    struct reason reason;
    *ret = (struct worker_config){
        .machine = {.hyperv = true, .memory_size = startup, .memory_maximum = maximum},
        .memory = {.minimum = minimum, .buffer = buffer},
    };
    return memory_option_complete(ret, &reason);
}

static void what_is_not_given_is_the_startup_memory(void **state)
{
    struct worker_config config;
    (void)state;
    assert_int_equal(complete(0, 10, 0, 0, &config), 0);
    assert_int_equal(config.machine.memory_maximum, 0);
    assert_int_equal(complete(5, 10, 0, 0, &config), 0);
    assert_int_equal(config.machine.memory_maximum, 10);
    assert_int_equal(config.memory.buffer, 20);
    assert_int_equal(config.memory.weight, 5000);
    assert_int_equal(complete(0, 10, 20, 30, &config), 0);
    assert_int_equal(config.memory.minimum, 10);
    assert_int_equal(config.memory.buffer, 30);
}

static void what_does_not_fit_together_is_refused(void **state)
{
    struct worker_config config;
    struct reason reason;
    (void)state;
    assert_int_equal(complete(0, 10, 0, 30, &config), -EINVAL);
    assert_int_equal(complete(11, 10, 0, 0, &config), -EINVAL);
    assert_int_equal(complete(0, 10, 9, 0, &config), -EINVAL);
    assert_int_equal(complete(5, 10, 20, 0, &config), 0);
    config.machine.hyperv = false;
    assert_int_equal(memory_option_complete(&config, &reason), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_whole_mebibytes),
        cmocka_unit_test(buffers_and_weights_have_bounds),
        cmocka_unit_test(what_is_not_given_is_the_startup_memory),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
    };
    return cmocka_run_group_tests_name("memory_option", tests, NULL, NULL);
}
