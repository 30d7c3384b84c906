/*
 * A viewer for tests of the remote framebuffer protocol: follows what the server sends, byte by
 * byte as it comes, and has the picture. What no server may send aborts. RFC 6143, in our own
 * reading: nothing of src/display is used.
 */
#ifndef TESTS_HARNESS_RFB_VIEWER_H
#define TESTS_HARNESS_RFB_VIEWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rfb_viewer;

/* It has told the server this: version 3, 7 or 8. */
struct rfb_viewer *rfb_viewer_create(unsigned minor);
void rfb_viewer_destroy(struct rfb_viewer *viewer);
/* It has told the server of this format, which counts from the next update on. */
struct rfb_viewer_format {
    unsigned bits, depth;
    bool big_endian;
    unsigned red_max, green_max, blue_max, red_shift, green_shift, blue_shift;
};
void rfb_viewer_set_format(struct rfb_viewer *viewer, const struct rfb_viewer_format *format);
void rfb_viewer_take(struct rfb_viewer *viewer, const uint8_t *bytes, size_t length);

unsigned rfb_viewer_width(const struct rfb_viewer *viewer);
unsigned rfb_viewer_height(const struct rfb_viewer *viewer);
/* As the format has it, widened to 8 bits a colour. */
uint32_t rfb_viewer_pixel(const struct rfb_viewer *viewer, unsigned x, unsigned y);
/* Updates that came whole, their rectangles, and the word that extended keys are known. */
unsigned rfb_viewer_updates(const struct rfb_viewer *viewer);
unsigned rfb_viewer_rectangles(const struct rfb_viewer *viewer);
bool rfb_viewer_knows_keys(const struct rfb_viewer *viewer);
/* Nothing of a message is missing. */
bool rfb_viewer_rests(const struct rfb_viewer *viewer);

#endif
