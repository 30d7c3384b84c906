/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include <errno.h>

#include "state/state.h"
#include "tests/harness/storvsc_guest.h"

static int set_up(void **state)
{
    *state = guest_create(2);
    return 0;
}

static int tear_down(void **state)
{
    guest_destroy(*state);
    return 0;
}

static void controllers_have_lasting_names_of_their_own(void **state)
{
    struct guest *g = *state;
    struct storvsp_config config = {.vmbus = g->vmbus, .mem = g->mem, .controller = 1};
    struct storvsp *second = NULL;
    struct storvsp *none = NULL;
    struct reason reason = {""};
    assert_int_equal(storvsp_create(&config, &second, &reason), 0);
    assert_non_null(fake_vmbus_find(g->vmbus, 0, 0));
    assert_non_null(fake_vmbus_find(g->vmbus, 1, 0));
    assert_int_equal(storvsp_create(&config, &none, &reason), -EEXIST);
    assert_non_null(strstr(reason.text, "storage controller 1"));
    config.controller = STORVSP_MAX_CONTROLLERS;
    assert_int_equal(storvsp_create(&config, &none, &reason), -EINVAL);
    config.controller = 2;
    config.max_subchannels = STORVSP_MAX_SUBCHANNELS + 1;
    assert_int_equal(storvsp_create(&config, &none, &reason), -EINVAL);
    storvsp_destroy(second);
    storvsp_destroy(NULL);
    assert_null(fake_vmbus_find(g->vmbus, 1, 0));
}

static void places_are_taken_once(void **state)
{
    struct guest *g = *state;
    assert_int_equal(storvsp_add(g->storvsp, 0, g->target[1]), -EEXIST);
    assert_int_equal(storvsp_add(g->storvsp, STORVSP_MAX_LUNS, g->target[1]), -EINVAL);
    assert_int_equal(storvsp_add(g->storvsp, STORVSP_MAX_LUNS - 1, g->target[1]), 0);
    assert_int_equal(storvsp_remove(g->storvsp, 1, guest_removed, g), -ENOENT);
    assert_int_equal(storvsp_remove(g->storvsp, STORVSP_MAX_LUNS, guest_removed, g), -ENOENT);
    assert_int_equal(storvsp_remove(g->storvsp, 0, guest_removed, g), 0);
    assert_int_equal(g->removed, 1);
    assert_int_equal(storvsp_add(g->storvsp, 0, g->target[0]), 0);
}

static bool take_news(struct guest *g)
{
    return guest_take(g, 0) && !g->answer.completion && g->answer.transaction_id == 0 &&
           g->answer.length == STORVSP_PACKET &&
           get_le32(g->answer.payload) == STORVSP_ENUMERATE_BUS;
}

static void guest_hears_of_units_that_come_and_go(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_false(guest_take(g, 0)); /* what was there before is found by the scan */
    assert_int_equal(guest_test_ready(g, 7), SRB_STATUS_INVALID_LUN);
    assert_int_equal(storvsp_add(g->storvsp, 7, g->target[1]), 0);
    assert_true(take_news(g));
    assert_int_equal(guest_test_ready(g, 7), SRB_STATUS_SUCCESS);
    assert_int_equal(storvsp_remove(g->storvsp, 7, guest_removed, g), 0);
    assert_int_equal(g->removed, 1);
    assert_true(take_news(g));
    assert_int_equal(guest_test_ready(g, 7), SRB_STATUS_INVALID_LUN);
}

static void old_guests_get_short_news_and_the_oldest_none(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_4_2);
    assert_int_equal(storvsp_add(g->storvsp, 7, g->target[1]), 0);
    assert_true(guest_take(g, 0));
    assert_int_equal(g->answer.length, STORVSP_PACKET_LEAST);
    fake_guest_close(guest_channel(g, 0));
    guest_connect(g, STORVSP_VERSION_2_0);
    assert_int_equal(storvsp_remove(g->storvsp, 7, guest_removed, g), 0);
    assert_false(guest_take(g, 0));
}

static void removal_waits_for_commands_in_flight(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    g->disk[0]->late = true;
    struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
    assert_int_equal(guest_execute(g, &read), 0);
    read.id = 2;
    assert_int_equal(guest_execute(g, &read), 0);
    assert_int_equal(storvsp_remove(g->storvsp, 0, guest_removed, g), 0);
    assert_int_equal(g->removed, 0);
    assert_true(take_news(g));
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_INVALID_LUN);
    assert_int_equal(storvsp_add(g->storvsp, 0, g->target[1]), -EEXIST);
    assert_int_equal(storvsp_remove(g->storvsp, 0, guest_removed, g), -ENOENT);
    fake_disk_end(g->disk[0], 0);
    assert_int_equal(g->removed, 0);
    fake_disk_end(g->disk[0], 0);
    assert_int_equal(g->removed, 1);
    assert_true(guest_take(g, 0));
    assert_int_equal(g->answer.payload[STORVSP_AT_SRB_STATUS], SRB_STATUS_SUCCESS);
    assert_int_equal(storvsp_add(g->storvsp, 0, g->target[1]), 0);
}

static void next_guest_finds_units_as_at_power_on(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    struct guest_command stop = {.id = 1, .cdb = {0x1b}, .cdb_length = 6};
    assert_int_equal(guest_execute(g, &stop), SRB_STATUS_SUCCESS);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
    vmbus_reset(g->vmbus);
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_test_ready(g, 0), SRB_STATUS_SUCCESS);
}

