/*
 * Pixels and rectangles as the viewer wants them: RFC 6143 § 7.4 (formats), § 7.7.1 (Raw), § 7.7.6
 * (ZRLE).
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "display/rfb_private.h"

enum {
    TILE_PIXELS = SCREEN_TILE * SCREEN_TILE,
    MOST_PALETTE = 16,
    TILE_RAW = 0,
    TILE_SOLID = 1,
};

/* ---- formats ---- */

void rfb_write_format(const struct rfb_format *format, uint8_t to[RFB_FORMAT_SIZE])
{
    memset(to, 0, RFB_FORMAT_SIZE);
    to[0] = format->bits;
    to[1] = format->depth;
    to[2] = format->big_endian;
    to[3] = 1; /* true colour */
    put_be16(to + 4, format->red_max);
    put_be16(to + 6, format->green_max);
    put_be16(to + 8, format->blue_max);
    to[10] = format->red_shift;
    to[11] = format->green_shift;
    to[12] = format->blue_shift;
}

static bool channel_is_right(const struct rfb_format *format, uint16_t max, uint8_t shift)
{
    return (max & (max + 1)) == 0 && shift < 32 &&
           ((uint64_t)max << shift) <= UINT64_MAX >> (64 - format->bits);
}

int rfb_read_format(const uint8_t from[RFB_FORMAT_SIZE], struct rfb_format *ret,
                    struct reason *reason)
{
    const struct rfb_format format = {
        .bits = from[0],
        .depth = from[1],
        .big_endian = from[2] != 0,
        .red_max = get_be16(from + 4),
        .green_max = get_be16(from + 6),
        .blue_max = get_be16(from + 8),
        .red_shift = from[10],
        .green_shift = from[11],
        .blue_shift = from[12],
    };

    if (format.bits != 8 && format.bits != 16 && format.bits != 32)
        return reason_set(reason, -EPROTO, "pixels of %u bits", format.bits);
    if (from[3] == 0)
        return reason_set(reason, -EPROTO, "pixels of a colour map are not supported");
    if (!channel_is_right(&format, format.red_max, format.red_shift) ||
        !channel_is_right(&format, format.green_max, format.green_shift) ||
        !channel_is_right(&format, format.blue_max, format.blue_shift))
        return reason_set(reason, -EPROTO, "a colour does not fit its pixel");
    *ret = format;
    return 0;
}

static void fill_table(uint32_t table[256], uint16_t max, uint8_t shift)
{
    for (uint32_t value = 0; value < 256; value++)
        table[value] = (value * max + 127) / 255 << shift;
}

void rfb_use_format(struct rfb *rfb, const struct rfb_format *format)
{
    rfb->format = *format;
    fill_table(rfb->red, format->red_max, format->red_shift);
    fill_table(rfb->green, format->green_max, format->green_shift);
    fill_table(rfb->blue, format->blue_max, format->blue_shift);
}

/* ---- pixels ---- */

/* How a pixel is written: `size` bytes of its 4, from `from` on. */
struct layout {
    unsigned size, from;
    bool big_endian;
};

static uint8_t *put_pixel(const struct rfb *rfb, const struct layout *layout, uint8_t *to,
                          uint32_t colour)
{
    uint32_t value =
        rfb->red[colour >> 16 & 255] | rfb->green[colour >> 8 & 255] | rfb->blue[colour & 255];

    value >>= 8 * layout->from;
    for (unsigned i = 0; i < layout->size; i++)
        to[layout->big_endian ? layout->size - 1 - i : i] = (uint8_t)(value >> 8 * i);
    return to + layout->size;
}

static struct layout whole_pixel(const struct rfb_format *format)
{
    return (struct layout){format->bits / 8u, 0, format->big_endian};
}

/* CPIXEL of § 7.7.5: three bytes where the colours are in the upper or the lower three. */
static struct layout compact_pixel(const struct rfb_format *format)
{
    uint32_t used = (uint32_t)format->red_max << format->red_shift |
                    (uint32_t)format->green_max << format->green_shift |
                    (uint32_t)format->blue_max << format->blue_shift;
    struct layout layout = whole_pixel(format);

    if (format->bits != 32 || format->depth > 24)
        return layout;
    if ((used & 0xff000000) == 0)
        layout.size = 3;
    else if ((used & 0xff) == 0)
        layout = (struct layout){3, 1, format->big_endian};
    return layout;
}

/* ---- rectangles ---- */

/* A part of the screen, in pixels; at most a tile. */
struct part {
    unsigned left, top, width, height;
    uint32_t colours[TILE_PIXELS]; /* row by row */
};

static unsigned within(unsigned from, unsigned most)
{
    unsigned left = most > from ? most - from : 0;
    return left < SCREEN_TILE ? left : SCREEN_TILE;
}

/* What the viewer knows as screen and is none any more is black. */
static void take_part(const struct rfb *rfb, unsigned column, unsigned row, struct part *ret)
{
    const struct screen *screen = rfb->screen;

    ret->left = column * SCREEN_TILE;
    ret->top = row * SCREEN_TILE;
    ret->width = within(ret->left, rfb->width);
    ret->height = within(ret->top, rfb->height);
    unsigned there = within(ret->left, screen->width);
    for (unsigned y = 0; y < ret->height; y++) {
        uint32_t *to = ret->colours + (size_t)y * ret->width;
        unsigned count = ret->top + y < screen->height ? there : 0;
        count = count < ret->width ? count : ret->width;
        memset(to, 0, ret->width * sizeof(*to));
        if (count > 0)
            memcpy(to, screen->pixels + (size_t)(ret->top + y) * screen->width + ret->left,
                   count * sizeof(*to));
    }
}

