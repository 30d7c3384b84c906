/* A network card: its life, its cable, its sub-channels (netvsp_private.h). */
#include "vsp/netvsp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "vsp/netvsp_private.h"

/* f8615163-df3e-46c5-913f-f2d2f965ed0e, as on the wire. */
static const uint8_t class_id[16] = {0x63, 0x51, 0x61, 0xf8, 0x3e, 0xdf, 0xc5, 0x46,
                                     0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e};

/* 4b7d21c6-0e93-4a58-b1d4-50617274NNNN, NNNN the card: Partita's own. Linux makes names of it. */
static const uint8_t instance_id[16] = {0xc6, 0x21, 0x7d, 0x4b, 0x93, 0x0e, 0x58, 0x4a,
                                        0xb1, 0xd4, 0x50, 0x61, 0x72, 0x74, 0x00, 0x00};

/* ---- channels ---- */

static void fill_id(const struct netvsp *netvsp, uint8_t ret[16])
{
    memcpy(ret, instance_id, sizeof(instance_id));
    ret[15] = (uint8_t)netvsp->config.card;
}

static int offer(struct netvsp *netvsp, unsigned index)
{
    char name[16];
    struct netvsp_channel *channel = &netvsp->channel[index];
    struct vmbus_offer offer = {.name = name, .subchannel = (uint16_t)index};

    (void)snprintf(name, sizeof(name), "net %u", netvsp->config.card);
    memcpy(offer.class_id, class_id, sizeof(class_id));
    fill_id(netvsp, offer.instance_id);
    return vmbus_offer(netvsp->config.vmbus, &offer, &netvsp_channel_ops, channel, &channel->vmbus);
}

static void withdraw(struct netvsp_channel *channel)
{
    struct vmbus_channel *vmbus = channel->vmbus;

    if (vmbus == NULL)
        return;
    vmbus_rescind(vmbus); /* which closes it first */
    channel->vmbus = NULL;
}

/* Which channel a guest's queue sends on; more than it needs, for those who read beyond. */
static void send_table(struct netvsp *netvsp, unsigned count)
{
    enum { ENTRIES = NVSP_SEND_TABLE + 1, OFFSET = 12 };
    uint8_t message[OFFSET + ENTRIES * 4] = {NVSP_INDIRECTION_TABLE};

    put_le32(message + NVSP_AT_FIRST, NVSP_SEND_TABLE);
    put_le32(message + NVSP_AT_SECOND, OFFSET);
    for (unsigned i = 0; i < ENTRIES; i++)
        put_le32(message + OFFSET + (size_t)i * 4, i % (count + 1));
    /* Without it a guest has a table of its own. */
    (void)vmbus_send(netvsp->channel[0].vmbus, message, sizeof(message), 0, false);
}

static void offer_owed(void *owner)
{
    struct netvsp *netvsp = owner;
    bool left = false;

    for (unsigned i = 1; i <= netvsp->subchannels_owed; i++) {
        if (netvsp->channel[i].vmbus == NULL && offer(netvsp, i) < 0)
            left = true;
    }
    if (left)
        loop_timer_set(netvsp->offer_timer, clock_monotonic_ns() + NS_PER_SECOND / 50);
    else
        netvsp->subchannels_owed = 0;
}

void netvsp_offer_subchannels(struct netvsp *netvsp, unsigned count)
{
    netvsp->subchannels_owed = count;
    offer_owed(netvsp);
    send_table(netvsp, count);
}

void netvsp_end_connection(struct netvsp *netvsp)
{
    netvsp->version = 0;
    netvsp->capabilities = 0;
    netvsp->mtu = netvsp->config.mtu;
    netvsp->send_buffer.set = netvsp->receive_buffer.set = false;
    netvsp->initialized = netvsp->coalesces = netvsp->link_due = false;
    netvsp->control_count = 0;
    netvsp->filter = (struct netvsp_filter){0};
    memcpy(netvsp->filter.mac, netvsp->config.mac, NET_MAC_SIZE);
    netvsp->rss.on = false;
    netvsp->rss.table_size = 0;
    netvsp->subchannels_owed = 0;
    loop_timer_set(netvsp->offer_timer, 0);
    for (unsigned i = 1; i < netvsp->channel_count; i++)
        withdraw(&netvsp->channel[i]);
    for (unsigned i = 0; i < netvsp->channel_count; i++)
        netvsp->channel[i].transfer = (struct netvsp_transfer){0};
    netvsp_sections_reset(netvsp);
    netvsp_tell_port(netvsp);
}

/* ---- the port ---- */

