#include "display/screen.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

enum { WIDTH = 200, HEIGHT = 130, PITCH = WIDTH * 4 + 12 };

static uint8_t guest[HEIGHT * PITCH];

static void draw(unsigned x, unsigned y, uint32_t colour)
{
    put_le32(guest + (size_t)y * PITCH + (size_t)x * 4, colour);
}

static struct screen_tiles take(struct screen *screen, unsigned left, unsigned top, unsigned right,
                                unsigned bottom)
{
    struct screen_tiles changed = {{0}};
    screen_take(screen, (struct screen_rectangle){left, top, right, bottom}, guest, PITCH,
                &changed);
    return changed;
}

static int setup(void **state)
{
    struct screen *screen = NULL;
    memset(guest, 0, sizeof(guest));
    assert_int_equal(screen_create(WIDTH, HEIGHT, &screen), 0);
    *state = screen;
    return 0;
}

static int teardown(void **state)
{
    screen_destroy(*state);
    return 0;
}

static void only_what_changed_is_told(void **state)
{
    struct screen *screen = *state;

    draw(0, 0, 0xff123456);
    draw(65, 129, 0x00000001);
    draw(199, 64, 0x01000000); /* black: the upper byte is no colour */
    struct screen_tiles changed = take(screen, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(changed.row[0], 1);
    assert_int_equal(changed.row[1], 0);
    assert_int_equal(changed.row[2], 2);
    assert_int_equal(screen->pixels[0], 0x123456);
    assert_int_equal(screen->pixels[129 * WIDTH + 65], 1);
    changed = take(screen, 0, 0, WIDTH, HEIGHT);
    assert_int_equal(changed.row[0] | changed.row[2], 0);
}

static void rectangles_have_their_bounds(void **state)
{
    struct screen *screen = *state;

    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
            draw(x, y, 7);
    struct screen_tiles changed = take(screen, 63, 64, 65, 128);
    assert_int_equal(changed.row[0], 0);
    assert_int_equal(changed.row[1], 3);
    assert_int_equal(changed.row[2], 0);
    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
            assert_int_equal(screen->pixels[y * WIDTH + x],
                             x >= 63 && x < 65 && y >= 64 && y < 128 ? 7 : 0);
    changed = take(screen, 10, 10, 10, 20);
    assert_int_equal(changed.row[0], 0);
    changed = take(screen, 199, 129, UINT32_MAX, UINT32_MAX);
    assert_int_equal(changed.row[2], 8);
}

static void sizes_have_their_bounds(void **state)
{
    struct screen *screen = *state;

    screen->pixels[0] = 5;
    assert_int_equal(screen_resize(screen, 0, 1), -EINVAL);
    assert_int_equal(screen_resize(screen, 1, SCREEN_MOST_HEIGHT + 1), -EINVAL);
    assert_int_equal(screen->pixels[0], 5);
    assert_int_equal(screen_resize(screen, SCREEN_MOST_WIDTH, 1), 0);
    assert_int_equal(screen->width, SCREEN_MOST_WIDTH);
    assert_int_equal(screen->pixels[0], 0);
}

static void rectangles_touch_tiles(void **state)
{
    struct screen_tiles tiles;
    (void)state;

    screen_tiles_of((struct screen_rectangle){0, 0, 1, 1}, &tiles);
    assert_int_equal(tiles.row[0], 1);
    screen_tiles_of((struct screen_rectangle){63, 63, 129, 65}, &tiles);
    assert_int_equal(tiles.row[0], 7);
    assert_int_equal(tiles.row[1], 7);
    assert_int_equal(tiles.row[2], 0);
    screen_tiles_of((struct screen_rectangle){0, 0, UINT32_MAX, UINT32_MAX}, &tiles);
    assert_int_equal(tiles.row[63], UINT64_MAX);
    screen_tiles_of((struct screen_rectangle){5, 5, 5, 9}, &tiles);
    assert_int_equal(tiles.row[0], 0);
}

static void runs_come_in_order(void **state)
{
    struct screen_tiles tiles = {{0}};
    struct screen_run run;
    (void)state;

    tiles.row[1] = 0x8000000000000016; /* 1, 2, 4 and 63 */
    tiles.row[63] = UINT64_MAX;
    static const struct screen_run wanted[] = {
        {1, 1, 2}, {1, 4, 1}, {1, 63, 1}, {63, 0, 40}, {63, 40, 24}};
    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_true(screen_tiles_next(&tiles, 40, &run));
        assert_memory_equal(&run, &wanted[i], sizeof(run));
    }
    assert_false(screen_tiles_next(&tiles, 40, &run));
    tiles.row[0] = UINT64_MAX;
    assert_true(screen_tiles_next(&tiles, 64, &run));
    assert_int_equal(run.count, 64);
    assert_false(screen_tiles_next(&tiles, 64, &run));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_changed_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(rectangles_have_their_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_have_their_bounds, setup, teardown),
        cmocka_unit_test(rectangles_touch_tiles),
        cmocka_unit_test(runs_come_in_order),
    };
    return cmocka_run_group_tests_name("screen", tests, NULL, NULL);
}
