/*
 * Invariant: whatever a viewer says and however the screen changes meanwhile, what it gets is a
 * stream that a strict viewer can follow (rfb_viewer.h aborts else), and no more waits for it than
 * RFB_MOST_OUTPUT.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "display/rfb.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/harness/fuzz_input.h"
#include "tests/harness/rfb_viewer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { ACTIONS = 40 };

static struct fuzz_input in;
static struct screen *screen;
static struct rfb *rfb;
static struct rfb_viewer *viewer;
static bool ended, strict;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void key(void *owner, uint32_t keysym, uint16_t code, bool down)
{
    (void)owner;
    (void)keysym;
    (void)down;
    require(code < 0x80 || (code & 0xff80) == 0xe000);
}

static void pointer(void *owner, unsigned x, unsigned y, uint8_t buttons)
{
    (void)owner;
    (void)buttons;
    require(x < SCREEN_MOST_WIDTH && y < SCREEN_MOST_HEIGHT);
}

/* The viewer follows only while it knows what was said: not behind raw bytes. */
static void listen(size_t most)
{
    const uint8_t *bytes = NULL;
    size_t length = rfb_output(rfb, &bytes);

    require(length <= RFB_MOST_OUTPUT);
    length = length < most ? length : most;
    if (strict)
        rfb_viewer_take(viewer, bytes, length);
    rfb_sent(rfb, length);
}

static void say(const uint8_t *bytes, size_t length)
{
    struct reason reason = {""};

    if (!ended && rfb_receive(rfb, bytes, length, &reason) < 0) {
        require(reason.text[0] != '\0');
        ended = true;
    }
}

static void say_encodings(uint8_t choice)
{
    static const int32_t known[] = {16, 0, -223, -258};
    uint8_t message[4 + 4 * 4] = {2};
    unsigned count = 0;

    for (unsigned i = 0; i < 4; i++) {
        if (choice >> i & 1)
            put_be32(message + 4 + (size_t)count++ * 4, (uint32_t)known[i]);
    }
    put_be16(message + 2, (uint16_t)count);
    say(message, 4 + (size_t)count * 4);
}

static void ask(uint8_t choice)
{
    uint8_t message[10] = {3, choice & 1};

    if (choice & 2)
        fuzz_take_bytes(&in, message + 2, 8);
    else
        memset(message + 6, 0xff, 4);
    say(message, sizeof(message));
}

static void draw(uint8_t choice)
{
    struct screen_tiles tiles;
    unsigned x = (unsigned)fuzz_take(&in, 2) % screen->width;
    unsigned y = (unsigned)fuzz_take(&in, 2) % screen->height;

    for (unsigned i = 0; i <= choice && x + i < screen->width; i++)
        screen->pixels[(size_t)y * screen->width + x + i] = (i * 0x10301 * choice) & 0xffffff;
    screen_tiles_of((struct screen_rectangle){x, y, x + choice + 1, y + 1}, &tiles);
    rfb_screen_changed(rfb, &tiles);
}

static void resize(void)
{
    unsigned width = (unsigned)fuzz_take(&in, 2) % 150 + 1;
    unsigned height = (unsigned)fuzz_take(&in, 2) % 80 + 1;

    require(screen_resize(screen, width, height) == 0);
    rfb_screen_changed(rfb, NULL);
}

static void say_raw(uint8_t choice)
{
    uint8_t bytes[64];
    size_t length = choice % sizeof(bytes);

    strict = false;
    fuzz_take_bytes(&in, bytes, length);
    say(bytes, length);
}

static void act(uint8_t action)
{
    uint8_t choice = (uint8_t)fuzz_take(&in, 1);

    switch (action % 8) {
    case 0:
        say_encodings(choice);
        break;
    case 1:
        ask(choice);
        break;
    case 2:
        draw(choice);
        break;
    case 3:
        resize();
        break;
    case 4:
        listen(choice);
        break;
    case 5:
        say_raw(choice);
        break;
    default:
        listen(SIZE_MAX);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const struct rfb_user user = {NULL, key, pointer};
    static const uint8_t hands[] = "RFB 003.008\n\1\1";

    in = (struct fuzz_input){bytes, length};
    ended = false;
    strict = true;
    require(screen_create(66, 65, &screen) == 0);
    require(rfb_create(screen, "fuzz", &user, &rfb) == 0);
    viewer = rfb_viewer_create(8);
    if (fuzz_take(&in, 1) & 1)
        say(hands, sizeof(hands) - 1);
    for (unsigned i = 0; i < ACTIONS && in.left > 0; i++)
        act((uint8_t)fuzz_take(&in, 1));
    rfb_destroy(rfb);
    rfb_viewer_destroy(viewer);
    screen_destroy(screen);
    return 0;
}
