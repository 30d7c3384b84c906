#include "worker/serial_input.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

/* A guest that takes at most `room` bytes until it is given more. */
static struct {
    struct loop *loop;
    struct serial_input *input;
    struct loop_timer *timer;
    size_t room;
    uint8_t taken[32 * 1024];
    size_t length, wanted;
    unsigned ticks;
    bool left;
} guest;

static size_t take(void *owner, const uint8_t *bytes, size_t length)
{
    (void)owner;
    if (length > guest.room)
        length = guest.room;
    memcpy(guest.taken + guest.length, bytes, length);
    guest.length += length;
    guest.room -= length;
    if (guest.length >= guest.wanted)
        loop_stop(guest.loop);
    return length;
}

static void note_left(void *owner)
{
    (void)owner;
    guest.left = true;
    loop_stop(guest.loop);
}

/* Room comes back a little at a time; the 2000th tick ends a test that hangs. */
static void tick(void *owner)
{
    (void)owner;
    guest.ticks++;
    guest.room = guest.room + 100;
    serial_input_ready(guest.input);
    if (guest.ticks > 2000)
        loop_stop(guest.loop);
    else
        loop_timer_set(guest.timer, clock_monotonic_ns() + UINT64_C(100000));
}

static int set_up(void **state)
{
    (void)state;
    memset(&guest, 0, sizeof(guest));
    guest.wanted = SIZE_MAX;
    guest.room = SIZE_MAX / 2;
    return loop_create(&guest.loop);
}

static int tear_down(void **state)
{
    (void)state;
    serial_input_destroy(guest.input);
    if (guest.timer != NULL)
        loop_timer_destroy(guest.timer);
    loop_destroy(guest.loop);
    return 0;
}

static void read_from(int fd, bool terminal)
{
    const struct serial_host host = {.input = take, .left = note_left};

    assert_int_equal(serial_input_create(guest.loop, fd, terminal, &host, &guest.input), 0);
    assert_int_equal(loop_timer_create(guest.loop, tick, NULL, &guest.timer), 0);
    loop_timer_set(guest.timer, 1);
    assert_int_equal(loop_run(guest.loop), 0);
}

static void pipe_waits_for_the_guest(void **state)
{
    static uint8_t bytes[20000];
    int ends[2];
    (void)state;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], bytes, sizeof(bytes)), sizeof(bytes));
    (void)close(ends[1]); /* the end of input comes before the guest has room */
    guest.room = 0;
    guest.wanted = sizeof(bytes);
    read_from(ends[0], false);
    assert_int_equal(guest.length, sizeof(bytes));
    assert_memory_equal(guest.taken, bytes, sizeof(bytes));
    (void)close(ends[0]);
}

static void regular_file_is_read_though_epoll_refuses_it(void **state)
{
    FILE *file = tmpfile();
    (void)state;

    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        (void)fprintf(file, "line %4d\n", i);
    (void)fflush(file);
    assert_int_equal(lseek(fileno(file), 0, SEEK_SET), 0);
    guest.room = 17;
    guest.wanted = 10000;
    read_from(fileno(file), false);
    assert_int_equal(guest.length, 10000);
    assert_memory_equal(guest.taken + 9990, "line  999\n", 10);
    (void)fclose(file);
}

static void null_device_ends_at_once_without_spinning(void **state)
{
    int fd = open("/dev/null", O_RDONLY);
    (void)state;

    read_from(fd, false); /* ends by the ticks: nothing else happens */
    assert_int_equal(guest.length, 0);
    assert_false(guest.left);
    (void)close(fd);
}

static void escape_is_heard_while_the_guest_takes_nothing(void **state)
{
    int ends[2];
    char bytes[8000];
    (void)state;

    memset(bytes, 'a', sizeof(bytes));
    bytes[7000] = 0x1d;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], bytes, sizeof(bytes)), sizeof(bytes));
    guest.room = 3;
    read_from(ends[0], true);
    assert_true(guest.left);
    assert_true(guest.ticks < 1000);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void escape_is_a_byte_like_others_without_a_terminal(void **state)
{
    int ends[2];
    (void)state;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "a\035b", 3), 3);
    guest.wanted = 3;
    read_from(ends[0], false);
    assert_int_equal(guest.length, 3);
    assert_false(guest.left);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

#define INPUT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INPUT_TEST(pipe_waits_for_the_guest),
        INPUT_TEST(regular_file_is_read_though_epoll_refuses_it),
        INPUT_TEST(null_device_ends_at_once_without_spinning),
        INPUT_TEST(escape_is_heard_while_the_guest_takes_nothing),
        INPUT_TEST(escape_is_a_byte_like_others_without_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
