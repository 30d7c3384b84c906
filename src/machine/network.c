/* The network cards of a machine. */
#include <errno.h>
#include <string.h>

#include "machine/machine_private.h"
#include "net/port.h"

_Static_assert((int)MACHINE_MAX_CARDS == (int)NETVSP_MAX_CARDS, "cards are the network service's");

/* One thread of the host serves them all; the guest's processors share what it brings. */
enum { MOST_SUBCHANNELS = 7 };

static unsigned mtu_of(const struct machine_card *card)
{
    unsigned mtu = card->mtu != 0 ? card->mtu : card->port->mtu;
    return mtu < NETVSP_MOST_MTU ? mtu : NETVSP_MOST_MTU;
}

static int create_card(struct machine *machine, unsigned index, struct reason *reason)
{
    const struct machine_card *card = &machine->config.cards[index];
    unsigned others = machine->config.vcpu_count - 1;
    struct netvsp_config config = {
        .vmbus = machine->vmbus,
        .mem = machine->mem,
        .loop = machine->config.loop,
        .port = card->port,
        .card = index,
        .mtu = mtu_of(card),
        .vlan = card->vlan,
        .max_subchannels = others < MOST_SUBCHANNELS ? others : MOST_SUBCHANNELS,
    };

    memcpy(config.mac, card->mac, sizeof(config.mac));
    return netvsp_create(&config, &machine->cards[index], reason);
}

int machine_create_network(struct machine *machine, struct reason *reason)
{
    int error = 0;

    if (machine->config.card_count > MACHINE_MAX_CARDS)
        return reason_set(reason, -EINVAL, "more than %d network cards", MACHINE_MAX_CARDS);
    for (unsigned i = 0; error == 0 && i < machine->config.card_count; i++)
        error = create_card(machine, i, reason);
    return error;
}

void machine_destroy_network(struct machine *machine)
{
    for (unsigned i = 0; i < MACHINE_MAX_CARDS; i++) {
        netvsp_destroy(machine->cards[i]);
        machine->cards[i] = NULL;
    }
}

int machine_describe_card(const struct machine *machine, unsigned card,
                          struct machine_card_state *ret)
{
    struct netvsp_report report;

    if (card >= MACHINE_MAX_CARDS || machine->cards[card] == NULL)
        return -ENOENT;
    netvsp_describe(machine->cards[card], &report);
    *ret = (struct machine_card_state){
        .link = report.link,
        .used = report.used,
        .mtu = report.mtu,
        .channels = report.channels,
        .sent_frames = report.sent.frames,
        .sent_bytes = report.sent.bytes,
        .sent_dropped = report.sent.dropped,
        .received_frames = report.received.frames,
        .received_bytes = report.received.bytes,
        .received_dropped = report.received.dropped,
    };
    memcpy(ret->id, report.id, sizeof(ret->id));
    memcpy(ret->mac, report.mac, sizeof(ret->mac));
    return 0;
}

int machine_set_card_link(struct machine *machine, unsigned card, bool up)
{
    if (card >= MACHINE_MAX_CARDS || machine->cards[card] == NULL)
        return -ENOENT;
    netvsp_set_link(machine->cards[card], up);
    return 0;
}
