/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "state/state.h"
#include "tests/harness/scsi_fixture.h"
static int set_up(void **state)
{
    *state = fixture_open(512, "P-0001");
    return 0;
}

static int tear_down(void **state)
{
    fixture_close(*state);
    return 0;
}

static bool test_ready(struct fixture *f)
{
    return fixture_read_cdb(f, 0, 0x00, 0, 0, 0, 0, 0);
}

static void attention_is_told_to_the_next_command_but_inquiry(void **state)
{
    struct fixture *f = *state;
    assert_true(test_ready(f));
    scsi_capacity_changed(f->target);
    assert_true(fixture_read_cdb(f, 36, 0x12, 0, 0, 0, 36, 0));
    assert_false(fixture_read_cdb(f, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0));
    assert_int_equal(fixture_sense(f), SENSE_CAPACITY_CHANGED);
    assert_int_equal(f->disk->count[DISK_READ], 0);
    assert_true(test_ready(f));
}

static void request_sense_takes_the_attention(void **state)
{
    struct fixture *f = *state;
    scsi_reset(f->target);
    assert_true(fixture_read_cdb(f, 18, 0x03, 0, 0, 0, 18, 0));
    assert_int_equal(f->command.transferred, 18);
    assert_int_equal(f->data[2], 6);
    assert_int_equal(f->data[12], 0x29);
    assert_true(fixture_read_cdb(f, 18, 0x03, 0, 0, 0, 18, 0));
    assert_int_equal(f->data[2], 0);
    assert_true(test_ready(f));
    assert_false(fixture_read_cdb(f, 18, 0x03, 1, 0, 0, 18, 0)); /* descriptor format */
}

static void reset_undoes_what_the_guest_set(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 0, 0x1e, 0, 0, 0, 1, 0));
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 0, 0));
    f->target->write_cache = false;
    scsi_reset(f->target);
    assert_false(test_ready(f));
    assert_int_equal(fixture_sense(f), SENSE_RESET);
    assert_true(test_ready(f));
    assert_true(f->target->write_cache);
    assert_false(f->target->removal_prevented);
}

static void power_on_leaves_nothing_to_tell(void **state)
{
    struct fixture *f = *state;
    assert_true(fixture_read_cdb(f, 0, 0x1b, 0, 0, 0, 0, 0));
    f->target->write_cache = false;
    scsi_capacity_changed(f->target);
    scsi_power_on(f->target);
    assert_true(test_ready(f));
    assert_true(f->target->write_cache);
}

static void report_luns_lists_the_set(void **state)
{
    struct fixture *f = *state;
    struct scsi_command *c = &f->command;
    (void)fixture_read_cdb(f, 520, 0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 0, 0);
    assert_true(scsi_is_report_luns(c));
    scsi_report_luns(c, UINT64_C(0x8000000000000005));
    assert_int_equal(c->status, SCSI_STATUS_GOOD);
    assert_int_equal(c->transferred, 32);
    assert_int_equal(get_be32(f->data), 24);
    assert_int_equal(f->data[9], 0);
    assert_int_equal(f->data[17], 2);
    assert_int_equal(f->data[25], 63);
    scsi_report_luns(c, UINT64_MAX);
    assert_int_equal(c->transferred, 520);
    c->cdb[2] = 1;
    scsi_report_luns(c, UINT64_MAX);
    assert_int_equal(c->transferred, 8);
    c->cdb[2] = 3;
    scsi_report_luns(c, UINT64_MAX);
    assert_int_equal(fixture_sense(f), SENSE_INVALID_FIELD_IN_CDB);
    c->cdb[2] = 0;
    c->cdb_length = 6;
    scsi_report_luns(c, UINT64_MAX);
    assert_int_equal(fixture_sense(f), SENSE_UNKNOWN_OPCODE);
}

static void state_survives_saving_and_loading(void **state)
{
    struct fixture *f = *state;
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    size_t length;
    f->target->write_cache = false;
    scsi_capacity_changed(f->target);
    assert_true(fixture_read_cdb(f, 18, 0x12, 0, 0, 0, 18, 0));
    assert_int_equal(state_save_create(&save), 0);
    assert_int_equal(scsi_visit_state(f->target, "disk", save), 0);
    const uint8_t *bytes = state_saved(save, &length);
    struct fixture *other = fixture_open(512, "y");
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(scsi_visit_state(other->target, "disk", load), 0);
    assert_false(other->target->write_cache);
    assert_false(test_ready(other));
    assert_int_equal(fixture_sense(other), SENSE_CAPACITY_CHANGED);
    state_destroy(load);
    state_destroy(save);
    fixture_close(other);
}

static void impossible_state_is_refused(void **state)
{
    struct fixture *f = *state;
    struct state_visitor *save = NULL;
    struct state_visitor *load = NULL;
    size_t length;
    assert_int_equal(state_save_create(&save), 0);
    state_begin(save, "disk", 1);
    bool yes = true;
    state_bool(save, "tray-open", &yes);
    assert_int_equal(state_end(save), 0);
    const uint8_t *bytes = state_saved(save, &length);
    assert_int_equal(state_load_create(bytes, length, &load), 0);
    assert_int_equal(scsi_visit_state(f->target, "disk", load), -EINVAL);
    assert_false(f->target->tray_open);
    state_destroy(load);
    state_destroy(save);
}

static void unit_that_was_not_made_can_be_destroyed(void **state)
{
    struct fixture *f = *state;
    struct scsi_target *none = NULL;
    scsi_destroy(NULL);
    f->disk->geometry.capacity = 0;
    assert_int_equal(scsi_disk_create(f->disk, NULL, &none), -EINVAL);
    assert_null(none);
    f->disk->geometry.capacity = FIXTURE_SIZE;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(attention_is_told_to_the_next_command_but_inquiry, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(request_sense_takes_the_attention, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reset_undoes_what_the_guest_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(power_on_leaves_nothing_to_tell, set_up, tear_down),
        cmocka_unit_test_setup_teardown(report_luns_lists_the_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_survives_saving_and_loading, set_up, tear_down),
        cmocka_unit_test_setup_teardown(impossible_state_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unit_that_was_not_made_can_be_destroyed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
