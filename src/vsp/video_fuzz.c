/*
 * Invariant: whatever a guest says of its screen, what is shown lies in its memory and is within
 * bounds, rectangles lie within the screen, and each message of the host's is whole.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "vsp/video.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "tests/harness/fuzz_input.h"
#include "tests/harness/ic_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define MIB UINT64_C(0x100000)
enum { ACTIONS = 200, BODY = 16 };

static struct fuzz_input in;
static struct video *video;
static struct mem *mem;
static volatile uint8_t read_byte;

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* First and last byte can be read: a sanitizer or the guard pages would tell. */
static void look(void *owner)
{
    struct video_screen screen;

    (void)owner;
    video_look(video, &screen);
    require((screen.width == 0) == (screen.pixels == NULL));
    if (screen.pixels == NULL)
        return;
    require(screen.width <= VIDEO_MOST_SIDE && screen.height >= 1);
    require(screen.height <= VIDEO_MOST_SIDE && screen.pitch >= (size_t)4 * screen.width);
    const uint8_t *end = screen.pixels + screen.pitch * screen.height;
    require(screen.pixels >= mem_base(mem) && end <= mem_base(mem) + mem_limit(mem));
    read_byte = *screen.pixels;
    read_byte = end[-1];
}

static void drawn(void *owner, const struct video_rectangle *rectangle)
{
    struct video_screen screen;

    (void)owner;
    video_look(video, &screen);
    require(rectangle->left < rectangle->right && rectangle->right <= screen.width);
    require(rectangle->top < rectangle->bottom && rectangle->bottom <= screen.height);
}

static void take_messages(void)
{
    static struct ic_message message;

    while (ic_guest_take(ic_guest_find(), &message)) {
        require(message.length >= BODY + 4 && get_le32(message.bytes) == 1);
        require(get_le32(message.bytes + 4) == message.length - 8);
        require(get_le32(message.bytes + 12) == message.length - 8);
    }
}

static size_t fill_body(uint32_t type, uint8_t *body)
{
    switch (type) {
    case 1:
        put_le32(body, fuzz_take(&in, 1) & 1 ? 0x50003 : 0x20003);
        return 4;
    case 3:
        body[8] = (uint8_t)fuzz_take(&in, 1);
        put_le64(body + 9, fuzz_take(&in, 2) << 12);
        return 17;
    case 5:
        body[8] = body[9] = 1;
        put_le32(body + 10, (uint32_t)fuzz_take(&in, 3));
        body[14] = 32;
        put_le32(body + 15, (uint32_t)fuzz_take(&in, 2));
        put_le32(body + 19, (uint32_t)fuzz_take(&in, 2));
        put_le32(body + 23, (uint32_t)fuzz_take(&in, 3));
        return 27;
    case 10:
        body[1] = (uint8_t)(fuzz_take(&in, 1) % 8);
        for (unsigned i = 0; i < body[1] * 4U; i++)
            put_le32(body + 2 + (size_t)i * 4, (uint32_t)(int32_t)(int16_t)fuzz_take(&in, 2));
        return 2 + (size_t)body[1] * 16;
    default:
        body[0] = (uint8_t)fuzz_take(&in, 1);
        return 1;
    }
}

static void say(uint8_t choice)
{
    static uint8_t bytes[BODY + 400];
    uint32_t type = choice & 0x0f;
    size_t length;

    memset(bytes, 0, sizeof(bytes));
    put_le32(bytes, 1);
    put_le32(bytes + 8, type);
    if (choice & 0x80) {
        length = (size_t)fuzz_take(&in, 1);
        fuzz_take_bytes(&in, bytes + (choice & 0x40 ? 0 : BODY), length);
        length += choice & 0x40 ? 0 : BODY;
    } else {
        length = BODY + fill_body(type, bytes + BODY);
    }
    ic_guest_put(ic_guest_find(), bytes, length);
}

static void act(uint8_t action)
{
    uint8_t choice = (uint8_t)fuzz_take(&in, 1);

    switch (action % 8) {
    case 0:
        ic_guest_open(ic_guest_find());
        break;
    case 1:
        take_messages();
        if (choice & 1)
            ic_guest_close(ic_guest_find());
        break;
    case 2:
        ic_guest_set_room(choice % IC_GUEST_QUEUE);
        break;
    case 3:
        video_watch(video, choice & 1);
        break;
    default:
        say(choice);
        break;
    }
    look(NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const struct ic_host *host = ic_guest_start();
    const struct video_user user = {NULL, look, drawn};

    in = (struct fuzz_input){bytes, length};
    if (mem == NULL) {
        const struct mem_plan plan = {16 * MIB, 0, 64 * MIB, {128 * MIB, 8 * MIB}};
        require(mem_create_planned(&plan, &mem) == 0);
    }
    const struct video_config config = {1024, 768, 4, mem};
    require(video_create(host, &config, &video) == 0);
    video_set_user(video, &user);
    for (unsigned i = 0; i < ACTIONS && in.left > 0; i++)
        act((uint8_t)fuzz_take(&in, 1));
    video_destroy(video);
    ic_guest_end();
    return 0;
}
