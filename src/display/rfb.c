/* What a viewer says: RFC 6143 § 7.1 to 7.3 (handshake), § 7.5 (messages). */
#include "display/rfb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "display/rfb_private.h"

enum { VERSION_SIZE = 12, SECURITY_NONE = 1, MOST_ENCODINGS = 1024 };

enum message {
    SET_PIXEL_FORMAT = 0,
    SET_ENCODINGS = 2,
    UPDATE_REQUEST = 3,
    KEY_EVENT = 4,
    POINTER_EVENT = 5,
    CUT_TEXT = 6,
    QEMU = 255, /* github.com/rfbproto, "QEMU Client Message" */
};
enum { QEMU_EXTENDED_KEY = 0 };

static const char version[] = "RFB 003.008\n";
static const struct rfb_format native = {32, 24, false, 255, 255, 255, 16, 8, 0};

/* Answers of the handshake are few and short: they always fit. */
static void say(struct rfb *rfb, const void *bytes, size_t length)
{
    memcpy(rfb->output + rfb->filled, bytes, length);
    rfb->filled += length;
}

/* ---- handshake ---- */

/* "RFB 003.nnn\n"; versions that there are not count as the one before them. */
static int take_version(struct rfb *rfb, struct reason *reason)
{
    static const uint8_t none_of_3_3[] = {0, 0, 0, SECURITY_NONE};
    static const uint8_t list[] = {1, SECURITY_NONE};
    const char *text = (const char *)rfb->input;
    unsigned minor = 0;

    if (memcmp(text, "RFB 003.", 8) != 0 || text[11] != '\n')
        return reason_set(reason, -EPROTO, "it does not speak RFB 3");
    for (unsigned i = 8; i < 11; i++) {
        if (text[i] < '0' || text[i] > '9')
            return reason_set(reason, -EPROTO, "it does not speak RFB 3");
        minor = minor * 10 + (unsigned)(text[i] - '0');
    }
    rfb->minor = minor >= 8 ? 8 : minor == 7 ? 7 : 3;
    if (rfb->minor == 3)
        say(rfb, none_of_3_3, sizeof(none_of_3_3));
    else
        say(rfb, list, sizeof(list));
    rfb->phase = rfb->minor == 3 ? RFB_INIT : RFB_SECURITY;
    return 0;
}

static int take_security(struct rfb *rfb, struct reason *reason)
{
    static const uint8_t right[] = {0, 0, 0, 0};
    static const uint8_t wrong[] = "\0\0\0\1\0\0\0\17no such security";

    if (rfb->input[0] != SECURITY_NONE) {
        if (rfb->minor == 8)
            say(rfb, wrong, 8 + 15);
        return reason_set(reason, -EPROTO, "security of type %u was not offered", rfb->input[0]);
    }
    if (rfb->minor == 8)
        say(rfb, right, sizeof(right));
    rfb->phase = RFB_INIT;
    return 0;
}

static void take_init(struct rfb *rfb)
{
    uint8_t head[4 + RFB_FORMAT_SIZE + 4];
    size_t length = strlen(rfb->name);

    rfb->width = rfb->screen->width;
    rfb->height = rfb->screen->height;
    rfb->resized = false;
    put_be16(head, (uint16_t)rfb->width);
    put_be16(head + 2, (uint16_t)rfb->height);
    rfb_write_format(&native, head + 4);
    put_be32(head + 4 + RFB_FORMAT_SIZE, (uint32_t)length);
    say(rfb, head, sizeof(head));
    say(rfb, rfb->name, length);
    rfb->phase = RFB_VIEWING;
}

/* ---- messages ---- */

/* The first of them that is known is how rectangles come. */
static void take_encoding(struct rfb *rfb, int32_t encoding)
{
    switch (encoding) {
    case RFB_RAW:
    case RFB_ZRLE:
        if (!rfb->encoding_chosen)
            rfb->encoding = encoding;
        rfb->encoding_chosen = true;
        break;
    case RFB_DESKTOP_SIZE:
        rfb->knows_size = true;
        break;
    case RFB_EXTENDED_KEYS:
        rfb->knows_keys = true;
        break;
    default:
        break;
    }
}

static int take_encodings(struct rfb *rfb, struct reason *reason)
{
    rfb->encodings_left = get_be16(rfb->input + 2);
    if (rfb->encodings_left > MOST_ENCODINGS)
        return reason_set(reason, -EPROTO, "%u encodings", rfb->encodings_left);
    rfb->encoding = RFB_RAW;
    rfb->encoding_chosen = rfb->knows_size = rfb->knows_keys = false;
    return 0;
}

static void take_request(struct rfb *rfb)
{
    const uint8_t *input = rfb->input;
    rfb_ask(rfb, input[1] == 0, get_be16(input + 2), get_be16(input + 4), get_be16(input + 6),
            get_be16(input + 8));
}

static void take_pointer(const struct rfb *rfb)
{
    unsigned x = get_be16(rfb->input + 2);
    unsigned y = get_be16(rfb->input + 4);

    rfb->user.pointer(rfb->user.owner, x < rfb->width ? x : rfb->width - 1,
                      y < rfb->height ? y : rfb->height - 1, rfb->input[1]);
}

