/*
 * What a viewer is owed, and when: RFC 6143 § 7.5.3, § 7.6.1. An update is encoded rectangle by
 * rectangle, as the viewer takes it, and not many at once, however small they become: others wait;
 * what changes meanwhile is for the next.
 */
#include <string.h>

#include "base/bytes.h"
#include "display/rfb_private.h"

enum { UPDATE_HEADER = 4, MOST_RECTANGLES = 65535, TILES_A_TURN = 32 };
_Static_assert(SCREEN_TILE_ROWS * 64 < MOST_RECTANGLES, "all tiles go into an update");
_Static_assert(RFB_MOST_RECTANGLE + 64 < RFB_MOST_OUTPUT, "a rectangle goes into the output");

void rfb_ask(struct rfb *rfb, bool all, unsigned x, unsigned y, unsigned width, unsigned height)
{
    struct screen_tiles area;
    unsigned right = x + width < rfb->width ? x + width : rfb->width;
    unsigned bottom = y + height < rfb->height ? y + height : rfb->height;

    screen_tiles_of((struct screen_rectangle){x, y, right, bottom}, &area);
    screen_tiles_add(&rfb->asked, &area);
    if (all)
        screen_tiles_add(&rfb->owed, &area);
    rfb->is_asked = true;
}

void rfb_screen_changed(struct rfb *rfb, const struct screen_tiles *tiles)
{
    struct screen_tiles all;

    if (tiles != NULL) {
        screen_tiles_add(&rfb->owed, tiles);
        return;
    }
    rfb->resized = rfb->screen->width != rfb->width || rfb->screen->height != rfb->height;
    screen_tiles_of((struct screen_rectangle){0, 0, rfb->width, rfb->height}, &all);
    screen_tiles_add(&rfb->owed, &all);
}

static void put(struct rfb *rfb, const uint8_t *bytes, size_t length)
{
    memcpy(rfb->output + rfb->filled, bytes, length);
    rfb->filled += length;
}

static void begin_update(struct rfb *rfb, unsigned rectangles)
{
    uint8_t header[UPDATE_HEADER] = {0};

    put_be16(header + 2, (uint16_t)rectangles);
    put(rfb, header, sizeof(header));
    rfb->is_asked = false;
    rfb->asked = (struct screen_tiles){{0}};
}

/* By itself: what comes before it has the old size, what comes behind the new one. */
static void tell_size(struct rfb *rfb)
{
    uint8_t rectangle[12];

    begin_update(rfb, 1);
    rfb->width = rfb->screen->width;
    rfb->height = rfb->screen->height;
    rfb->resized = false;
    put(rfb, rectangle,
        rfb_put_rectangle(rectangle, 0, 0, rfb->width, rfb->height, RFB_DESKTOP_SIZE));
    screen_tiles_of((struct screen_rectangle){0, 0, rfb->width, rfb->height}, &rfb->owed);
}

/* What is owed of what was asked for; also taken off what is owed. */
static unsigned choose_tiles(struct rfb *rfb)
{
    struct screen_tiles known;
    struct screen_run run;
    unsigned count = 0;

    screen_tiles_of((struct screen_rectangle){0, 0, rfb->width, rfb->height}, &known);
    for (unsigned row = 0; row < SCREEN_TILE_ROWS; row++) {
        rfb->owed.row[row] &= known.row[row];
        rfb->sending.row[row] = rfb->owed.row[row] & rfb->asked.row[row];
        rfb->owed.row[row] &= ~rfb->sending.row[row];
    }
    known = rfb->sending;
    while (screen_tiles_next(&known, RFB_MOST_RUN, &run))
        count++;
    return count;
}

static void start_update(struct rfb *rfb)
{
    uint8_t rectangle[12];
    bool tells_keys = rfb->knows_keys && !rfb->keys_told;

    rfb_use_format(rfb, &rfb->next_format);
    if (rfb->resized && rfb->knows_size) {
        tell_size(rfb);
        return;
    }
    unsigned count = choose_tiles(rfb);
    if (count == 0 && !tells_keys)
        return;
    begin_update(rfb, count + tells_keys);
    if (tells_keys)
        put(rfb, rectangle,
            rfb_put_rectangle(rectangle, 0, 0, rfb->width, rfb->height, RFB_EXTENDED_KEYS));
    rfb->keys_told |= tells_keys;
}

void rfb_fill(struct rfb *rfb)
{
    struct screen_tiles left = rfb->sending;
    struct screen_run run;

    if (rfb->is_asked && !screen_tiles_next(&left, 1, &run))
        start_update(rfb);
    for (unsigned tiles = 0; tiles < TILES_A_TURN; tiles += run.count) {
        if (rfb->filled + RFB_MOST_RECTANGLE > RFB_MOST_OUTPUT ||
            !screen_tiles_next(&rfb->sending, RFB_MOST_RUN, &run))
            break;
        rfb->filled += rfb_encode(rfb, &run, rfb->output + rfb->filled);
    }
}
