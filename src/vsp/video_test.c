#include "vsp/video.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "tests/harness/ic_guest.h"

#define MIB         UINT64_C(0x100000)
#define VERSION_3_2 UINT32_C(0x20003)
#define VERSION_3_5 UINT32_C(0x50003)

enum { WIDTH = 800, HEIGHT = 600, BODY = 16 };
enum { VERSION = 1, MEMORY = 3, SITUATION = 5, FEATURES = 9, DRAWN = 10, RESOLUTIONS = 13 };

struct fixture {
    struct mem *mem;
    struct video *video;
    unsigned changes, draws;
    struct video_rectangle last;
};

static void changed(void *owner)
{
    ((struct fixture *)owner)->changes++;
}

static void drawn(void *owner, const struct video_rectangle *rectangle)
{
    struct fixture *f = owner;
    f->draws++;
    f->last = *rectangle;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct video_user user = {f, changed, drawn};

    assert_non_null(f);
    assert_int_equal(mem_create(16 * MIB, 3072 * MIB, &f->mem), 0);
    const struct video_config config = {WIDTH, HEIGHT, 4, f->mem};
    assert_int_equal(video_create(ic_guest_start(), &config, &f->video), 0);
    video_set_user(f->video, &user);
    ic_guest_open(ic_guest_find());
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    video_destroy(f->video);
    ic_guest_end();
    mem_destroy(f->mem);
    free(f);
    return 0;
}

/* ---- what the guest says ---- */

static void say(uint32_t type, const void *body, size_t length)
{
    uint8_t message[BODY + 4400] = {0};

    put_le32(message, 1);
    put_le32(message + 4, (uint32_t)length + 8);
    put_le32(message + 8, type);
    put_le32(message + 12, (uint32_t)length + 8);
    memcpy(message + BODY, body, length);
    ic_guest_put(ic_guest_find(), message, BODY + length);
}

static void say_version(uint32_t version)
{
    uint8_t body[4];
    put_le32(body, version);
    say(VERSION, body, sizeof(body));
}

static void say_memory(uint64_t gpa)
{
    uint8_t body[17] = "cookie..";
    body[8] = 1;
    put_le64(body + 9, gpa);
    say(MEMORY, body, sizeof(body));
}

static void say_situation(uint32_t depth, uint32_t width, uint32_t height, uint32_t pitch)
{
    uint8_t body[27] = "cookie..";
    body[8] = 1;
    body[9] = 1;
    body[14] = (uint8_t)depth;
    put_le32(body + 15, width);
    put_le32(body + 19, height);
    put_le32(body + 23, pitch);
    say(SITUATION, body, sizeof(body));
}

static void say_drawn(int32_t left, int32_t top, int32_t right, int32_t bottom)
{
    uint8_t body[18] = {0, 1};
    put_le32(body + 2, (uint32_t)left);
    put_le32(body + 6, (uint32_t)top);
    put_le32(body + 10, (uint32_t)right);
    put_le32(body + 14, (uint32_t)bottom);
    say(DRAWN, body, sizeof(body));
}

/* The host's next message; its body. */
static const uint8_t *take(uint32_t type, size_t body_length)
{
    static struct ic_message message;

    assert_true(ic_guest_take(ic_guest_find(), &message));
    assert_int_equal(message.length, BODY + body_length);
    assert_int_equal(get_le32(message.bytes), 1);
    assert_int_equal(get_le32(message.bytes + 4), message.length - 8);
    assert_int_equal(get_le32(message.bytes + 8), type);
    assert_int_equal(get_le32(message.bytes + 12), message.length - 8);
    return message.bytes + BODY;
}

static void nothing_comes(void)
{
    static struct ic_message message;
    assert_false(ic_guest_take(ic_guest_find(), &message));
}

static uint64_t oddities(const struct fixture *f)
{
    struct video_report report;
    video_describe(f->video, &report);
    return report.messenger.oddities;
}

/* As Linux does it, with the screen at 1 MiB. */
static void start(struct fixture *f)
{
    struct video_screen screen;

    say_version(VERSION_3_5);
    (void)take(VERSION + 1, 6);
    say_memory(MIB);
    (void)take(MEMORY + 1, 8);
    say_situation(32, WIDTH, HEIGHT, WIDTH * 4);
    (void)take(SITUATION + 1, 8);
    video_look(f->video, &screen);
    assert_int_equal(screen.width, WIDTH);
}

