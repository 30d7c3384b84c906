#include "worker/viewer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "keys/keys.h"
#include "vsp/keyboard.h"
#include "vsp/mouse.h"

enum { READ_SIZE = 4096, PIECES_A_TURN = 2, KEY_COUNT = 256 };
#define PATIENCE_NS (UINT64_C(10) * NS_PER_SECOND)
enum { LEFT_SHIFT = 0x2a, RIGHT_SHIFT = 0x36 };
/* RFC 6143 § 7.5.5, and what vsp/mouse.h has for it. */
enum { RFB_LEFT = 1, RFB_MIDDLE = 2, RFB_RIGHT = 4, RFB_UP = 8, RFB_DOWN = 16 };
enum { MOUSE_LEFT = 1, MOUSE_RIGHT = 2, MOUSE_MIDDLE = 4 };

struct viewer {
    struct viewer_config config;
    int fd;
    struct loop_watch *watch;
    struct rfb *rfb;
    bool ending;          /* it made no sense: it gets what waits, and that is all */
    uint64_t since_ns;    /* it has come, or has made no sense */
    bool down[KEY_COUNT]; /* by code, and 0x80 with the prefix */
    uint8_t buttons;      /* as it told them last */
};

/* ---- keyboard ---- */

static unsigned index_of(const struct key *key)
{
    return key->code | (key->e0 ? 0x80u : 0);
}

/* A guest that takes no keys loses them: it has no driver, or does not read. */
static void press(struct viewer *viewer, struct key key, bool down)
{
    const struct keystroke stroke = {.code = key.code, .e0 = key.e0, .up = !down};

    /* One that is still down is let go at the end. */
    if (keyboard_send(viewer->config.keyboard, &stroke, 1) == 0)
        viewer->down[index_of(&key)] = down;
}

/*
 * A viewer of another layout names a character whose key needs shift here and there not: the guest
 * is shown shift as the character wants it, just for this key.
 */
static void press_character(struct viewer *viewer, const struct chord *chord, bool down)
{
    const struct key shift = {LEFT_SHIFT, false};
    const struct key other = {RIGHT_SHIFT, false};
    struct key key = chord->keys[chord->count - 1];
    bool held = viewer->down[LEFT_SHIFT];
    bool other_held = viewer->down[RIGHT_SHIFT];
    bool wanted = chord->count > 1;

    if (!down || wanted == (held || other_held)) {
        press(viewer, key, down);
        return;
    }
    if (wanted || held)
        press(viewer, shift, wanted);
    if (!wanted && other_held)
        press(viewer, other, false);
    press(viewer, key, true);
    if (wanted || held)
        press(viewer, shift, !wanted);
    if (!wanted && other_held)
        press(viewer, other, true);
}

static bool is_character(uint32_t keysym)
{
    return keysym > 0x20 && keysym < 0x7f;
}

static void key_pressed(void *owner, uint32_t keysym, uint16_t code, bool down)
{
    struct viewer *viewer = owner;
    struct chord chord;

    if ((code & 0x7f) != 0)
        press(viewer, (struct key){code & 0x7f, code > 0xff}, down);
    else if (!keys_of_keysym(keysym, &chord))
        return;
    else if (is_character(keysym))
        press_character(viewer, &chord, down);
    else
        press(viewer, chord.keys[0], down);
}

static void let_keys_go(struct viewer *viewer)
{
    for (unsigned i = 0; i < KEY_COUNT; i++) {
        if (viewer->down[i])
            press(viewer, (struct key){i & 0x7f, i >= 0x80}, false);
    }
}

/* ---- mouse ---- */

static uint16_t position(unsigned place, unsigned most)
{
    uint64_t part = most <= 1 ? 0 : (uint64_t)place * MOUSE_MOST_POSITION / (most - 1);
    return (uint16_t)part;
}

static uint8_t mouse_buttons(uint8_t buttons)
{
    return (uint8_t)((buttons & RFB_LEFT ? MOUSE_LEFT : 0) |
                     (buttons & RFB_RIGHT ? MOUSE_RIGHT : 0) |
                     (buttons & RFB_MIDDLE ? MOUSE_MIDDLE : 0));
}

