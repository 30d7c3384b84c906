/*
 * A screen as its viewers see it: a copy of the pixels that the guest draws, in tiles, so that what
 * changed is known by tile and what a viewer gets cannot change under its encoder.
 *
 * One thread. The guest's memory may change at any time: each pixel is read once, into the copy.
 */
#ifndef DISPLAY_SCREEN_H
#define DISPLAY_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SCREEN_TILE = 64, /* pixels each way: also that of ZRLE (RFC 6143 § 7.7.6) */
    SCREEN_MOST_WIDTH = 4096,
    SCREEN_MOST_HEIGHT = 4096,
    SCREEN_TILE_ROWS = SCREEN_MOST_HEIGHT / SCREEN_TILE,
};

/* One bit a tile, row by row, bit 0 left. */
struct screen_tiles {
    uint64_t row[SCREEN_TILE_ROWS];
};
_Static_assert(SCREEN_MOST_WIDTH / SCREEN_TILE == 64, "a row of tiles is a word");

/* From left and top up to but not with right and bottom. */
struct screen_rectangle {
    unsigned left, top, right, bottom;
};

/* Neighbours in a row of tiles. */
struct screen_run {
    unsigned row, first, count;
};

struct screen {
    unsigned width, height; /* 1 x 1 at least */
    uint32_t *pixels;       /* 0x00rrggbb, row by row without gaps */
};

/* Black. -EINVAL for a size that cannot be, -ENOMEM. */
int screen_create(unsigned width, unsigned height, struct screen **ret);
/* The same for one that is there; it is unchanged when that fails. */
int screen_resize(struct screen *screen, unsigned width, unsigned height);
/* NULL is accepted. */
void screen_destroy(struct screen *screen);

/*
 * Take a rectangle in; what lies outside is cut off. `from` is the guest's first pixel of the whole
 * screen, little-endian 0x??rrggbb, `pitch` bytes a row: all of it is readable. The tiles that
 * really changed are added to `changed`.
 */
void screen_take(struct screen *screen, struct screen_rectangle rectangle, const uint8_t *from,
                 size_t pitch, struct screen_tiles *changed);

void screen_tiles_add(struct screen_tiles *to, const struct screen_tiles *more);
/* Those that a rectangle touches; empty when it is. */
void screen_tiles_of(struct screen_rectangle rectangle, struct screen_tiles *ret);
/* Take the first `most` tiles out, or fewer that are neighbours; false: none is left. */
bool screen_tiles_next(struct screen_tiles *tiles, unsigned most, struct screen_run *ret);

#endif