/* ---- tests ---- */

static void versions_are_accepted_or_not(void **state)
{
    struct video_report report;

    say_version(VERSION_3_5);
    const uint8_t *body = take(VERSION + 1, 6);
    assert_int_equal(get_le32(body), VERSION_3_5);
    assert_int_equal(body[4], 1);
    assert_int_equal(body[5], 1);
    say_version(3); /* 3.0, of Windows 7 */
    body = take(VERSION + 1, 6);
    assert_int_equal(get_le32(body), 3);
    assert_int_equal(body[4], 0);
    say_version(VERSION_3_2);
    assert_int_equal(take(VERSION + 1, 6)[4], 1);
    video_describe(((struct fixture *)*state)->video, &report);
    assert_int_equal(report.major, 3);
    assert_int_equal(report.minor, 2);
}

static void the_wanted_resolution_is_the_first(void **state)
{
    const uint8_t most = 64;
    struct fixture *f = *state;

    say(RESOLUTIONS, &most, 1);
    nothing_comes(); /* no version yet */
    assert_int_equal(oddities(f), 1);
    say_version(VERSION_3_5);
    (void)take(VERSION + 1, 6);
    say(RESOLUTIONS, &most, 1);
    /* 800 x 600; 640 x 480, 1024 x 768, 1152 x 864 and 1280 x 720 fit in 4 MiB as well */
    const uint8_t *body = take(RESOLUTIONS + 1, 128 + 3 + 5 * 4);
    assert_int_equal(body[128], 5);
    assert_int_equal(body[129], 0);
    assert_int_equal(get_le16(body + 131), WIDTH);
    assert_int_equal(get_le16(body + 133), HEIGHT);
    assert_int_equal(get_le16(body + 131 + 16), 1280);
    const uint8_t one = 1;
    say(RESOLUTIONS, &one, 1);
    assert_int_equal(take(RESOLUTIONS + 1, 128 + 3 + 4)[128], 1);
}

static void a_screen_is_where_the_guest_says(void **state)
{
    struct fixture *f = *state;
    struct video_screen screen;

    start(f);
    assert_int_equal(f->changes, 2);
    assert_int_equal(mem_write(f->mem, MIB + 4, "\x11\x22\x33\x44", 4), 0);
    video_look(f->video, &screen);
    assert_int_equal(screen.height, HEIGHT);
    assert_int_equal(screen.pitch, WIDTH * 4);
    assert_int_equal(get_le32(screen.pixels + 4), 0x44332211);
    assert_int_equal(oddities(f), 0);
}

static void a_screen_that_cannot_be_is_none(void **state)
{
    static const uint32_t wrong[][4] = {
        {16, 800, 600, 3200},   {32, 0, 600, 3200},      {32, 800, 0, 3200},
        {32, 4097, 600, 65536}, {32, 800, 4097, 3200},   {32, 800, 600, 3199},
        {32, 800, 600, 65537},  {32, UINT32_MAX, 1, 64}, {32, 0x40000001, 1, 64},
    };
    struct fixture *f = *state;
    struct video_screen screen;

    start(f);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        say_situation(wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3]);
        (void)take(SITUATION + 1, 8);
        video_look(f->video, &screen);
        assert_int_equal(screen.width, 0);
        assert_int_equal(oddities(f), i + 1);
    }
    say_situation(32, WIDTH, HEIGHT, WIDTH * 4);
    (void)take(SITUATION + 1, 8);
    video_look(f->video, &screen);
    assert_int_equal(screen.width, WIDTH);
}

static void a_screen_outside_memory_is_none(void **state)
{
    static const uint64_t wrong[] = {15 * MIB, 16 * MIB, UINT64_MAX, UINT64_MAX - UINT32_MAX,
                                     3072 * MIB};
    struct fixture *f = *state;
    struct video_screen screen;

    start(f);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        say_memory(wrong[i]);
        (void)take(MEMORY + 1, 8);
        video_look(f->video, &screen);
        assert_int_equal(screen.width, 0);
        assert_null(screen.pixels);
    }
}

