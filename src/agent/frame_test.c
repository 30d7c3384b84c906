#include "agent/frame.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct frame_reader reader;

static int setup(void **state)
{
    (void)state;
    reader.start = reader.end = 0;
    return 0;
}

static void frames_come_out_as_they_went_in(void **state)
{
    int ends[2];
    struct frame frame;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(frame_write(ends[0], FRAME_INPUT, "hello", 5), 0);
    assert_int_equal(frame_write(ends[0], FRAME_INPUT_END, NULL, 0), 0);
    assert_int_equal(frame_fail(ends[0], 7, "why"), 0);
    (void)close(ends[0]);
    assert_int_equal(frame_read(&reader, ends[1], &frame), 0);
    assert_int_equal(frame.type, FRAME_INPUT);
    assert_int_equal(frame.length, 5);
    assert_memory_equal(frame.payload, "hello", 5);
    assert_int_equal(frame_read(&reader, ends[1], &frame), 0);
    assert_int_equal(frame.type, FRAME_INPUT_END);
    assert_int_equal(frame.length, 0);
    assert_int_equal(frame_read(&reader, ends[1], &frame), 0);
    assert_int_equal(frame.type, FRAME_FAILED);
    assert_memory_equal(frame.payload, "\7\0\0\0why", 7);
    assert_int_equal(frame_read(&reader, ends[1], &frame), -ECONNRESET);
    (void)close(ends[1]);
}

static void a_frame_in_single_bytes(void **state)
{
    static const uint8_t bytes[] = {FRAME_OUTPUT, 0, 0, 0, 3, 0, 0, 0, 'a', 'b', 'c'};
    struct frame frame;
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(frame_next(&reader, &frame), 0);
        assert_int_equal(frame_feed(&reader, bytes + i, 1), 1);
    }
    assert_int_equal(frame_next(&reader, &frame), 1);
    assert_memory_equal(frame.payload, "abc", 3);
}

static void the_longest_frame_fits_behind_another(void **state)
{
    static uint8_t bytes[FRAME_HEADER + FRAME_MOST] = {FRAME_OUTPUT, 0, 0, 0, 0, 0, 1, 0};
    static const uint8_t small[] = {FRAME_OUTPUT, 0, 0, 0, 0, 0, 0, 0};
    struct frame frame;
    (void)state;
    assert_int_equal(frame_feed(&reader, small, sizeof(small)), sizeof(small));
    assert_int_equal(frame_next(&reader, &frame), 1);
    assert_int_equal(frame_feed(&reader, bytes, sizeof(bytes)), sizeof(bytes));
    assert_int_equal(frame_next(&reader, &frame), 1);
    assert_int_equal(frame.length, FRAME_MOST);
}

static void what_is_no_frame_is_refused(void **state)
{
    static const uint8_t wrong[][FRAME_HEADER] = {
        {0},
        {4},
        {255},
        {FRAME_FAILED + 1},
        {FRAME_OUTPUT, 1},
        {FRAME_OUTPUT, 0, 0, 1},
        {FRAME_OUTPUT, 0, 0, 0, 1, 0, 1, 0},
        {FRAME_OUTPUT, 0, 0, 0, 0, 0, 0, 0x80},
    };
    struct frame frame;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        reader.start = reader.end = 0;
        (void)frame_feed(&reader, wrong[i], FRAME_HEADER);
        assert_int_equal(frame_next(&reader, &frame), -EPROTO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(frames_come_out_as_they_went_in, setup),
        cmocka_unit_test_setup(a_frame_in_single_bytes, setup),
        cmocka_unit_test_setup(the_longest_frame_fits_behind_another, setup),
        cmocka_unit_test_setup(what_is_no_frame_is_refused, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
