/*
 * One viewer of a screen: a session of the remote framebuffer protocol (RFC 6143), the server's
 * side, without its socket: bytes come in, bytes go out.
 *
 * It speaks 3.3, 3.7 and 3.8, security type None (who may connect is the socket's matter), Raw and
 * ZRLE, DesktopSize, and QEMU's extended key event, which names keys as the keyboard does. Pixel
 * formats are true-colour of 8, 16 and 32 bits.
 *
 * One thread; nothing waits. Viewers are hostile: what they send is bounded and checked, and a slow
 * one costs RFB_MOST_OUTPUT bytes and nobody's time: more is encoded when it has taken what it had,
 * and each call encodes a few tiles (about a millisecond).
 */
#ifndef DISPLAY_RFB_H
#define DISPLAY_RFB_H

#include "base/reason.h"
#include "display/screen.h"

enum { RFB_MOST_OUTPUT = 512 << 10 };

struct rfb;

struct rfb_user {
    void *owner;
    /*
     * A key of the viewer's. `keysym` is X11's; 0: it told none. `code` is the scan code of set 1,
     * 0xe0nn with that prefix; 0: it told none.
     */
    void (*key)(void *owner, uint32_t keysym, uint16_t code, bool down);
    /* Within the screen. `buttons` as § 7.5.5: bit 0 left, 1 middle, 2 right, 3 up, 4 down. */
    void (*pointer)(void *owner, unsigned x, unsigned y, uint8_t buttons);
};

/* The screen outlives the session. `name` is the desktop's. */
int rfb_create(const struct screen *screen, const char *name, const struct rfb_user *user,
               struct rfb **ret);
/* NULL is accepted. */
void rfb_destroy(struct rfb *rfb);

/*
 * Bytes of the viewer, in pieces of any size. -EPROTO and a reason: it made no sense, and is to be
 * left when what waits for it has been sent (RFC 6143 § 7.1.2 has words for that).
 */
int rfb_receive(struct rfb *rfb, const uint8_t *bytes, size_t length, struct reason *reason);

/* What the viewer should get now; encodes more when nothing waits. Valid until it is sent. */
size_t rfb_output(struct rfb *rfb, const uint8_t **ret);
/* So much of it was sent. */
void rfb_sent(struct rfb *rfb, size_t length);

/* The screen changed in these tiles, or (NULL) has another size. */
void rfb_screen_changed(struct rfb *rfb, const struct screen_tiles *tiles);
/* It has seen the whole handshake. */
bool rfb_is_viewing(const struct rfb *rfb);

#endif
