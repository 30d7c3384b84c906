/* Synthetic keyboard (keyboard.h); the guest's side: Linux hyperv-keyboard.c. No pipe header. */
#include "vsp/keyboard.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

/* A message's first word, and where the rest is. */
enum { TYPE_REQUEST = 1, TYPE_RESPONSE = 2, TYPE_EVENT = 3, TYPE_LAMPS = 4 };
enum { AT_TYPE = 0, AT_WORD = 4, AT_CODE = 4, AT_INFO = 8, SIZE_WORD = 8, SIZE_EVENT = 12 };
enum { INFO_UP = 1 << 1, INFO_E0 = 1 << 2, INFO_E1 = 1 << 3 };
enum { ACCEPTED = 1 };
#define VERSION (UINT32_C(1) << 16) /* 1.0, the only one there is */

struct keyboard {
    struct messenger *messenger;
    unsigned lamps;
};

static bool answer_request(struct keyboard *keyboard, uint32_t version)
{
    uint8_t answer[SIZE_WORD];

    put_le32(answer + AT_TYPE, TYPE_RESPONSE);
    put_le32(answer + AT_WORD, version == VERSION ? ACCEPTED : 0);
    messenger_answer(keyboard->messenger, answer, sizeof(answer));
    if (version == VERSION)
        messenger_start(keyboard->messenger);
    return true;
}

static bool received(void *owner, const uint8_t *bytes, size_t length)
{
    struct keyboard *keyboard = owner;

    if (length < SIZE_WORD)
        return false;
    uint32_t word = get_le32(bytes + AT_WORD);
    switch (get_le32(bytes + AT_TYPE)) {
    case TYPE_REQUEST:
        return answer_request(keyboard, word);
    case TYPE_LAMPS:
        keyboard->lamps = word & 7;
        return true;
    default:
        return false;
    }
}

static const struct messenger_kind kind = {
    .offer =
        {
            .name = "keyboard",
            /* f912ad6d-2b17-48ea-bd65-f927a61c7684 */
            .class_id = {0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd, 0x65, 0xf9, 0x27,
                         0xa6, 0x1c, 0x76, 0x84},
            .instance_id = {0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd, 0x65, 'p', 'a',
                            'r', 't', 'i', 'k'},
        },
    .received = received,
};

int keyboard_create(const struct ic_host *host, struct keyboard **ret)
{
    struct keyboard *keyboard = calloc(1, sizeof(*keyboard));

    if (keyboard == NULL)
        return -ENOMEM;
    int error = messenger_create(host, &kind, keyboard, &keyboard->messenger);
    if (error < 0)
        keyboard_destroy(keyboard);
    else
        *ret = keyboard;
    return error;
}

void keyboard_destroy(struct keyboard *keyboard)
{
    if (keyboard == NULL)
        return;
    messenger_destroy(keyboard->messenger);
    free(keyboard);
}

static void put_stroke(uint8_t *to, const struct keystroke *stroke)
{
    uint32_t info =
        (stroke->up ? INFO_UP : 0) | (stroke->e0 ? INFO_E0 : 0) | (stroke->e1 ? INFO_E1 : 0);

    put_le32(to + AT_TYPE, TYPE_EVENT);
    put_le32(to + AT_CODE, stroke->code);
    put_le32(to + AT_INFO, info);
}

int keyboard_send(struct keyboard *keyboard, const struct keystroke *strokes, size_t count)
{
    static uint8_t messages[MESSENGER_MOST_WAITING][SIZE_EVENT]; /* the loop is one thread */

    if (count > MESSENGER_MOST_WAITING)
        return -ENOBUFS;
    for (size_t i = 0; i < count; i++)
        put_stroke(messages[i], &strokes[i]);
    return messenger_send(keyboard->messenger, messages, SIZE_EVENT, count);
}

unsigned keyboard_lamps(const struct keyboard *keyboard)
{
    return keyboard->lamps;
}

void keyboard_describe(const struct keyboard *keyboard, struct messenger_report *ret)
{
    messenger_describe(keyboard->messenger, ret);
}