void netvsp_tell_port(struct netvsp *netvsp)
{
    struct net_port *port = netvsp->config.port;
    struct net_filter filter = {
        .promiscuous = (netvsp->filter.packets & NDIS_FILTER_PROMISCUOUS) != 0,
        .all_multicast =
            (netvsp->filter.packets & (NDIS_FILTER_ALL_MULTICAST | NDIS_FILTER_MULTICAST)) != 0,
    };

    memcpy(filter.mac, netvsp->filter.mac, NET_MAC_SIZE);
    port->ops->set_filter(port, &filter);
    port->ops->set_offload(port, true, netvsp->coalesces);
    netvsp_receive_resume(netvsp);
}

static void tell_link(struct netvsp *netvsp, bool before)
{
    if (netvsp_link(netvsp) == before)
        return;
    netvsp->link_due = netvsp->initialized;
    netvsp_rndis_send(netvsp);
    netvsp_receive_resume(netvsp);
}

static void port_link(void *owner, bool up)
{
    struct netvsp *netvsp = owner;
    bool before = netvsp_link(netvsp);

    netvsp->port_up = up;
    tell_link(netvsp, before);
}

void netvsp_set_link(struct netvsp *netvsp, bool up)
{
    bool before = netvsp_link(netvsp);

    netvsp->plugged = up;
    tell_link(netvsp, before);
}

/* ---- life ---- */

static bool is_valid(const struct netvsp_config *config)
{
    return config->card < NETVSP_MAX_CARDS && config->max_subchannels <= NETVSP_MAX_SUBCHANNELS &&
           config->mtu >= NETVSP_LEAST_MTU && config->mtu <= NETVSP_MOST_MTU &&
           config->vlan < 4095 && (config->mac[0] & 1) == 0;
}

static void free_card(struct netvsp *netvsp)
{
    if (netvsp->patience != NULL)
        loop_timer_destroy(netvsp->patience);
    if (netvsp->offer_timer != NULL)
        loop_timer_destroy(netvsp->offer_timer);
    free(netvsp);
}

static int set_up(struct netvsp *netvsp)
{
    struct loop *loop = netvsp->config.loop;
    int error = loop_timer_create(loop, netvsp_send_give_up, netvsp, &netvsp->patience);

    if (error == 0)
        error = loop_timer_create(loop, offer_owed, netvsp, &netvsp->offer_timer);
    if (error == 0)
        error = offer(netvsp, 0);
    return error;
}

int netvsp_create(const struct netvsp_config *config, struct netvsp **ret, struct reason *reason)
{
    unsigned count = config->max_subchannels + 1;

    if (!is_valid(config))
        return reason_set(reason, -EINVAL, "no network card %u with MTU %u and VLAN %u",
                          config->card, config->mtu, config->vlan);
    struct netvsp *netvsp = calloc(1, sizeof(*netvsp) + count * sizeof(netvsp->channel[0]));
    if (netvsp == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    netvsp->config = *config;
    netvsp->mtu = config->mtu;
    netvsp->plugged = true;
    memcpy(netvsp->filter.mac, config->mac, NET_MAC_SIZE);
    netvsp->packet.payload = netvsp->payload;
    netvsp->packet.payload_room = sizeof(netvsp->payload);
    netvsp->channel_count = count;
    for (unsigned i = 0; i < count; i++)
        netvsp->channel[i] = (struct netvsp_channel){.netvsp = netvsp, .index = (uint16_t)i};
    int error = set_up(netvsp);
    if (error < 0) {
        free_card(netvsp);
        return reason_set(reason, error, "network card %u cannot be offered: error %d",
                          config->card, -error);
    }
    const struct net_port_user user = {.owner = netvsp,
                                       .receive = netvsp_receive,
                                       .writable = netvsp_send_writable,
                                       .link = port_link};
    config->port->ops->start(config->port, &user);
    *ret = netvsp;
    return 0;
}

void netvsp_destroy(struct netvsp *netvsp)
{
    if (netvsp == NULL)
        return;
    netvsp->config.port->ops->stop(netvsp->config.port);
    for (unsigned i = 0; i < netvsp->channel_count; i++)
        withdraw(&netvsp->channel[i]);
    free_card(netvsp);
}

void netvsp_describe(const struct netvsp *netvsp, struct netvsp_report *ret)
{
    *ret = (struct netvsp_report){.link = netvsp_link(netvsp),
                                  .used = netvsp->filter.packets != 0,
                                  .version = netvsp->version,
                                  .mtu = netvsp->mtu,
                                  .sent = netvsp->sent,
                                  .received = netvsp->received};
    fill_id(netvsp, ret->id);
    memcpy(ret->mac, netvsp->filter.mac, NET_MAC_SIZE);
    for (unsigned i = 0; i < netvsp->channel_count; i++)
        ret->channels += netvsp->channel[i].open;
}
