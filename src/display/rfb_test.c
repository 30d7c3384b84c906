#include "display/rfb.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "tests/harness/rfb_viewer.h"
#include "tests/harness/rng.h"

enum { WIDTH = 1100, HEIGHT = 200, RAW = 0, ZRLE = 16, SIZE = -223, KEYS = -258 };

struct fixture {
    struct screen *screen;
    struct rfb *rfb;
    struct rfb_viewer *viewer;
    uint32_t keysym;
    uint16_t code;
    bool down;
    unsigned keys, x, y, buttons, moves;
};

static void key(void *owner, uint32_t keysym, uint16_t code, bool down)
{
    struct fixture *f = owner;
    f->keysym = keysym;
    f->code = code;
    f->down = down;
    f->keys++;
}

static void pointer(void *owner, unsigned x, unsigned y, uint8_t buttons)
{
    struct fixture *f = owner;
    f->x = x;
    f->y = y;
    f->buttons = buttons;
    f->moves++;
}

static void make(struct fixture *f, unsigned minor)
{
    const struct rfb_user user = {f, key, pointer};
    assert_int_equal(screen_create(WIDTH, HEIGHT, &f->screen), 0);
    assert_int_equal(rfb_create(f->screen, "web", &user, &f->rfb), 0);
    f->viewer = rfb_viewer_create(minor);
}

static void end(struct fixture *f)
{
    rfb_destroy(f->rfb);
    rfb_viewer_destroy(f->viewer);
    screen_destroy(f->screen);
}

/* All that the server has to say. */
static void listen(struct fixture *f)
{
    const uint8_t *bytes = NULL;
    size_t length;
    while ((length = rfb_output(f->rfb, &bytes)) > 0) {
        assert_true(length <= RFB_MOST_OUTPUT);
        rfb_viewer_take(f->viewer, bytes, length);
        rfb_sent(f->rfb, length);
    }
}

static int say(struct fixture *f, const void *bytes, size_t length)
{
    struct reason reason = {""};
    int error = rfb_receive(f->rfb, bytes, length, &reason);
    assert_true((error == 0) == (reason.text[0] == '\0'));
    return error;
}

static void shake_hands(struct fixture *f, unsigned minor)
{
    char version[13] = "RFB 003.00x\n";
    version[10] = (char)('0' + minor);
    assert_int_equal(say(f, version, 12), 0);
    if (minor > 3)
        assert_int_equal(say(f, "\1", 1), 0);
    assert_false(rfb_is_viewing(f->rfb));
    assert_int_equal(say(f, "\1", 1), 0);
    assert_true(rfb_is_viewing(f->rfb));
    listen(f);
}

static void say_encodings(struct fixture *f, unsigned count, const int32_t *encodings)
{
    uint8_t message[4 + 40] = {2};
    put_be16(message + 2, (uint16_t)count);
    for (unsigned i = 0; i < count; i++)
        put_be32(message + 4 + (size_t)i * 4, (uint32_t)encodings[i]);
    assert_int_equal(say(f, message, 4 + (size_t)count * 4), 0);
}