static void pointer_moved(void *owner, unsigned x, unsigned y, uint8_t buttons)
{
    struct viewer *viewer = owner;
    const struct screen *screen = viewer->config.screen;
    uint8_t pressed = buttons & (uint8_t)~viewer->buttons;
    x = x < screen->width ? x : screen->width - 1;
    y = y < screen->height ? y : screen->height - 1;
    const struct mouse_report report = {
        .x = position(x, screen->width),
        .y = position(y, screen->height),
        .buttons = mouse_buttons(buttons),
        .wheel = (int8_t)((pressed & RFB_UP ? 1 : 0) - (pressed & RFB_DOWN ? 1 : 0)),
    };

    viewer->buttons = buttons;
    (void)mouse_send(viewer->config.mouse, &report, 1);
}

static void let_buttons_go(struct viewer *viewer)
{
    struct mouse_report report = mouse_last(viewer->config.mouse);

    if (mouse_buttons(viewer->buttons) == 0)
        return;
    report.buttons = 0;
    (void)mouse_send(viewer->config.mouse, &report, 1);
}

/* ---- the connection ---- */

static void leave(struct viewer *viewer)
{
    viewer->config.left(viewer->config.owner, viewer);
}

/* Not more at once than others can wait for. False: it has gone. */
static bool send_output(struct viewer *viewer)
{
    const uint8_t *bytes = NULL;
    size_t length = 0;
    unsigned pieces = 0;

    while (pieces++ < PIECES_A_TURN && (length = rfb_output(viewer->rfb, &bytes)) > 0) {
        ssize_t sent = send(viewer->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        rfb_sent(viewer->rfb, (size_t)sent);
    }
    return length > 0 || !viewer->ending;
}

/* False: it has gone, or made no sense. */
static bool receive_input(struct viewer *viewer)
{
    uint8_t bytes[READ_SIZE];
    struct reason reason;
    ssize_t length = recv(viewer->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (length < 0)
        return errno == EAGAIN || errno == EINTR;
    if (length > 0 && !viewer->ending &&
        rfb_receive(viewer->rfb, bytes, (size_t)length, &reason) < 0) {
        viewer->ending = true;
        viewer->since_ns = clock_monotonic_ns();
    }
    return length > 0;
}

static void watch_for(struct viewer *viewer)
{
    const uint8_t *bytes = NULL;
    bool waits = rfb_output(viewer->rfb, &bytes) > 0;

    (void)loop_watch_modify(viewer->watch, EPOLLIN | (waits ? EPOLLOUT : 0u));
}

static void ready(void *owner, uint32_t events)
{
    struct viewer *viewer = owner;
    bool stays = true;

    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        stays = receive_input(viewer);
    if (stays)
        stays = send_output(viewer);
    if (stays)
        watch_for(viewer);
    else
        leave(viewer);
}

bool viewer_is_overdue(const struct viewer *viewer, uint64_t now_ns)
{
    bool waits = viewer->ending || !rfb_is_viewing(viewer->rfb);
    return waits && now_ns - viewer->since_ns > PATIENCE_NS;
}

/* An end of the connection is found when the loop comes to it. */
void viewer_screen_changed(struct viewer *viewer, const struct screen_tiles *tiles)
{
    rfb_screen_changed(viewer->rfb, tiles);
    watch_for(viewer);
}

/* ---- life ---- */

int viewer_create(const struct viewer_config *config, int fd, struct viewer **ret)
{
    struct viewer *viewer = calloc(1, sizeof(*viewer));

    if (viewer == NULL)
        return -ENOMEM;
    viewer->config = *config;
    viewer->fd = -1;
    viewer->since_ns = clock_monotonic_ns();
    const struct rfb_user user = {viewer, key_pressed, pointer_moved};
    int error = rfb_create(config->screen, config->name, &user, &viewer->rfb);
    if (error == 0)
        error =
            loop_watch_create(config->loop, fd, EPOLLIN | EPOLLOUT, ready, viewer, &viewer->watch);
    if (error < 0) {
        viewer_destroy(viewer);
        return error;
    }
    viewer->fd = fd;
    *ret = viewer;
    return 0;
}

void viewer_destroy(struct viewer *viewer)
{
    if (viewer == NULL)
        return;
    let_keys_go(viewer);
    let_buttons_go(viewer);
    if (viewer->watch != NULL)
        loop_watch_destroy(viewer->watch);
    rfb_destroy(viewer->rfb);
    if (viewer->fd >= 0)
        (void)close(viewer->fd);
    free(viewer);
}
