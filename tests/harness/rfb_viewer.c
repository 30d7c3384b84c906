#include "tests/harness/rfb_viewer.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"

enum { MOST = 4096, ROOM = 1 << 20 };

enum step {
    STEP_VERSION,
    STEP_SECURITY,
    STEP_RESULT,
    STEP_INIT,
    STEP_NAME,
    STEP_HEADER,
    STEP_RECTANGLE,
    STEP_RAW,
    STEP_LENGTH,
    STEP_ZRLE,
};

struct rfb_viewer {
    uint8_t *bytes; /* ROOM of what comes */
    unsigned minor;
    enum step step;
    struct rfb_viewer_format format, next_format;
    size_t have, want;
    unsigned width, height;
    uint32_t *pixels;
    unsigned rectangles_left, updates, rectangles;
    unsigned x, y, w, h; /* of the rectangle */
    bool knows_keys;
    size_t inflated_length, inflated_at;
    z_stream stream;
};

/* One viewer reads at a time; what it reads is whole or is read on: a test has no threads. */
static uint8_t inflated[ROOM];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void go(struct rfb_viewer *v, enum step step, size_t want)
{
    v->step = step;
    v->want = want;
    require(want <= ROOM);
}

struct rfb_viewer *rfb_viewer_create(unsigned minor)
{
    struct rfb_viewer *v = calloc(1, sizeof(*v));

    require(v != NULL);
    v->bytes = malloc(ROOM);
    require(v->bytes != NULL);
    v->minor = minor;
    v->format = v->next_format = (struct rfb_viewer_format){32, 24, false, 255, 255, 255, 16, 8, 0};
    require(inflateInit(&v->stream) == Z_OK);
    go(v, STEP_VERSION, 12);
    return v;
}

void rfb_viewer_destroy(struct rfb_viewer *v)
{
    (void)inflateEnd(&v->stream);
    free(v->pixels);
    free(v->bytes);
    free(v);
}

void rfb_viewer_set_format(struct rfb_viewer *v, const struct rfb_viewer_format *format)
{
    v->next_format = *format;
}

/* ---- pixels ---- */

static uint32_t widen(uint32_t value, unsigned shift, unsigned max)
{
    return max == 0 ? 0 : ((value >> shift & max) * 255 + max / 2) / max;
}

static uint32_t colour_of(const struct rfb_viewer *v, uint32_t value)
{
    const struct rfb_viewer_format *f = &v->format;
    if (f->red_max == 255 && f->green_max == 255 && f->blue_max == 255)
        return (value >> f->red_shift & 255) << 16 | (value >> f->green_shift & 255) << 8 |
               (value >> f->blue_shift & 255);
    return widen(value, f->red_shift, f->red_max) << 16 |
           widen(value, f->green_shift, f->green_max) << 8 |
           widen(value, f->blue_shift, f->blue_max);
}

static uint32_t read_pixel(const struct rfb_viewer *v, const uint8_t *from, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)from[v->format.big_endian ? size - 1 - i : i] << 8 * i;
    return value;
}

static void set_pixel(struct rfb_viewer *v, unsigned x, unsigned y, uint32_t value)
{
    require(x < v->w && y < v->h);
    v->pixels[(size_t)(v->y + y) * v->width + v->x + x] = colour_of(v, value);
}

static void take_raw(struct rfb_viewer *v)
{
    unsigned size = v->format.bits / 8;
    for (unsigned i = 0; i < v->w * v->h; i++)
        set_pixel(v, i % v->w, i / v->w, read_pixel(v, v->bytes + (size_t)i * size, size));
}

static const uint8_t *take_inflated(struct rfb_viewer *v, size_t count)
{
    const uint8_t *at = inflated + v->inflated_at;
    v->inflated_at += count;
    require(v->inflated_at <= v->inflated_length);
    return at;
}

static uint32_t read_compact(struct rfb_viewer *v)
{
    const struct rfb_viewer_format *f = &v->format;
    uint32_t used =
        f->red_max << f->red_shift | f->green_max << f->green_shift | f->blue_max << f->blue_shift;
    bool compact = f->bits == 32 && f->depth <= 24;
    if (compact && used <= 0xffffff)
        return read_pixel(v, take_inflated(v, 3), 3);
    if (compact && (used & 0xff) == 0)
        return read_pixel(v, take_inflated(v, 3), 3) << 8;
    return read_pixel(v, take_inflated(v, f->bits / 8), f->bits / 8);
}

static void take_tile(struct rfb_viewer *v, unsigned x, unsigned y, unsigned w, unsigned h)
{
    unsigned kind = *take_inflated(v, 1);
    uint32_t palette[16];
    require(kind <= 16);
    for (unsigned i = 0; i < kind; i++)
        palette[i] = read_compact(v);
    unsigned bits = kind == 2 ? 1 : kind <= 4 ? 2 : 4;
    for (unsigned row = 0; row < h; row++) {
        const uint8_t *packed = kind > 1 ? take_inflated(v, (w * bits + 7) / 8) : NULL;
        for (unsigned column = 0; column < w; column++) {
            unsigned at = column * bits;
            unsigned index =
                kind > 1 ? packed[at / 8] >> (8 - bits - at % 8) & ((1U << bits) - 1) : 0;
            require(kind == 0 || index < kind);
            set_pixel(v, x + column, y + row, kind == 0 ? read_compact(v) : palette[index]);
        }
    }
}