static void ask(struct fixture *f, bool incremental, unsigned x, unsigned y, unsigned w, unsigned h)
{
    uint8_t message[10] = {3, incremental};
    put_be16(message + 2, (uint16_t)x);
    put_be16(message + 4, (uint16_t)y);
    put_be16(message + 6, (uint16_t)w);
    put_be16(message + 8, (uint16_t)h);
    assert_int_equal(say(f, message, sizeof(message)), 0);
    listen(f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    make(f, 8);
    shake_hands(f, 8);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

/* ---- pictures ---- */

static void draw_tile(struct screen *screen, struct rng *rng, unsigned column, unsigned row)
{
    uint32_t colours[18];
    unsigned kind = (unsigned)rng_below(rng, 19);
    for (unsigned i = 0; i < 18; i++)
        colours[i] = (uint32_t)rng_next(rng) & 0xffffff;
    for (unsigned y = row * 64; y < row * 64 + 64 && y < screen->height; y++) {
        for (unsigned x = column * 64; x < column * 64 + 64 && x < screen->width; x++)
            screen->pixels[y * screen->width + x] =
                kind == 0 ? (uint32_t)rng_next(rng) & 0xffffff : colours[rng_below(rng, kind)];
    }
}

static void draw(struct screen *screen, uint64_t seed)
{
    struct rng rng = {seed};
    for (unsigned row = 0; row * 64 < screen->height; row++)
        for (unsigned column = 0; column * 64 < screen->width; column++)
            draw_tile(screen, &rng, column, row);
}

static uint32_t rounded(uint32_t value, unsigned max)
{
    return max == 0 ? 0 : ((value * max + 127) / 255 * 255 + max / 2) / max;
}

static void same_picture(const struct fixture *f, unsigned red, unsigned green, unsigned blue)
{
    assert_int_equal(rfb_viewer_width(f->viewer), f->screen->width);
    assert_int_equal(rfb_viewer_height(f->viewer), f->screen->height);
    for (unsigned y = 0; y < f->screen->height; y++) {
        for (unsigned x = 0; x < f->screen->width; x++) {
            uint32_t colour = f->screen->pixels[y * f->screen->width + x];
            uint32_t wanted = rounded(colour >> 16, red) << 16 |
                              rounded(colour >> 8 & 255, green) << 8 | rounded(colour & 255, blue);
            if (rfb_viewer_pixel(f->viewer, x, y) != wanted)
                fail_msg("pixel %u, %u", x, y);
        }
    }
}

/* ---- tests ---- */

static void all_versions_are_spoken(void **state)
{
    static const unsigned minors[] = {3, 7, 8};
    (void)state;

    for (unsigned i = 0; i < 3; i++) {
        struct fixture f = {0};
        make(&f, minors[i]);
        shake_hands(&f, minors[i]);
        draw(f.screen, 1);
        ask(&f, false, 0, 0, WIDTH, HEIGHT);
        same_picture(&f, 255, 255, 255);
        end(&f);
    }
}

static void odd_versions_count_as_known_ones(void **state)
{
    struct fixture f = {0};
    (void)state;

    make(&f, 8);
    assert_int_equal(say(&f, "RFB 003.889\n", 12), 0); /* Apple's */
    assert_int_equal(say(&f, "\1\1", 2), 0);
    listen(&f);
    assert_true(rfb_viewer_rests(f.viewer));
    end(&f);
    f = (struct fixture){0};
    make(&f, 3);
    assert_int_equal(say(&f, "RFB 003.005\n\1", 13), 0);
    listen(&f);
    assert_true(rfb_viewer_rests(f.viewer));
    end(&f);
}

static void what_is_no_version_is_refused(void **state)
{
    static const char *const wrong[] = {"RFB 004.000\n", "GET / HTTP/1", "RFB 003.0x8\n",
                                        "RFB 003.008 "};
    (void)state;

    for (unsigned i = 0; i < 4; i++) {
        struct fixture f = {0};
        make(&f, 8);
        assert_int_equal(say(&f, wrong[i], 12), -EPROTO);
        end(&f);
    }
}

static void other_security_is_refused_with_a_word(void **state)
{
    const uint8_t *bytes = NULL;
    struct fixture f = {0};
    (void)state;

    make(&f, 8);
    assert_int_equal(say(&f, "RFB 003.008\n\2", 13), -EPROTO);
    size_t length = rfb_output(f.rfb, &bytes);
    assert_int_equal(length, 12 + 2 + 8 + 15);
    assert_memory_equal(bytes + 14, "\0\0\0\1\0\0\0\17no such security", 23);
    end(&f);
}

static void pictures_arrive_in_every_format_and_encoding(void **state)
{
    static const struct rfb_viewer_format formats[] = {{32, 24, false, 255, 255, 255, 16, 8, 0},
                                                       {32, 24, true, 255, 255, 255, 0, 8, 16},
                                                       {32, 24, true, 255, 255, 255, 24, 16, 8},
                                                       {32, 32, false, 255, 255, 255, 16, 8, 0},
                                                       {32, 30, false, 1023, 1023, 1023, 20, 10, 0},
                                                       {16, 16, false, 31, 63, 31, 11, 5, 0},
                                                       {16, 15, true, 31, 31, 31, 0, 5, 10},
                                                       {8, 8, false, 7, 7, 3, 0, 3, 6},
                                                       {8, 1, false, 0, 1, 0, 0, 0, 0}};
    static const int32_t encodings[] = {RAW, ZRLE};
    struct fixture *f = *state;

    for (unsigned i = 0; i < 2 * sizeof(formats) / sizeof(formats[0]); i++) {
        const struct rfb_viewer_format *format = &formats[i / 2];
        uint8_t message[20] = {
            0, 0, 0, 0, (uint8_t)format->bits, (uint8_t)format->depth, format->big_endian, 1};
        put_be16(message + 8, (uint16_t)format->red_max);
        put_be16(message + 10, (uint16_t)format->green_max);
        put_be16(message + 12, (uint16_t)format->blue_max);
        message[14] = (uint8_t)format->red_shift;
        message[15] = (uint8_t)format->green_shift;
        message[16] = (uint8_t)format->blue_shift;
        assert_int_equal(say(f, message, sizeof(message)), 0);
        rfb_viewer_set_format(f->viewer, format);
        say_encodings(f, 1, &encodings[i % 2]);
        draw(f->screen, i + 1);
        ask(f, false, 0, 0, WIDTH, HEIGHT);
        same_picture(f, format->red_max, format->green_max, format->blue_max);
    }
}

static void formats_that_cannot_be_are_refused(void **state)
{
    static const uint8_t wrong[][13] = {
        {24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0}, /* bits */
        {8, 8, 0, 0, 0, 7, 0, 7, 0, 3, 0, 3, 6},          /* a colour map */
        {32, 24, 0, 1, 0, 254, 0, 255, 0, 255, 16, 8, 0}, /* no power of two */
        {32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 25, 8, 0}, /* over the edge */
        {32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 200, 8, 0},
        {16, 16, 0, 1, 255, 255, 0, 255, 0, 255, 16, 8, 0},
    };
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t message[20] = {0};
        memcpy(message + 4, wrong[i], sizeof(wrong[i]));
        assert_int_equal(say(f, message, sizeof(message)), -EPROTO);
    }
}

static void only_what_changed_comes_when_asked(void **state)
{
    struct fixture *f = *state;
    struct screen_tiles changed = {{2}};

    ask(f, false, 0, 0, WIDTH, HEIGHT);
    unsigned updates = rfb_viewer_updates(f->viewer);
    unsigned rectangles = rfb_viewer_rectangles(f->viewer);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(rfb_viewer_updates(f->viewer), updates);
    f->screen->pixels[70] = 0x123456;
    rfb_screen_changed(f->rfb, &changed);
    listen(f);
    assert_int_equal(rfb_viewer_updates(f->viewer), updates + 1);
    assert_int_equal(rfb_viewer_rectangles(f->viewer), rectangles + 1);
    assert_int_equal(rfb_viewer_pixel(f->viewer, 70, 0), 0x123456);
    rfb_screen_changed(f->rfb, &changed);
    listen(f);
    assert_int_equal(rfb_viewer_updates(f->viewer), updates + 1); /* not asked */
    ask(f, true, 200, 100, 10, 10);
    assert_int_equal(rfb_viewer_updates(f->viewer), updates + 1); /* elsewhere */
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(rfb_viewer_updates(f->viewer), updates + 2);
}

static void bytes_may_come_one_by_one(void **state)
{
    static const uint8_t all[] = "RFB 003.008\n\1\0"
                                 "\0\0\0\0\x20\x18\0\1\0\xff\0\xff\0\xff\x10\x8\0\0\0\0"
                                 "\2\0\0\2\0\0\0\x10\xff\xff\xff\x21"
                                 "\4\1\0\0\0\0\0a"
                                 "\5\1\0\5\0\6"
                                 "\6\0\0\0\0\0\0\3cut"
                                 "\xff\0\0\1\0\0\xff\xe4\0\0\0\x9d"
                                 "\3\0\0\0\0\0\4\x4c\0\xc8";
    struct fixture f = {0};
    (void)state;

    make(&f, 8);
    draw(f.screen, 9);
    for (unsigned i = 0; i < sizeof(all) - 1; i++)
        assert_int_equal(say(&f, all + i, 1), 0);
    listen(&f);
    same_picture(&f, 255, 255, 255);
    assert_int_equal(f.keys, 2);
    assert_int_equal(f.code, 0xe01d);
    assert_int_equal(f.keysym, 0xffe4);
    assert_true(f.x == 5 && f.y == 6 && f.buttons == 1);
    end(&f);
}

static void keys_and_pointer_are_passed_on(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(say(f, "\4\0\0\0\0\0\xff\x0d", 8), 0);
    assert_true(f->keysym == 0xff0d && f->code == 0 && !f->down);
    assert_int_equal(say(f, "\xff\0\0\1\0\0\0a\0\0\0\x1e", 12), 0);
    assert_true(f->keysym == 'a' && f->code == 0x1e && f->down);
    assert_int_equal(say(f, "\xff\0\0\1\0\0\0a\0\0\1\0", 12), 0);
    assert_int_equal(f->code, 0); /* none that a keyboard has */
    assert_int_equal(say(f, "\5\4\xff\xff\xff\xff", 6), 0);
    assert_true(f->x == WIDTH - 1 && f->y == HEIGHT - 1 && f->buttons == 4);
}

static void extended_keys_are_told_of_once(void **state)
{
    static const int32_t encodings[] = {KEYS, RAW};
    struct fixture *f = *state;

    ask(f, false, 0, 0, WIDTH, HEIGHT);
    assert_false(rfb_viewer_knows_keys(f->viewer));
    say_encodings(f, 2, encodings);
    unsigned rectangles = rfb_viewer_rectangles(f->viewer);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    assert_true(rfb_viewer_knows_keys(f->viewer));
    assert_int_equal(rfb_viewer_rectangles(f->viewer), rectangles + 1);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(rfb_viewer_rectangles(f->viewer), rectangles + 1);
}

static void another_size_is_told_to_who_knows_of_it(void **state)
{
    static const int32_t encodings[] = {ZRLE, SIZE};
    struct fixture *f = *state;

    say_encodings(f, 2, encodings);
    ask(f, false, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(screen_resize(f->screen, 1921, 1081), 0);
    draw(f->screen, 3);
    rfb_screen_changed(f->rfb, NULL);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(rfb_viewer_width(f->viewer), 1921);
    ask(f, true, 0, 0, 1921, 1081);
    same_picture(f, 255, 255, 255);
}

static void another_size_is_cut_for_who_does_not(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(screen_resize(f->screen, 100, 1000), 0);
    draw(f->screen, 4);
    rfb_screen_changed(f->rfb, NULL);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(rfb_viewer_width(f->viewer), WIDTH);
    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
            assert_int_equal(rfb_viewer_pixel(f->viewer, x, y),
                             x < 100 ? f->screen->pixels[y * 100 + x] : 0);
}

/* The rectangles that were announced come, whatever becomes of the screen. */
static void the_size_may_change_amid_an_update(void **state)
{
    static const int32_t encodings[] = {RAW, SIZE};
    const uint8_t *bytes = NULL;
    struct fixture *f = *state;

    assert_int_equal(screen_resize(f->screen, 2000, 1000), 0);
    rfb_screen_changed(f->rfb, NULL);
    say_encodings(f, 2, encodings);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    uint8_t message[10] = {3, 0, 0, 0, 0, 0, 0x07, 0xd0, 0x03, 0xe8};
    assert_int_equal(say(f, message, sizeof(message)), 0);
    size_t length = rfb_output(f->rfb, &bytes);
    rfb_viewer_take(f->viewer, bytes, length);
    rfb_sent(f->rfb, length);
    assert_false(rfb_viewer_rests(f->viewer));
    assert_int_equal(screen_resize(f->screen, 300, 70), 0);
    rfb_screen_changed(f->rfb, NULL);
    draw(f->screen, 5);
    listen(f);
    assert_true(rfb_viewer_rests(f->viewer));
    ask(f, true, 0, 0, 2000, 1000);
    ask(f, true, 0, 0, 300, 70);
    same_picture(f, 255, 255, 255);
}

static void a_slow_viewer_costs_what_it_may(void **state)
{
    const uint8_t *bytes = NULL;
    struct fixture *f = *state;

    assert_int_equal(screen_resize(f->screen, 4096, 4096), 0);
    static const int32_t encodings[] = {RAW, SIZE};
    say_encodings(f, 2, encodings);
    rfb_screen_changed(f->rfb, NULL);
    ask(f, true, 0, 0, WIDTH, HEIGHT);
    uint8_t message[10] = {3, 0, 0, 0, 0, 0, 0x10, 0, 0x10, 0};
    assert_int_equal(say(f, message, sizeof(message)), 0);
    size_t length = rfb_output(f->rfb, &bytes);
    assert_in_range(length, 1, RFB_MOST_OUTPUT);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(say(f, message, sizeof(message)), 0);
        assert_int_equal(rfb_output(f->rfb, &bytes), length);
    }
}

static void messages_that_there_are_not_are_refused(void **state)
{
    static const uint8_t types[] = {1, 7, 150, 248, 251, 254};
    for (unsigned i = 0; i < sizeof(types); i++) {
        struct fixture *f = *state;
        assert_int_equal(say(f, &types[i], 1), -EPROTO);
    }
    assert_int_equal(say(*state, "\xff\1\0\0\0\0\0\0\0\0\0\0", 12), -EPROTO);
    assert_int_equal(say(*state, "\2\0\4\1", 4), -EPROTO); /* 1025 encodings */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_versions_are_spoken),
        cmocka_unit_test(odd_versions_count_as_known_ones),
        cmocka_unit_test(what_is_no_version_is_refused),
        cmocka_unit_test(other_security_is_refused_with_a_word),
        cmocka_unit_test_setup_teardown(pictures_arrive_in_every_format_and_encoding, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(formats_that_cannot_be_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(only_what_changed_comes_when_asked, setup, teardown),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test_setup_teardown(keys_and_pointer_are_passed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(extended_keys_are_told_of_once, setup, teardown),
        cmocka_unit_test_setup_teardown(another_size_is_told_to_who_knows_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(another_size_is_cut_for_who_does_not, setup, teardown),
        cmocka_unit_test_setup_teardown(the_size_may_change_amid_an_update, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_viewer_costs_what_it_may, setup, teardown),
        cmocka_unit_test_setup_teardown(messages_that_there_are_not_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("rfb", tests, NULL, NULL);
}
