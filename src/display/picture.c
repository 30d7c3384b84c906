/* A viewer that looks once (picture.h): RFC 6143 § 7.1 to 7.3, 7.5.1 to 7.5.3, 7.6.1, 7.7.1. */
#include "display/picture.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { RAW = 0, SECURITY_NONE = 1, MOST_PASSED_OVER = 1 << 16 };
enum server_message { UPDATE = 0, BELL = 2, CUT_TEXT = 3 };

struct session {
    int fd;
    uint64_t deadline_ns;
    struct screen *screen;
    struct reason *reason;
};

static int wait_readable(const struct session *session)
{
    struct pollfd poll_fd = {.fd = session->fd, .events = POLLIN};
    uint64_t now = clock_monotonic_ns();

    if (now >= session->deadline_ns)
        return reason_set(session->reason, -ETIMEDOUT, "it does not answer in time");
    int left_ms = (int)((session->deadline_ns - now) / (NS_PER_SECOND / 1000)) + 1;
    (void)poll(&poll_fd, 1, left_ms);
    return 0;
}

static int get(const struct session *session, void *to, size_t length)
{
    uint8_t *at = to;

    while (length > 0) {
        int error = wait_readable(session);
        if (error < 0)
            return error;
        ssize_t count = recv(session->fd, at, length, MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (count <= 0)
            return reason_set(session->reason, -ECONNRESET, "it closed the connection");
        at += count;
        length -= (size_t)count;
    }
    return 0;
}

/* What is said is short: the socket has room for it. */
static int put(const struct session *session, const void *bytes, size_t length)
{
    if (send(session->fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        return reason_set(session->reason, -ECONNRESET, "it closed the connection");
    return 0;
}

static int pass_over(const struct session *session, uint32_t length)
{
    uint8_t bytes[256];
    int error = 0;

    if (length > MOST_PASSED_OVER)
        return reason_set(session->reason, -EPROTO, "it sends too long a text");
    while (error == 0 && length > 0) {
        uint32_t count = length < sizeof(bytes) ? length : (uint32_t)sizeof(bytes);
        error = get(session, bytes, count);
        length -= count;
    }
    return error;
}

/* ---- handshake ---- */

static int agree_on_version(const struct session *session)
{
    uint8_t version[12];
    int error = get(session, version, sizeof(version));

    if (error == 0 && memcmp(version, "RFB 003.008\n", sizeof(version)) != 0)
        return reason_set(session->reason, -EPROTO, "it does not speak RFB 3.8");
    return error < 0 ? error : put(session, "RFB 003.008\n", sizeof(version));
}

static int agree_on_security(const struct session *session)
{
    uint8_t types[256] = {0};
    uint8_t result[4];
    bool offered = false;
    int error = get(session, types, 1);

    if (error == 0)
        error = get(session, types + 1, types[0]);
    if (error < 0)
        return error;
    for (unsigned i = 1; i <= types[0]; i++)
        offered |= types[i] == SECURITY_NONE;
    if (!offered)
        return reason_set(session->reason, -EPROTO, "it wants a password");
    error = put(session, "\1", 1);
    if (error == 0)
        error = get(session, result, sizeof(result));
    if (error == 0 && get_be32(result) != 0)
        return reason_set(session->reason, -EPROTO, "it lets nobody in");
    return error;
}

/* Shared with other viewers; then size, format, and a name. */
static int begin(struct session *session)
{
    uint8_t head[24];
    int error = put(session, "\1", 1);

    if (error == 0)
        error = get(session, head, sizeof(head));
    if (error == 0)
        error = pass_over(session, get_be32(head + 20));
    if (error < 0)
        return error;
    error = screen_create(get_be16(head), get_be16(head + 2), &session->screen);
    return error < 0 ? reason_set(session->reason, error, "a screen of %u x %u pixels",
                                  get_be16(head), get_be16(head + 2))
                     : 0;
}

/* The pixels of struct screen, little-endian, as they are, and all of them. */
static int ask(const struct session *session)
{
    uint8_t words[20 + 8 + 10] = {
        [4] = 32,   [5] = 24,  [7] = 1,  [9] = 255, [11] = 255,
        [13] = 255, [14] = 16, [15] = 8, [20] = 2,  [23] = 1, /* one encoding, which is RAW */
        [28] = 3,
    };

    put_be16(words + 34, (uint16_t)session->screen->width);
    put_be16(words + 36, (uint16_t)session->screen->height);
    return put(session, words, sizeof(words));
}

/* ---- the picture ---- */

static int take_rectangle(const struct session *session)
{
    const struct screen *screen = session->screen;
    uint8_t head[12];
    int error = get(session, head, sizeof(head));
    unsigned x = get_be16(head);
    unsigned y = get_be16(head + 2);
    unsigned width = get_be16(head + 4);
    unsigned height = get_be16(head + 6);

    if (error < 0)
        return error;
    if (get_be32(head + 8) != RAW || x + width > screen->width || y + height > screen->height)
        return reason_set(session->reason, -EPROTO, "a rectangle that was not asked for");
    for (unsigned row = y; error == 0 && row < y + height; row++) {
        uint32_t *pixels = screen->pixels + (size_t)row * screen->width + x;
        error = get(session, pixels, width * sizeof(*pixels));
        for (unsigned i = 0; i < width; i++)
            pixels[i] = get_le32((const uint8_t *)&pixels[i]) & 0xffffff;
    }
    return error;
}

static int take_update(const struct session *session)
{
    uint8_t head[3];
    int error = get(session, head, sizeof(head));

    for (unsigned left = get_be16(head + 1); error == 0 && left > 0; left--)
        error = take_rectangle(session);
    return error;
}

static int take_cut_text(const struct session *session)
{
    uint8_t head[7];
    int error = get(session, head, sizeof(head));
    return error < 0 ? error : pass_over(session, get_be32(head + 3));
}

/* The first update has all that was asked for. */
static int look(const struct session *session)
{
    uint8_t type = 0;

    for (;;) {
        int error = get(session, &type, 1);
        if (error == 0 && type == UPDATE)
            return take_update(session);
        if (error == 0 && type == CUT_TEXT)
            error = take_cut_text(session);
        else if (error == 0 && type != BELL)
            error = reason_set(session->reason, -EPROTO, "a message of type %u", type);
        if (error < 0)
            return error;
    }
}

int picture_take(int fd, int timeout_ms, struct screen **ret, struct reason *reason)
{
    struct session session = {
        .fd = fd,
        .deadline_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * (NS_PER_SECOND / 1000),
        .reason = reason,
    };
    int error = agree_on_version(&session);

    if (error == 0)
        error = agree_on_security(&session);
    if (error == 0)
        error = begin(&session);
    if (error == 0)
        error = ask(&session);
    if (error == 0)
        error = look(&session);
    if (error < 0)
        screen_destroy(session.screen);
    else
        *ret = session.screen;
    return error;
}
