/*
 * Invariant: whatever a guest says to its keyboard and its mouse, what the host sends is taken
 * whole or refused, arrives in order while the channel stays open, and nothing of it comes unasked.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/fuzz_input.h"
#include "tests/harness/ic_guest.h"
#include "vsp/keyboard.h"
#include "vsp/mouse.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { ACTIONS = 200, KEYBOARD = 0x6d, MOUSE = 0x9e, MOST = 40 };

static struct fuzz_input in;
static struct keyboard *keyboard;
static struct mouse *mouse;
static unsigned next_code, next_x; /* of the next that the host sends */
static unsigned seen_code, seen_x; /* and that the guest gets */

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void press(unsigned count)
{
    struct keystroke strokes[MOST];

    for (unsigned i = 0; i < count; i++)
        strokes[i] = (struct keystroke){.code = (uint8_t)((next_code + i) & 0x7f)};
    int error = keyboard_send(keyboard, strokes, count);
    require(error == 0 || error == -ENOTCONN || error == -ENOBUFS);
    if (error == 0)
        next_code += count;
}

static void move(unsigned count)
{
    struct mouse_report reports[MOST];

    for (unsigned i = 0; i < count; i++)
        reports[i] = (struct mouse_report){.x = (uint16_t)((next_x + i) & 0x7fff)};
    int error = mouse_send(mouse, reports, count);
    require(error == 0 || error == -ENOTCONN || error == -ENOBUFS);
    if (error == 0)
        next_x += count;
}

/* In order, and none that the host did not send. */
static void follow(unsigned number, unsigned mask, unsigned *seen, unsigned next)
{
    require(number == (*seen & mask) && *seen != next);
    (*seen)++;
}

static void take_messages(void)
{
    static struct ic_message message;

    while (ic_guest_take(ic_guest_find_class(KEYBOARD), &message)) {
        require(message.length == 8 || message.length == 12);
        if (message.length == 12)
            follow(get_le16(message.bytes + 4), 0x7f, &seen_code, next_code);
    }
    while (ic_guest_take(ic_guest_find_class(MOUSE), &message)) {
        require(message.length >= 21 && get_le32(message.bytes + 4) == message.length - 8);
        if (message.length == 22)
            follow(get_le16(message.bytes + 17), 0x7fff, &seen_x, next_x);
    }
}

static void say(struct vmbus_channel *channel, uint8_t choice)
{
    uint8_t bytes[300] = {0};
    size_t length = choice & 0x80 ? fuzz_take(&in, 1) + (choice & 0x40) / 2 : 20;
    bool is_mouse = channel == ic_guest_find_class(MOUSE);

    if (choice & 0x80) {
        fuzz_take_bytes(&in, bytes, length);
    } else if (is_mouse) {
        put_le32(bytes, 1);
        put_le32(bytes + 8, choice & 3);
        put_le32(bytes + 16, choice & 0x20 ? 1 : 0x20000);
    } else {
        put_le32(bytes, choice & 7);
        put_le32(bytes + 4, choice & 0x20 ? 1 : 0x10000);
    }
    ic_guest_put(channel, bytes, length);
}

static void act(uint8_t action)
{
    uint8_t choice = (uint8_t)fuzz_take(&in, 1);
    bool second = (action & 0x80) != 0;
    struct vmbus_channel *channel = ic_guest_find_class(second ? MOUSE : KEYBOARD);

    switch (action % 8) {
    case 0:
        ic_guest_open(channel);
        break;
    case 1:
        take_messages();
        ic_guest_close(channel);
        seen_code = second ? seen_code : next_code; /* what waited is forgotten */
        seen_x = second ? next_x : seen_x;
        break;
    case 2:
        ic_guest_set_room(choice % IC_GUEST_QUEUE);
        break;
    case 3:
        ic_guest_pass((uint64_t)choice * NS_PER_SECOND / 4);
        break;
    case 4:
        (second ? move : press)(choice % MOST);
        break;
    case 5:
        take_messages();
        break;
    default:
        say(channel, choice);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const struct ic_host *host = ic_guest_start();

    in = (struct fuzz_input){bytes, length};
    next_code = next_x = seen_code = seen_x = 0;
    require(keyboard_create(host, &keyboard) == 0);
    require(mouse_create(host, &mouse) == 0);
    for (unsigned i = 0; i < ACTIONS && in.left > 0; i++)
        act((uint8_t)fuzz_take(&in, 1));
    take_messages();
    keyboard_destroy(keyboard);
    mouse_destroy(mouse);
    ic_guest_end();
    return 0;
}