static void drawing_is_told_while_somebody_looks(void **state)
{
    struct fixture *f = *state;

    start(f);
    say_drawn(0, 0, 10, 10);
    assert_int_equal(f->draws, 0);
    video_watch(f->video, true);
    assert_int_equal(take(FEATURES, 4)[0], 1);
    video_watch(f->video, true);
    nothing_comes();
    say_drawn(10, 20, 30, 40);
    assert_int_equal(f->draws, 1);
    assert_int_equal(f->last.left, 10);
    assert_int_equal(f->last.bottom, 40);
    video_watch(f->video, false);
    assert_int_equal(take(FEATURES, 4)[0], 0);
}

static void rectangles_are_cut_to_the_screen(void **state)
{
    struct fixture *f = *state;

    start(f);
    video_watch(f->video, true);
    say_drawn(-5, INT32_MIN, INT32_MAX, 1000);
    assert_int_equal(f->draws, 1);
    assert_int_equal(f->last.left, 0);
    assert_int_equal(f->last.top, 0);
    assert_int_equal(f->last.right, WIDTH);
    assert_int_equal(f->last.bottom, HEIGHT);
    say_drawn(10, 10, 10, 20);
    say_drawn(20, 20, 10, 10);
    say_drawn(WIDTH, 0, WIDTH + 5, 5);
    assert_int_equal(f->draws, 1);
    assert_int_equal(oddities(f), 0);
}

static void more_rectangles_than_there_are_make_no_sense(void **state)
{
    uint8_t body[2 + 255 * 16] = {0, 255};
    struct fixture *f = *state;

    start(f);
    video_watch(f->video, true);
    for (unsigned i = 0; i < 255; i++) {
        put_le32(body + 2 + i * 16 + 8, 1);
        put_le32(body + 2 + i * 16 + 12, 1);
    }
    say(DRAWN, body, sizeof(body));
    assert_int_equal(f->draws, 255);
    say(DRAWN, body, sizeof(body) - 1);
    assert_int_equal(f->draws, 255);
    assert_int_equal(oddities(f), 1);
}

static void who_looks_before_the_guest_is_there_is_told(void **state)
{
    struct fixture *f = *state;

    video_watch(f->video, true);
    nothing_comes();
    start(f);
    assert_int_equal(take(FEATURES, 4)[0], 1);
}

static void closing_ends_the_screen(void **state)
{
    struct fixture *f = *state;
    struct video_screen screen;

    start(f);
    video_watch(f->video, true);
    (void)take(FEATURES, 4);
    unsigned before = f->changes;
    ic_guest_close(ic_guest_find());
    assert_int_equal(f->changes, before + 1);
    video_look(f->video, &screen);
    assert_int_equal(screen.width, 0);
    ic_guest_open(ic_guest_find());
    start(f);
    assert_int_equal(take(FEATURES, 4)[0], 1); /* it is told anew */
}

static void short_messages_make_no_sense(void **state)
{
    static const uint32_t types[] = {VERSION, MEMORY, SITUATION, DRAWN, RESOLUTIONS, 0, 15, 77};
    struct fixture *f = *state;

    start(f);
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        say(types[i], "", 0);
        assert_int_equal(oddities(f), i + 1);
    }
    nothing_comes();
    ic_guest_put(ic_guest_find(), "\1\0\0\0", 4);
    assert_int_equal(oddities(f), sizeof(types) / sizeof(types[0]) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(versions_are_accepted_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(the_wanted_resolution_is_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_screen_is_where_the_guest_says, setup, teardown),
        cmocka_unit_test_setup_teardown(a_screen_that_cannot_be_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_screen_outside_memory_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(drawing_is_told_while_somebody_looks, setup, teardown),
        cmocka_unit_test_setup_teardown(rectangles_are_cut_to_the_screen, setup, teardown),
        cmocka_unit_test_setup_teardown(more_rectangles_than_there_are_make_no_sense, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_looks_before_the_guest_is_there_is_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(closing_ends_the_screen, setup, teardown),
        cmocka_unit_test_setup_teardown(short_messages_make_no_sense, setup, teardown),
    };
    return cmocka_run_group_tests_name("video", tests, NULL, NULL);
}
