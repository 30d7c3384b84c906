/* The session of a viewer as its own files see it. */
#ifndef DISPLAY_RFB_PRIVATE_H
#define DISPLAY_RFB_PRIVATE_H

#include <zlib.h>

#include "display/rfb.h"

/* Pixels as the viewer wants them (RFC 6143 § 7.4). */
struct rfb_format {
    uint8_t bits, depth; /* bits: 8, 16 or 32 */
    bool big_endian;
    uint16_t red_max, green_max, blue_max; /* 2^n - 1 */
    uint8_t red_shift, green_shift, blue_shift;
};
enum { RFB_FORMAT_SIZE = 16 };

/* Rectangles are runs of at most so many tiles. */
enum { RFB_MOST_RUN = 16 };

enum rfb_encoding {
    RFB_RAW = 0,
    RFB_ZRLE = 16,
    RFB_DESKTOP_SIZE = -223,
    RFB_EXTENDED_KEYS = -258,
};

enum rfb_phase { RFB_VERSION, RFB_SECURITY, RFB_INIT, RFB_VIEWING };

struct rfb {
    const struct screen *screen;
    struct rfb_user user;
    char name[64];
    enum rfb_phase phase;
    unsigned minor; /* of the version: 3, 7 or 8 */

    /* What is being received: the first bytes of a message, encodings to come, bytes to skip. */
    uint8_t input[20];
    size_t have;
    unsigned encodings_left;
    uint32_t skip;

    /* What the viewer can. */
    struct rfb_format format, next_format; /* the latter from the next update on */
    uint32_t red[256], green[256], blue[256];
    enum rfb_encoding encoding;
    bool encoding_chosen, knows_size, knows_keys, keys_told;

    unsigned width, height; /* of the screen, as it was told */
    bool resized;           /* since then */
    struct screen_tiles owed, asked;
    bool is_asked;               /* an update; its area is `asked` */
    struct screen_tiles sending; /* what is left of the update that is under way */

    z_stream stream;
    bool stream_begun;

    uint8_t *output;
    size_t sent, filled; /* of the output */
};

/* ---- rfb_encode.c ---- */

void rfb_write_format(const struct rfb_format *format, uint8_t to[RFB_FORMAT_SIZE]);
int rfb_read_format(const uint8_t from[RFB_FORMAT_SIZE], struct rfb_format *ret,
                    struct reason *reason);
/* From the next pixel on. */
void rfb_use_format(struct rfb *rfb, const struct rfb_format *format);
/* What a rectangle may take, header included. */
enum { RFB_MOST_RECTANGLE = RFB_MOST_RUN * (SCREEN_TILE * SCREEN_TILE * 4 + 64) + 1024 };
/* A rectangle with its header, in the viewer's encoding. Bytes written. */
size_t rfb_encode(struct rfb *rfb, const struct screen_run *run, uint8_t *to);
size_t rfb_put_rectangle(uint8_t *to, unsigned x, unsigned y, unsigned width, unsigned height,
                         int32_t encoding);

/* ---- rfb_update.c ---- */

/* The viewer asks for what changed in a rectangle, or for all of it. */
void rfb_ask(struct rfb *rfb, bool all, unsigned x, unsigned y, unsigned width, unsigned height);
/* Put what can be sent now into the output, which is empty. */
void rfb_fill(struct rfb *rfb);

#endif