static void pause_waits_and_resume_goes_on(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_2);
    g->disk[0]->late = true;
    struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
    assert_int_equal(guest_execute(g, &read), 0);
    storvsp_pause(g->storvsp, guest_paused, g);
    assert_int_equal(g->paused, 0);
    read.id = 2;
    assert_int_equal(guest_execute(g, &read), 0);
    assert_int_equal(g->disk[0]->pending_count, 1);
    fake_disk_end_all(g->disk[0]);
    assert_int_equal(g->paused, 1);
    assert_true(guest_take(g, 0));
    assert_false(guest_take(g, 0));
    storvsp_resume(g->storvsp);
    fake_disk_end_all(g->disk[0]);
    assert_true(guest_take(g, 0));
    assert_int_equal(g->answer.transaction_id, 2);
    storvsp_pause(g->storvsp, guest_paused, g);
    assert_int_equal(g->paused, 2);
    storvsp_resume(g->storvsp);
}

static void controller_may_go_with_commands_in_flight(void **state)
{
    struct guest *g = *state;
    struct storvsp_config config = {
        .vmbus = g->vmbus, .mem = g->mem, .controller = 0, .max_subchannels = 2};
    guest_connect(g, STORVSP_VERSION_6_2);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 2), NT_SUCCESS);
    g->disk[0]->late = true;
    for (unsigned i = 1; i < 4; i++) {
        struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
        read.id = i;
        assert_int_equal(guest_execute(g, &read), 0);
    }
    storvsp_destroy(g->storvsp);
    assert_int_equal(fake_vmbus_offers(g->vmbus), 0);
    assert_int_equal(storvsp_create(&config, &g->storvsp, NULL), 0);
    fake_disk_end_all(g->disk[0]);
}

/* ---- saved state ---- */

static struct state_visitor *save(struct guest *g)
{
    struct state_visitor *v = NULL;
    assert_int_equal(state_save_create(&v), 0);
    assert_int_equal(storvsp_visit_state(g->storvsp, v), 0);
    return v;
}

static int load(struct guest *g, const struct state_visitor *saved)
{
    size_t length;
    const uint8_t *bytes = state_saved(saved, &length);
    struct state_visitor *v = NULL;
    assert_int_equal(state_load_create(bytes, length, &v), 0);
    int error = storvsp_visit_state(g->storvsp, v);
    state_destroy(v);
    return error;
}

static void connection_and_unsent_answers_survive_saving(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_0);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 2), NT_SUCCESS);
    assert_int_equal(fake_guest_open(guest_channel(g, 1)), 0);
    fake_guest_set_room(guest_channel(g, 1), 1);
    for (unsigned i = 1; i < 5; i++) {
        struct guest_command read = guest_move(0, false, 0, 8, 0x20000);
        read.channel = 1;
        read.id = i;
        assert_true(guest_put(g, &read));
    }
    fake_guest_signal(guest_channel(g, 1));
    storvsp_pause(g->storvsp, guest_paused, g);
    assert_int_equal(g->paused, 1);
    struct state_visitor *saved = save(g);

    struct guest *other = guest_create(2);
    assert_int_equal(load(other, saved), 0);
    assert_int_equal(fake_vmbus_offers(other->vmbus), 3);
    struct state_visitor *again = save(other);
    assert_int_equal(fake_guest_open(guest_channel(other, 0)), 0); /* as VMBus does on loading */
    assert_int_equal(fake_guest_open(guest_channel(other, 1)), 0);
    assert_int_equal(guest_test_ready(other, 2), SRB_STATUS_SUCCESS);
    struct guest_command ready = {.id = 9, .channel = 1, .cdb_length = 6};
    assert_true(guest_put(other, &ready));
    fake_guest_signal(guest_channel(other, 1));
    for (unsigned i = 2; i < 5; i++) {
        assert_true(guest_take(other, 1));
        assert_int_equal(other->answer.transaction_id, i);
        assert_int_equal(guest_transferred(other), 4096);
    }
    assert_true(guest_take(other, 1));
    assert_int_equal(other->answer.transaction_id, 9);
    fake_guest_close(guest_channel(other, 0)); /* the next opening starts anew */
    assert_int_equal(fake_guest_open(guest_channel(other, 0)), 0);
    assert_int_equal(guest_test_ready(other, 2), SRB_STATUS_INVALID_REQUEST);
    state_destroy(again);
    state_destroy(saved);
    guest_destroy(other);
}

static void state_of_other_units_is_refused(void **state)
{
    struct guest *g = *state;
    struct state_visitor *saved = save(g);
    struct guest *other = guest_create(2);
    assert_int_equal(storvsp_remove(other->storvsp, 2, guest_removed, other), 0);
    assert_int_equal(load(other, saved), -EINVAL);
    state_destroy(saved);
    guest_destroy(other);
}

static void state_with_more_subchannels_is_refused(void **state)
{
    struct guest *g = *state;
    guest_connect(g, STORVSP_VERSION_6_0);
    assert_int_equal(guest_operate(g, STORVSP_CREATE_SUB_CHANNELS, 2), NT_SUCCESS);
    struct state_visitor *saved = save(g);
    struct guest *other = guest_create(1);
    assert_int_equal(load(other, saved), -EINVAL);
    assert_int_equal(fake_vmbus_offers(other->vmbus), 1);
    state_destroy(saved);
    guest_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(controllers_have_lasting_names_of_their_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(places_are_taken_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guest_hears_of_units_that_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_guests_get_short_news_and_the_oldest_none, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(removal_waits_for_commands_in_flight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(next_guest_finds_units_as_at_power_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pause_waits_and_resume_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(controller_may_go_with_commands_in_flight, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(connection_and_unsent_answers_survive_saving, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(state_of_other_units_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_with_more_subchannels_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
