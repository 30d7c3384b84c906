#include "worker/viewer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vsp/keyboard.h"
#include "vsp/mouse.h"

/*
 * What the guest gets, in place of the devices: the viewer is linked with these. A key up has bit
 * 0x100, one with the prefix 0x80.
 */
enum { MOST = 64 };
static unsigned strokes[MOST], stroke_count;
static struct mouse_report reports[MOST];
static unsigned report_count;

/* NOLINTBEGIN(readability-identifier-naming): the linker wants these names */
int __wrap_keyboard_send(struct keyboard *keyboard, const struct keystroke *sent, size_t count);
int __wrap_mouse_send(struct mouse *mouse, const struct mouse_report *sent, size_t count);
struct mouse_report __wrap_mouse_last(const struct mouse *mouse);
/* NOLINTEND(readability-identifier-naming) */

int __wrap_keyboard_send(struct keyboard *keyboard, const struct keystroke *sent, size_t count)
{
    (void)keyboard;
    for (size_t i = 0; i < count; i++)
        strokes[stroke_count++] =
            sent[i].code | (sent[i].e0 ? 0x80u : 0) | (sent[i].up ? 0x100u : 0);
    return 0;
}

int __wrap_mouse_send(struct mouse *mouse, const struct mouse_report *sent, size_t count)
{
    (void)mouse;
    for (size_t i = 0; i < count; i++)
        reports[report_count++] = sent[i];
    return 0;
}

struct mouse_report __wrap_mouse_last(const struct mouse *mouse)
{
    (void)mouse;
    return report_count > 0 ? reports[report_count - 1] : (struct mouse_report){0};
}

struct fixture {
    struct loop *loop;
    struct screen *screen;
    struct viewer *viewer;
    int fd;
    bool left;
};

static void left(void *owner, struct viewer *viewer)
{
    struct fixture *f = owner;
    assert_ptr_equal(viewer, f->viewer);
    f->left = true;
    viewer_destroy(viewer);
    f->viewer = NULL;
    loop_stop(f->loop);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int ends[2];

    assert_non_null(f);
    stroke_count = report_count = 0;
    assert_int_equal(loop_create(&f->loop), 0);
    assert_int_equal(screen_create(1024, 768, &f->screen), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    const struct viewer_config config = {
        .loop = f->loop, .screen = f->screen, .name = "x", .owner = f, .left = left};
    assert_int_equal(viewer_create(&config, ends[0], &f->viewer), 0);
    f->fd = ends[1];
    assert_int_equal(send(f->fd, "RFB 003.008\n\1\1", 14, 0), 14);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    viewer_destroy(f->viewer);
    screen_destroy(f->screen);
    loop_destroy(f->loop);
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f);
    return 0;
}

/* All that was said is heard; then the viewer goes, which ends the loop. */
static void hear(struct fixture *f)
{
    assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
    assert_int_equal(loop_run(f->loop), 0);
    assert_true(f->left);
}

static void key(const struct fixture *f, uint16_t keysym, bool down)
{
    const uint8_t message[8] = {4, down, 0, 0, 0, 0, (uint8_t)(keysym >> 8), (uint8_t)keysym};
    assert_int_equal(send(f->fd, message, sizeof(message), 0), sizeof(message));
}

static void assert_strokes(unsigned count, const unsigned *wanted)
{
    assert_int_equal(stroke_count, count);
    assert_memory_equal(strokes, wanted, count * sizeof(*wanted));
}

static void characters_take_shift_where_they_need_it(void **state)
{
    struct fixture *f = *state;

    key(f, 'A', true); /* from a viewer that tells no shift */
    key(f, 'A', false);
    key(f, 0xffe1, true);
    key(f, 'B', true); /* with shift as it is here */
    key(f, 'B', false);
    key(f, '/', true); /* a layout where that one needs shift */
    key(f, '/', false);
    key(f, 0xffe1, false);
    hear(f);
    static const unsigned wanted[] = {0x2a,  0x1e,  0x12a, 0x11e, 0x2a,  0x30,
                                      0x130, 0x12a, 0x35,  0x2a,  0x135, 0x12a};
    assert_strokes(12, wanted);
}

static void keys_that_are_held_are_let_go(void **state)
{
    struct fixture *f = *state;

    key(f, 0xffe4, true); /* the right control key has a prefix */
    key(f, 0xffe9, true);
    key(f, 0x20ac, true); /* there is no such key */
    hear(f);
    static const unsigned wanted[] = {0x9d, 0x38, 0x138, 0x19d};
    assert_strokes(4, wanted);
}

static void pointers_cover_the_screen(void **state)
{
    static const uint8_t moves[] = {5, 0,  0,   0,   0,   0,   5, 1,  3, 255, 2, 255,
                                    5, 4,  255, 255, 255, 255, 5, 12, 0, 0,   0, 0,
                                    5, 12, 0,   0,   0,   0,   5, 16, 0, 0,   0, 0};
    struct fixture *f = *state;

    assert_int_equal(send(f->fd, moves, sizeof(moves), 0), sizeof(moves));
    hear(f);
    assert_int_equal(report_count, 6);
    assert_true(reports[0].x == 0 && reports[0].y == 0 && reports[0].buttons == 0);
    assert_true(reports[1].x == MOUSE_MOST_POSITION && reports[1].y == MOUSE_MOST_POSITION);
    assert_int_equal(reports[1].buttons, 1);
    assert_true(reports[2].x == MOUSE_MOST_POSITION && reports[2].buttons == 2); /* the right one */
    assert_true(reports[3].wheel == 1 && reports[4].wheel == 0 && reports[5].wheel == -1);
}

static void buttons_that_are_held_are_let_go(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send(f->fd, "\5\1\0\7\0\7", 6, 0), 6);
    hear(f);
    assert_int_equal(report_count, 2);
    assert_int_equal(reports[1].buttons, 0);
    assert_int_equal(reports[1].x, reports[0].x);
}

static void who_makes_no_sense_gets_what_waits_and_goes(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[100];

    assert_int_equal(send(f->fd, "\177", 1, 0), 1);
    assert_int_equal(loop_run(f->loop), 0); /* though it did not close */
    assert_true(f->left);
    assert_int_equal(recv(f->fd, bytes, sizeof(bytes), 0), 12 + 2 + 4 + 24 + 1);
    assert_int_equal(recv(f->fd, bytes, sizeof(bytes), 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(characters_take_shift_where_they_need_it, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_that_are_held_are_let_go, setup, teardown),
        cmocka_unit_test_setup_teardown(pointers_cover_the_screen, setup, teardown),
        cmocka_unit_test_setup_teardown(buttons_that_are_held_are_let_go, setup, teardown),
        cmocka_unit_test_setup_teardown(who_makes_no_sense_gets_what_waits_and_goes, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("viewer", tests, NULL, NULL);
}