static int take_extended_key(const struct rfb *rfb, struct reason *reason)
{
    uint32_t code = get_be32(rfb->input + 8);

    if (rfb->input[1] != QEMU_EXTENDED_KEY)
        return reason_set(reason, -EPROTO, "a message of QEMU's of type %u", rfb->input[1]);
    /* A prefix of 0xe0 is the upper bit of the code. */
    if (code > 0xff)
        code = 0;
    if (code >= 0x80)
        code = 0xe000 | (code & 0x7f);
    rfb->user.key(rfb->user.owner, get_be32(rfb->input + 4), (uint16_t)code,
                  get_be16(rfb->input + 2) != 0);
    return 0;
}

static size_t message_size(uint8_t type)
{
    switch (type) {
    case SET_PIXEL_FORMAT:
        return 4 + RFB_FORMAT_SIZE;
    case SET_ENCODINGS:
        return 4;
    case UPDATE_REQUEST:
        return 10;
    case KEY_EVENT:
        return 8;
    case POINTER_EVENT:
        return 6;
    case CUT_TEXT:
        return 8;
    case QEMU:
        return 12;
    default:
        return 1;
    }
}

static int take_message(struct rfb *rfb, struct reason *reason)
{
    switch (rfb->input[0]) {
    case SET_PIXEL_FORMAT:
        return rfb_read_format(rfb->input + 4, &rfb->next_format, reason);
    case SET_ENCODINGS:
        return take_encodings(rfb, reason);
    case UPDATE_REQUEST:
        take_request(rfb);
        return 0;
    case KEY_EVENT:
        rfb->user.key(rfb->user.owner, get_be32(rfb->input + 4), 0, rfb->input[1] != 0);
        return 0;
    case POINTER_EVENT:
        take_pointer(rfb);
        return 0;
    case CUT_TEXT: /* guests have no clipboard for us */
        rfb->skip = get_be32(rfb->input + 4);
        return 0;
    case QEMU:
        return take_extended_key(rfb, reason);
    default:
        return reason_set(reason, -EPROTO, "a message of type %u", rfb->input[0]);
    }
}

/* ---- bytes ---- */

/* How many bytes make up what comes next. */
static size_t wanted(const struct rfb *rfb)
{
    switch (rfb->phase) {
    case RFB_VERSION:
        return VERSION_SIZE;
    case RFB_SECURITY:
    case RFB_INIT:
        return 1;
    default:
        break;
    }
    if (rfb->encodings_left > 0)
        return 4;
    return rfb->have == 0 ? 1 : message_size(rfb->input[0]);
}

static int take_whole(struct rfb *rfb, struct reason *reason)
{
    switch (rfb->phase) {
    case RFB_VERSION:
        return take_version(rfb, reason);
    case RFB_SECURITY:
        return take_security(rfb, reason);
    case RFB_INIT:
        take_init(rfb);
        return 0;
    default:
        break;
    }
    if (rfb->encodings_left == 0)
        return take_message(rfb, reason);
    rfb->encodings_left--;
    take_encoding(rfb, (int32_t)get_be32(rfb->input));
    return 0;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

int rfb_receive(struct rfb *rfb, const uint8_t *bytes, size_t length, struct reason *reason)
{
    int error = 0;

    while (error == 0 && length > 0) {
        size_t count = smaller(length, rfb->skip);
        if (count > 0) {
            rfb->skip -= (uint32_t)count;
        } else {
            count = smaller(length, wanted(rfb) - rfb->have);
            memcpy(rfb->input + rfb->have, bytes, count);
            rfb->have += count;
            if (rfb->have == wanted(rfb)) {
                error = take_whole(rfb, reason);
                rfb->have = 0;
            }
        }
        bytes += count;
        length -= count;
    }
    return error;
}

size_t rfb_output(struct rfb *rfb, const uint8_t **ret)
{
    if (rfb->sent == rfb->filled && rfb->phase == RFB_VIEWING) {
        rfb->sent = rfb->filled = 0;
        rfb_fill(rfb);
    }
    *ret = rfb->output + rfb->sent;
    return rfb->filled - rfb->sent;
}

void rfb_sent(struct rfb *rfb, size_t length)
{
    rfb->sent += smaller(length, rfb->filled - rfb->sent);
}

bool rfb_is_viewing(const struct rfb *rfb)
{
    return rfb->phase == RFB_VIEWING;
}

/* ---- life ---- */

int rfb_create(const struct screen *screen, const char *name, const struct rfb_user *user,
               struct rfb **ret)
{
    struct rfb *rfb = calloc(1, sizeof(*rfb));

    if (rfb == NULL)
        return -ENOMEM;
    rfb->output = malloc(RFB_MOST_OUTPUT);
    if (rfb->output == NULL) {
        rfb_destroy(rfb);
        return -ENOMEM;
    }
    rfb->screen = screen;
    rfb->user = *user;
    (void)strncpy(rfb->name, name, sizeof(rfb->name) - 1);
    rfb->next_format = native;
    rfb_use_format(rfb, &native);
    say(rfb, version, VERSION_SIZE);
    *ret = rfb;
    return 0;
}

void rfb_destroy(struct rfb *rfb)
{
    if (rfb == NULL)
        return;
    if (rfb->stream_begun)
        (void)deflateEnd(&rfb->stream);
    free(rfb->output);
    free(rfb);
}
