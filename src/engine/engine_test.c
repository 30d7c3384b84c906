#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void auto_always_finds_the_software_engine(void **state)
{
    struct reason reason = {0};
    (void)state;

    assert_ptr_equal(engine_choose(ENGINE_CHOICE_AUTO, &reason), &soft_engine);
    assert_true(strlen(reason.text) > 0);
}

static void soft_is_chosen_when_asked_for(void **state)
{
    struct reason reason = {0};
    (void)state;

    assert_ptr_equal(engine_choose(ENGINE_CHOICE_SOFT, &reason), &soft_engine);
}

static void kvm_is_refused_with_the_reason_of_its_probe(void **state)
{
    struct reason reason = {0};
    (void)state;

    assert_null(engine_choose(ENGINE_CHOICE_KVM, &reason));
    assert_non_null(strstr(reason.text, "kvm"));
    assert_non_null(strstr(reason.text, "this version"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_always_finds_the_software_engine),
        cmocka_unit_test(soft_is_chosen_when_asked_for),
        cmocka_unit_test(kvm_is_refused_with_the_reason_of_its_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