/* Rows go through all tiles of the run. */
static uint8_t *put_raw(const struct rfb *rfb, const struct screen_run *run, uint8_t *to)
{
    const struct layout layout = whole_pixel(&rfb->format);
    struct part part;
    size_t pitch = 0;
    unsigned height = 0;

    for (unsigned i = 0; i < run->count; i++)
        pitch += within((run->first + i) * SCREEN_TILE, rfb->width) * layout.size;
    for (unsigned i = 0; i < run->count; i++) {
        take_part(rfb, run->first + i, run->row, &part);
        height = part.height;
        for (unsigned y = 0; y < part.height; y++) {
            uint8_t *at = to + y * pitch + (size_t)i * SCREEN_TILE * layout.size;
            for (unsigned x = 0; x < part.width; x++)
                at = put_pixel(rfb, &layout, at, part.colours[y * part.width + x]);
        }
    }
    return to + height * pitch;
}

/* Up to 16 colours in the order in which they come; more than that: 0. */
static unsigned find_palette(const struct part *part, uint32_t palette[MOST_PALETTE],
                             uint8_t indexes[TILE_PIXELS])
{
    unsigned count = 0;
    unsigned last = 0;

    for (unsigned i = 0; i < part->width * part->height; i++) {
        uint32_t colour = part->colours[i];
        if (i == 0 || palette[last] != colour) {
            for (last = 0; last < count && palette[last] != colour; last++)
                ;
            if (last == MOST_PALETTE)
                return 0;
            if (last == count)
                palette[count++] = colour;
        }
        indexes[i] = (uint8_t)last;
    }
    return count;
}

/* Each row begins with a byte of its own, its first pixel in the upper bits. */
static uint8_t *put_indexes(const struct part *part, unsigned bits, const uint8_t *indexes,
                            uint8_t *to)
{
    for (unsigned y = 0; y < part->height; y++) {
        unsigned free = 0;
        for (unsigned x = 0; x < part->width; x++) {
            if (free == 0) {
                *to++ = 0;
                free = 8;
            }
            free -= bits;
            to[-1] |= (uint8_t)(*indexes++ << free);
        }
    }
    return to;
}

static size_t put_tile(const struct rfb *rfb, const struct layout *layout, const struct part *part,
                       uint8_t *to)
{
    uint32_t palette[MOST_PALETTE] = {0};
    uint8_t indexes[TILE_PIXELS];
    uint8_t *at = to + 1;
    unsigned count = find_palette(part, palette, indexes);

    for (unsigned i = 0; i < count; i++)
        at = put_pixel(rfb, layout, at, palette[i]);
    *to = count == 0 ? TILE_RAW : count == 1 ? TILE_SOLID : (uint8_t)count;
    if (count > 1)
        at = put_indexes(part, count == 2 ? 1 : count <= 4 ? 2 : 4, indexes, at);
    for (unsigned i = 0; count == 0 && i < part->width * part->height; i++)
        at = put_pixel(rfb, layout, at, part->colours[i]);
    return (size_t)(at - to);
}

/* Length, then what zlib makes of the tiles, in the one stream of the session. */
static uint8_t *put_zrle(struct rfb *rfb, const struct screen_run *run, uint8_t *to)
{
    const struct layout layout = compact_pixel(&rfb->format);
    uint8_t tile[1 + TILE_PIXELS * 4];
    struct part part;
    enum { ROOM = RFB_MOST_RECTANGLE - 16 };

    rfb->stream.next_out = to + 4;
    rfb->stream.avail_out = ROOM;
    for (unsigned i = 0; i < run->count; i++) {
        take_part(rfb, run->first + i, run->row, &part);
        rfb->stream.next_in = tile;
        rfb->stream.avail_in = (uInt)put_tile(rfb, &layout, &part, tile);
        /* There is room for all of it, so nothing of the tile is left. */
        (void)deflate(&rfb->stream, i + 1 < run->count ? Z_NO_FLUSH : Z_SYNC_FLUSH);
    }
    uint32_t length = ROOM - rfb->stream.avail_out;
    put_be32(to, length);
    return to + 4 + length;
}

size_t rfb_put_rectangle(uint8_t *to, unsigned x, unsigned y, unsigned width, unsigned height,
                         int32_t encoding)
{
    put_be16(to, (uint16_t)x);
    put_be16(to + 2, (uint16_t)y);
    put_be16(to + 4, (uint16_t)width);
    put_be16(to + 6, (uint16_t)height);
    put_be32(to + 8, (uint32_t)encoding);
    return 12;
}

size_t rfb_encode(struct rfb *rfb, const struct screen_run *run, uint8_t *to)
{
    unsigned left = run->first * SCREEN_TILE;
    unsigned right = (run->first + run->count) * SCREEN_TILE;
    unsigned top = run->row * SCREEN_TILE;

    /* Without memory for it the viewer gets what every viewer can read. */
    if (rfb->encoding == RFB_ZRLE && !rfb->stream_begun)
        rfb->stream_begun = deflateInit(&rfb->stream, Z_BEST_SPEED) == Z_OK;
    enum rfb_encoding encoding = rfb->stream_begun ? rfb->encoding : RFB_RAW;
    right = right < rfb->width ? right : rfb->width;
    uint8_t *at =
        to + rfb_put_rectangle(to, left, top, right - left, within(top, rfb->height), encoding);
    at = encoding == RFB_ZRLE ? put_zrle(rfb, run, at) : put_raw(rfb, run, at);
    return (size_t)(at - to);
}
