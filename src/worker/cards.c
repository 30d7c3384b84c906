#include "worker/cards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "control/socket.h"
#include "net/lossy.h"
#include "net/passt.h"
#include "net/port.h"
#include "net/socket.h"
#include "net/switch_port.h"
#include "net/tap.h"
#include "worker/link.h"

struct cards {
    const struct worker_config *config;
    struct net_port *natural[WORKER_MAX_CARDS]; /* NAT, before a lossy line in front of it */
    struct machine_card places[WORKER_MAX_CARDS];
    size_t count;
};

/* ---- addresses ---- */

/*
 * Hyper-V's prefix and three bytes that last: of the partition's name, else of its first disk or
 * its kernel. Two partitions with neither name nor file of their own need `mac=`.
 */
static void derive_mac(const struct worker_config *config, unsigned index, uint8_t ret[6])
{
    const char *seed = config->name;
    uint8_t number = (uint8_t)index;

    if (seed == NULL && config->disk_count > 0)
        seed = config->disks[0].path;
    if (seed == NULL)
        seed = config->kernel_path != NULL ? config->kernel_path : "";
    uint32_t sum = crc32c(0, seed, strlen(seed));
    sum = crc32c(sum, &number, 1);
    ret[0] = 0x00;
    ret[1] = 0x15;
    ret[2] = 0x5d;
    ret[3] = (uint8_t)(sum >> 16);
    ret[4] = (uint8_t)(sum >> 8);
    ret[5] = (uint8_t)sum;
}

/* ---- ports ---- */

static int open_nat(const struct worker_card *card, struct loop *loop, struct net_port **ret,
                    struct reason *reason)
{
    enum { USUAL_MTU = 1500 };
    struct passt_forward forwards[WORKER_MAX_FORWARDS];
    const struct passt_config config = {
        .forwards = forwards,
        .forward_count = card->forward_count,
        .mtu = card->mtu != 0 ? card->mtu : USUAL_MTU,
    };

    for (unsigned i = 0; i < card->forward_count; i++)
        forwards[i] = (struct passt_forward){card->forwards[i].udp, card->forwards[i].ports};
    return passt_create(loop, &config, ret, reason);
}

/* The switch keeps the address, unless the command line has one. */
static int open_switch(const struct worker_config *config, const struct worker_card *card,
                       unsigned index, struct loop *loop, struct machine_card *ret,
                       struct reason *reason)
{
    struct net_hello hello = {.card = index, .has_mac = card->mac_given};
    char path[CONTROL_SOCKET_PATH_SIZE];
    int error = control_switch_path("ports", path, reason);

    if (error < 0)
        return error;
    if (config->name == NULL || strlen(card->name) >= sizeof(hello.switch_name))
        return reason_set(reason, -EINVAL, "a card of a switch needs the partition's --name");
    memcpy(hello.switch_name, card->name, strlen(card->name));
    memcpy(hello.partition, config->name, strlen(config->name));
    memcpy(hello.mac, card->mac, sizeof(hello.mac));
    error = switch_port_create(loop, path, &hello, &ret->port, reason);
    memcpy(ret->mac, hello.mac, sizeof(ret->mac));
    return error;
}

static int open_port(const struct worker_config *config, const struct worker_card *card,
                     unsigned index, struct loop *loop, struct machine_card *ret,
                     struct reason *reason)
{
    switch (card->kind) {
    case WORKER_CARD_NAT:
        return open_nat(card, loop, &ret->port, reason);
    case WORKER_CARD_TAP:
        return tap_create(loop, card->name, card->fd, &ret->port, reason);
    case WORKER_CARD_SOCKET:
        return net_socket_create(loop, card->name, card->fd, &ret->port, reason);
    case WORKER_CARD_SWITCH:
        return open_switch(config, card, index, loop, ret, reason);
    }
    return -EINVAL;
}

static int add_loss(const struct worker_card *card, struct net_port **port, struct reason *reason)
{
    struct net_port *behind = *port;

    if (card->loss == 0)
        return 0;
    return lossy_create(behind, card->loss, port) < 0 ? reason_set(reason, -ENOMEM, "out of memory")
                                                      : 0;
}

static int open_card(struct cards *cards, const struct worker_card *card, struct loop *loop,
                     struct reason *reason)
{
    unsigned index = (unsigned)cards->count;
    struct machine_card *place = &cards->places[index];
    int error = open_port(cards->config, card, index, loop, place, reason);

    if (error < 0)
        return error;
    cards->count++;
    cards->natural[index] = card->kind == WORKER_CARD_NAT ? place->port : NULL;
    place->mtu = card->mtu;
    place->vlan = card->vlan;
    if (card->mac_given)
        memcpy(place->mac, card->mac, sizeof(place->mac));
    else if (card->kind != WORKER_CARD_SWITCH)
        derive_mac(cards->config, index, place->mac);
    return add_loss(card, &place->port, reason);
}

int cards_open(const struct worker_config *config, struct loop *loop, struct cards **ret,
               struct reason *reason)
{
    static const struct worker_card usual = {.kind = WORKER_CARD_NAT, .fd = -1};
    struct cards *cards = calloc(1, sizeof(*cards));
    int error = 0;

    if (cards == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    cards->config = config;
    *ret = cards;
    if (config->usual_card && passt_is_installed())
        return open_card(cards, &usual, loop, reason);
    for (size_t i = 0; error == 0 && i < config->card_count; i++)
        error = open_card(cards, &config->cards[i], loop, reason);
    return error;
}

void cards_close(struct cards *cards)
{
    if (cards == NULL)
        return;
    for (size_t i = 0; i < cards->count; i++)
        cards->places[i].port->ops->destroy(cards->places[i].port);
    free(cards);
}

const struct machine_card *cards_places(const struct cards *cards, size_t *ret_count)
{
    *ret_count = cards->count;
    return cards->places;
}

int cards_check(const struct cards *cards, struct reason *reason)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < cards->count; i++) {
        if (cards->natural[i] != NULL)
            error = passt_check(cards->natural[i], reason);
    }
    return error;
}

static const char *kind_of(const struct cards *cards, size_t index)
{
    return cards->places[index].port->ops->name;
}

void cards_describe(const struct cards *cards, const struct machine *machine,
                    struct control_status *ret)
{
    for (size_t i = 0; i < cards->count; i++) {
        struct control_card *card = &ret->cards[i];
        struct machine_card_state state;
        if (machine_describe_card(machine, (unsigned)i, &state) < 0)
            return;
        *card = (struct control_card){
            .link = state.link,
            .used = state.used,
            .mtu = state.mtu,
            .channels = state.channels,
            .sent_frames = state.sent_frames,
            .sent_bytes = state.sent_bytes,
            .sent_dropped = state.sent_dropped,
            .received_frames = state.received_frames,
            .received_bytes = state.received_bytes,
            .received_dropped = state.received_dropped,
        };
        (void)snprintf(card->kind, sizeof(card->kind), "%s", kind_of(cards, i));
        (void)snprintf(card->mac, sizeof(card->mac), "%02x:%02x:%02x:%02x:%02x:%02x", state.mac[0],
                       state.mac[1], state.mac[2], state.mac[3], state.mac[4], state.mac[5]);
        char id[LINK_GUID_TEXT];
        link_guid_text(state.id, id);
        (void)snprintf(card->id, sizeof(card->id), "{%s}", id);
        ret->card_count = i + 1;
    }
}
