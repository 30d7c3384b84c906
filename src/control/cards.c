#include "control/cards.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { COUNTS = 6 };

static json_t *card_object(const struct control_card *card)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "kind",
                     card->kind, "mac", card->mac, "id", card->id, "link", (int)card->link, "used",
                     (int)card->used, "mtu", (int)card->mtu, "channels", (int)card->channels,
                     "sent_frames", (json_int_t)card->sent_frames, "sent_bytes",
                     (json_int_t)card->sent_bytes, "sent_dropped", (json_int_t)card->sent_dropped,
                     "received_frames", (json_int_t)card->received_frames, "received_bytes",
                     (json_int_t)card->received_bytes, "received_dropped",
                     (json_int_t)card->received_dropped);
}

json_t *control_cards_json(const struct control_status *status)
{
    json_t *cards = json_array();

    for (size_t i = 0; i < status->card_count; i++) {
        if (json_array_append_new(cards, card_object(&status->cards[i])) < 0) {
            json_decref(cards);
            return NULL;
        }
    }
    return cards;
}

/* What a terminal may show. */
static void take_word(const char *from, char *to, size_t size)
{
    size_t i = 0;

    for (; from[i] != '\0' && i + 1 < size; i++)
        to[i] = (char)(from[i] > ' ' && from[i] <= '~' ? from[i] : '?');
    to[i] = '\0';
}

static int take_card(json_t *object, struct control_card *ret)
{
    uint64_t *const counts[COUNTS] = {&ret->sent_frames,    &ret->sent_bytes,
                                      &ret->sent_dropped,   &ret->received_frames,
                                      &ret->received_bytes, &ret->received_dropped};
    const char *kind = NULL;
    const char *mac = NULL;
    const char *id = "";
    json_int_t numbers[COUNTS];
    json_int_t small[2];
    int flags[2];

    if (json_unpack(object, "{s:s, s:s, s?s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                    "kind", &kind, "mac", &mac, "id", &id, "link", &flags[0], "used", &flags[1],
                    "mtu", &small[0], "channels", &small[1], "sent_frames", &numbers[0],
                    "sent_bytes", &numbers[1], "sent_dropped", &numbers[2], "received_frames",
                    &numbers[3], "received_bytes", &numbers[4], "received_dropped",
                    &numbers[5]) < 0)
        return -EINVAL;
    for (int i = 0; i < COUNTS; i++) {
        if (numbers[i] < 0)
            return -EINVAL;
        *counts[i] = (uint64_t)numbers[i];
    }
    if (small[0] < 0 || small[0] > UINT16_MAX || small[1] < 0 || small[1] > UINT16_MAX)
        return -EINVAL;
    ret->link = flags[0] != 0;
    ret->used = flags[1] != 0;
    ret->mtu = (unsigned)small[0];
    ret->channels = (unsigned)small[1];
    take_word(kind, ret->kind, sizeof(ret->kind));
    take_word(mac, ret->mac, sizeof(ret->mac));
    take_word(id, ret->id, sizeof(ret->id));
    return 0;
}

int control_cards_take(const json_t *array, struct control_status *ret)
{
    size_t count = json_array_size(array);
    int error = 0;

    if ((array != NULL && !json_is_array(array)) || count > CONTROL_MOST_CARDS)
        return -EINVAL;
    for (size_t i = 0; error == 0 && i < count; i++)
        error = take_card(json_array_get(array, i), &ret->cards[i]);
    ret->card_count = error == 0 ? count : 0;
    return error;
}
