#include "vsp/fcopy.h"

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
    struct fcopy *fcopy = NULL;

    assert_int_equal(fcopy_create(ic_guest_start(), &fcopy), 0);
    ic_enable(fcopy_ic(fcopy), true);
    *state = fcopy;
    return 0;
}

static int teardown(void **state)
{
    fcopy_destroy(*state);
    ic_guest_end();
    return 0;
}

enum { START, WRITE, COMPLETE, CANCEL };

static int result;
static unsigned results;
static int read_error, check_error;

static int give(void *owner, uint64_t offset, uint8_t *to, size_t size)
{
    (void)owner;
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)((offset + i) * 7);
    return read_error;
}

static int check(void *owner, struct reason *reason)
{
    (void)owner;
    reason_fill(reason, "changed");
    return check_error;
}

static void ended(void *owner, int error, const struct reason *reason)
{
    (void)owner;
    (void)reason;
    result = error;
    results++;
}

static int start(struct fcopy *fcopy, const char *path, uint64_t size)
{
    const struct fcopy_job job = {.path = path,
                                  .size = size,
                                  .make_folders = true,
                                  .read = give,
                                  .check = check,
                                  .ended = ended};

    results = 0;
    read_error = 0;
    check_error = 0;
    return fcopy_start(fcopy, &job, NULL);
}

static struct ic_message *take(uint32_t operation)
{
    static struct ic_message message;

    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(get_le32(ic_guest_body(&message)), operation);
    return &message;
}

static void answer(uint32_t operation, uint32_t status)
{
    ic_guest_answer(ic_guest_find(), take(operation), status);
}

static void file_goes_in_pieces(void **state)
{
    const uint32_t last = 100;
    struct fcopy *fcopy = *state;

    assert_int_equal(start(fcopy, "/a/b", 1), -ENOTCONN);
    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 1));
    assert_int_equal(start(fcopy, "/a/bc", FCOPY_PIECE + last), 0);
    assert_int_equal(start(fcopy, "/a/bc", 1), -EBUSY);
    struct ic_message *message = take(START);
    const uint8_t *body = ic_guest_body(message);
    assert_int_equal(message->length, 28 + 1088);
    assert_memory_equal(body + 36, "b\0c\0\0", 6);
    assert_memory_equal(body + 556, "/\0a\0/\0\0", 8);
    assert_int_equal(get_le32(body + 1076), 2);
    assert_int_equal(get_le64(body + 1080), FCOPY_PIECE + last);
    ic_guest_answer(ic_guest_find(), message, 0);
    answer(WRITE, 0);
    assert_int_equal(fcopy_done(fcopy), FCOPY_PIECE);
    message = take(WRITE);
    body = ic_guest_body(message);
    assert_int_equal(message->length, 28 + 52 + FCOPY_PIECE);
    assert_int_equal(get_le64(body + 40), FCOPY_PIECE);
    assert_int_equal(get_le32(body + 48), last);
    assert_int_equal(body[52 + 99], (uint8_t)((FCOPY_PIECE + 99) * 7));
    ic_guest_answer(ic_guest_find(), message, 0);
    assert_int_equal(results, 0);
    answer(COMPLETE, 0);
    assert_int_equal(results, 1);
    assert_int_equal(result, 0);
    assert_false(fcopy_is_busy(fcopy));
}

static void names_are_checked(void **state)
{
    char path[400] = "/";

    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 1));
    assert_int_equal(start(*state, "a/b", 1), -EINVAL);
    assert_int_equal(start(*state, "/a/", 1), -EINVAL);
    memset(path + 1, 'x', 300);
    assert_int_equal(start(*state, path, 1), -EINVAL);
    assert_int_equal(start(*state, "/a", 0), 0);
    assert_memory_equal(ic_guest_body(take(START)) + 556, "/\0\0", 4);
}

static void refusals_are_told_and_files_of_others_stay(void **state)
{
    struct ic_message message;

    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 1));
    assert_int_equal(start(*state, "/a", 10), 0);
    answer(START, (uint32_t)IC_EXISTS);
    assert_int_equal(result, -EEXIST);
    assert_false(ic_guest_take(ic_guest_find(), &message)); /* it would remove that file */
    assert_int_equal(start(*state, "/a", 10), 0);
    answer(START, 0);
    answer(WRITE, (uint32_t)IC_DISK_FULL);
    assert_int_equal(results, 0);
    answer(CANCEL, 0);
    assert_int_equal(result, -ENOSPC);
}

static void slow_source_is_waited_for(void **state)
{
    struct ic_message message;

    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 1));
    assert_int_equal(start(*state, "/a", 10), 0);
    read_error = -EAGAIN;
    answer(START, 0);
    assert_false(ic_guest_take(ic_guest_find(), &message));
    read_error = 0;
    fcopy_continue(*state);
    answer(WRITE, 0);
    check_error = -EBUSY;
    fcopy_cancel(*state);
    answer(COMPLETE, 0); /* was on its way */
    assert_int_equal(result, 0);
}

static void copy_is_called_off(void **state)
{
    static const int errors[] = {-ECANCELED, -EIO, -EBUSY};

    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 1));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(start(*state, "/a", FCOPY_PIECE), 0);
        if (i == 0)
            fcopy_cancel(*state);
        read_error = i == 1 ? -EIO : 0;
        check_error = i == 2 ? -EBUSY : 0;
        answer(START, 0);
        if (i == 2)
            answer(WRITE, 0);
        answer(CANCEL, 0);
        assert_int_equal(results, 1);
        assert_int_equal(result, errors[i]);
    }
}

static void guest_that_is_silent_or_goes_ends_it(void **state)
{
    ic_guest_connect(ic_guest_find(), IC_VERSION(1, 1));
    assert_int_equal(start(*state, "/a", 10), 0);
    ic_guest_pass(UINT64_C(40) * NS_PER_SECOND);
    assert_int_equal(result, -EAGAIN);
    assert_int_equal(start(*state, "/a", 10), 0);
    ic_guest_close(ic_guest_find());
    assert_int_equal(results, 1);
    assert_int_equal(result, -EIO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_goes_in_pieces),
        TEST(names_are_checked),
        TEST(refusals_are_told_and_files_of_others_stay),
        TEST(slow_source_is_waited_for),
        TEST(copy_is_called_off),
        TEST(guest_that_is_silent_or_goes_ends_it),
    };
    return cmocka_run_group_tests_name("fcopy", tests, NULL, NULL);
}