static void take_zrle(struct rfb_viewer *v)
{
    v->stream.next_in = v->bytes;
    v->stream.avail_in = (uInt)v->want;
    v->stream.next_out = inflated;
    v->stream.avail_out = ROOM;
    int result = inflate(&v->stream, Z_SYNC_FLUSH);
    require((result == Z_OK || result == Z_BUF_ERROR) && v->stream.avail_in == 0);
    v->inflated_length = ROOM - v->stream.avail_out;
    v->inflated_at = 0;
    for (unsigned y = 0; y < v->h; y += 64)
        for (unsigned x = 0; x < v->w; x += 64)
            take_tile(v, x, y, v->w - x < 64 ? v->w - x : 64, v->h - y < 64 ? v->h - y : 64);
    require(v->inflated_at == v->inflated_length);
}

/* ---- messages ---- */

static void resize(struct rfb_viewer *v, unsigned width, unsigned height)
{
    require(width >= 1 && width <= MOST && height >= 1 && height <= MOST);
    free(v->pixels);
    v->pixels = calloc((size_t)width * height, sizeof(uint32_t));
    require(v->pixels != NULL);
    v->width = width;
    v->height = height;
}

static void rectangle_done(struct rfb_viewer *v)
{
    v->rectangles++;
    v->rectangles_left--;
    v->updates += v->rectangles_left == 0;
    if (v->rectangles_left == 0)
        go(v, STEP_HEADER, 4);
    else
        go(v, STEP_RECTANGLE, 12);
}

static void take_rectangle(struct rfb_viewer *v)
{
    int32_t encoding = (int32_t)get_be32(v->bytes + 8);

    v->x = get_be16(v->bytes);
    v->y = get_be16(v->bytes + 2);
    v->w = get_be16(v->bytes + 4);
    v->h = get_be16(v->bytes + 6);
    if (encoding == -223) {
        require(v->rectangles_left == 1);
        resize(v, v->w, v->h);
        rectangle_done(v);
    } else if (encoding == -258) {
        v->knows_keys = true;
        rectangle_done(v);
    } else {
        require(encoding == 0 || encoding == 16);
        require(v->w > 0 && v->h > 0 && v->x + v->w <= v->width && v->y + v->h <= v->height);
        if (encoding == 0)
            go(v, STEP_RAW, (size_t)v->w * v->h * v->format.bits / 8);
        else
            go(v, STEP_LENGTH, 4);
    }
}

static void take_header(struct rfb_viewer *v)
{
    require(v->bytes[0] == 0);
    v->format = v->next_format;
    v->rectangles_left = get_be16(v->bytes + 2);
    require(v->rectangles_left > 0);
    go(v, STEP_RECTANGLE, 12);
}

static void take_step(struct rfb_viewer *v)
{
    switch (v->step) {
    case STEP_VERSION:
        require(memcmp(v->bytes, "RFB 003.008\n", 12) == 0);
        go(v, STEP_SECURITY, v->minor == 3 ? 4 : 2);
        break;
    case STEP_SECURITY:
        require(v->bytes[v->want - 1] == 1);
        if (v->minor == 8)
            go(v, STEP_RESULT, 4);
        else
            go(v, STEP_INIT, 24);
        break;
    case STEP_RESULT:
        require(get_be32(v->bytes) == 0);
        go(v, STEP_INIT, 24);
        break;
    case STEP_INIT:
        resize(v, get_be16(v->bytes), get_be16(v->bytes + 2));
        go(v, STEP_NAME, get_be32(v->bytes + 20));
        break;
    case STEP_NAME:
        go(v, STEP_HEADER, 4);
        break;
    case STEP_HEADER:
        take_header(v);
        break;
    case STEP_RECTANGLE:
        take_rectangle(v);
        break;
    case STEP_RAW:
        take_raw(v);
        rectangle_done(v);
        break;
    case STEP_LENGTH:
        go(v, STEP_ZRLE, get_be32(v->bytes));
        break;
    case STEP_ZRLE:
        take_zrle(v);
        rectangle_done(v);
        break;
    }
}

void rfb_viewer_take(struct rfb_viewer *v, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        size_t count = v->want - v->have < length ? v->want - v->have : length;
        memcpy(v->bytes + v->have, bytes, count);
        v->have += count;
        bytes += count;
        length -= count;
        while (v->have == v->want) {
            v->have = 0;
            take_step(v);
        }
    }
}

unsigned rfb_viewer_width(const struct rfb_viewer *v)
{
    return v->width;
}

unsigned rfb_viewer_height(const struct rfb_viewer *v)
{
    return v->height;
}

uint32_t rfb_viewer_pixel(const struct rfb_viewer *v, unsigned x, unsigned y)
{
    require(x < v->width && y < v->height);
    return v->pixels[(size_t)y * v->width + x];
}

unsigned rfb_viewer_updates(const struct rfb_viewer *v)
{
    return v->updates;
}

unsigned rfb_viewer_rectangles(const struct rfb_viewer *v)
{
    return v->rectangles;
}

bool rfb_viewer_knows_keys(const struct rfb_viewer *v)
{
    return v->knows_keys;
}

bool rfb_viewer_rests(const struct rfb_viewer *v)
{
    return v->have == 0 && v->step == STEP_HEADER;
}
