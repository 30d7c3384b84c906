#include "display/screen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define COLOURS UINT32_C(0xffffff)

static bool size_is_right(unsigned width, unsigned height)
{
    return width >= 1 && width <= SCREEN_MOST_WIDTH && height >= 1 && height <= SCREEN_MOST_HEIGHT;
}

int screen_create(unsigned width, unsigned height, struct screen **ret)
{
    struct screen *screen = calloc(1, sizeof(*screen));

    if (screen == NULL)
        return -ENOMEM;
    int error = screen_resize(screen, width, height);
    if (error < 0)
        screen_destroy(screen);
    else
        *ret = screen;
    return error;
}

int screen_resize(struct screen *screen, unsigned width, unsigned height)
{
    if (!size_is_right(width, height))
        return -EINVAL;
    uint32_t *pixels = calloc((size_t)width * height, sizeof(*pixels));
    if (pixels == NULL)
        return -ENOMEM;
    free(screen->pixels);
    screen->pixels = pixels;
    screen->width = width;
    screen->height = height;
    return 0;
}

void screen_destroy(struct screen *screen)
{
    if (screen == NULL)
        return;
    free(screen->pixels);
    free(screen);
}

/* ---- taking pixels in ---- */

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* `count` pixels of the guest's, at most a tile's row. True: one was another. */
static bool take_row(uint32_t *to, const uint8_t *from, unsigned count)
{
    uint8_t bytes[SCREEN_TILE * sizeof(uint32_t)];
    uint32_t pixels[SCREEN_TILE];

    memcpy(bytes, from, count * sizeof(uint32_t)); /* the only look at the guest's memory */
    for (unsigned i = 0; i < count; i++)
        pixels[i] = get_le32(bytes + i * sizeof(uint32_t)) & COLOURS;
    if (memcmp(to, pixels, count * sizeof(uint32_t)) == 0)
        return false;
    memcpy(to, pixels, count * sizeof(uint32_t));
    return true;
}

/* A rectangle that lies in one tile. */
static bool take_tile(struct screen *screen, const struct screen_rectangle *tile,
                      const uint8_t *from, size_t pitch)
{
    bool changed = false;

    for (unsigned y = tile->top; y < tile->bottom; y++)
        changed |=
            take_row(screen->pixels + (size_t)y * screen->width + tile->left,
                     from + y * pitch + tile->left * sizeof(uint32_t), tile->right - tile->left);
    return changed;
}

static unsigned end_of_tile(unsigned place, unsigned most)
{
    return smaller((place / SCREEN_TILE + 1) * SCREEN_TILE, most);
}

void screen_take(struct screen *screen, struct screen_rectangle rectangle, const uint8_t *from,
                 size_t pitch, struct screen_tiles *changed)
{
    unsigned right = smaller(rectangle.right, screen->width);
    unsigned bottom = smaller(rectangle.bottom, screen->height);

    for (unsigned y = rectangle.top; y < bottom; y = end_of_tile(y, bottom)) {
        for (unsigned x = rectangle.left; x < right; x = end_of_tile(x, right)) {
            const struct screen_rectangle tile = {x, y, end_of_tile(x, right),
                                                  end_of_tile(y, bottom)};
            if (take_tile(screen, &tile, from, pitch))
                changed->row[y / SCREEN_TILE] |= UINT64_C(1) << x / SCREEN_TILE;
        }
    }
}

/* ---- tiles ---- */

void screen_tiles_add(struct screen_tiles *to, const struct screen_tiles *more)
{
    for (unsigned row = 0; row < SCREEN_TILE_ROWS; row++)
        to->row[row] |= more->row[row];
}

void screen_tiles_of(struct screen_rectangle rectangle, struct screen_tiles *ret)
{
    unsigned right = smaller(rectangle.right, SCREEN_MOST_WIDTH);
    unsigned bottom = smaller(rectangle.bottom, SCREEN_MOST_HEIGHT);

    *ret = (struct screen_tiles){{0}};
    if (rectangle.left >= right || rectangle.top >= bottom)
        return;
    unsigned first = rectangle.left / SCREEN_TILE;
    unsigned last = (right - 1) / SCREEN_TILE;
    uint64_t bits = UINT64_MAX << first & UINT64_MAX >> (63 - last);
    for (unsigned row = rectangle.top / SCREEN_TILE; row <= (bottom - 1) / SCREEN_TILE; row++)
        ret->row[row] = bits;
}

bool screen_tiles_next(struct screen_tiles *tiles, unsigned most, struct screen_run *ret)
{
    for (unsigned row = 0; row < SCREEN_TILE_ROWS; row++) {
        uint64_t bits = tiles->row[row];
        if (bits == 0)
            continue;
        unsigned first = (unsigned)__builtin_ctzll(bits);
        unsigned count = 1;
        while (count < most && first + count < 64 && (bits >> (first + count) & 1) != 0)
            count++;
        *ret = (struct screen_run){row, first, count};
        tiles->row[row] = bits & ~(UINT64_MAX >> (64 - count) << first);
        return true;
    }
    return false;
}
