#include "switchd/hub.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { ADDRESSES = 2 * FRAME_MAC_SIZE, AGE_SECONDS = 300, USUAL_WEIGHT = 50 };
enum { TAG_PRIORITY = 0xf000, TAG_VLAN = 0x0fff };

static const char *const kind_names[HUB_KINDS] = {"private", "internal", "external", "nat"};

const char *hub_kind_name(enum hub_kind kind)
{
    return kind_names[kind];
}

void hub_default_settings(struct port_settings *ret)
{
    *ret = (struct port_settings){.weight = USUAL_WEIGHT};
}

/* ---- frames ---- */

/* A frame as its bytes: before the tag, and behind. Frames of lines are in one piece. */
struct parts {
    uint8_t *bytes;
    size_t length;
    bool tagged;
    uint16_t control; /* of the tag: priority and VLAN */
};

static struct parts parts_of(const struct net_frame *frame)
{
    struct parts ret = {frame->iov[0].iov_base, frame->iov[0].iov_len, false, 0};

    ret.tagged =
        ret.length >= FRAME_HEADER + FRAME_TAG && get_be16(ret.bytes + ADDRESSES) == FRAME_VLAN;
    if (ret.tagged)
        ret.control = get_be16(ret.bytes + ADDRESSES + 2);
    return ret;
}

static void shift_offload(struct net_offload *offload, int by)
{
    if (offload->wants_checksum)
        offload->checksum_start = (uint16_t)(offload->checksum_start + by);
    if (offload->segmentation != NET_WHOLE)
        offload->headers_length = (uint16_t)(offload->headers_length + by);
}

/* Add it to the line's batch, with the tag that is wanted there, or without. */
static void put(struct hub_batch *batch, const struct net_frame *frame, const struct parts *parts,
                uint16_t vlan)
{
    struct net_frame *to = &batch->frames[batch->count];
    struct iovec *iov = batch->iov[batch->count];
    uint8_t *tag = batch->tags[batch->count++];
    size_t behind = ADDRESSES + (parts->tagged ? FRAME_TAG : 0);
    unsigned used = 1;

    *to = (struct net_frame){.iov = iov, .offload = frame->offload};
    if (parts->tagged == (vlan != 0) && (parts->control & TAG_VLAN) == vlan) {
        iov[0] = frame->iov[0];
        to->iov_count = 1;
        to->length = frame->length;
        return;
    }
    iov[0] = (struct iovec){parts->bytes, ADDRESSES};
    if (vlan != 0) {
        put_be16(tag, FRAME_VLAN);
        put_be16(tag + 2, (uint16_t)((parts->control & TAG_PRIORITY) | vlan));
        iov[used++] = (struct iovec){tag, FRAME_TAG};
    }
    iov[used++] = (struct iovec){parts->bytes + behind, parts->length - behind};
    to->iov_count = used;
    to->length = parts->length - behind + ADDRESSES + (vlan != 0 ? FRAME_TAG : 0);
    shift_offload(&to->offload, (int)to->length - (int)frame->length);
}

static void take_frame(struct hub_port *from, const struct net_frame *frame, uint64_t now_ns)
{
    struct hub *hub = from->hub;
    struct switch_verdict verdict;
    const struct parts parts = parts_of(frame);

    switch_forward(&hub->core, from->index, parts.bytes, parts.length, now_ns, &verdict);
    if ((verdict.ports >> HUB_UPLINK & 1) != 0)
        hub_pace_charge(from, frame, now_ns);
    for (uint64_t rest = verdict.ports | verdict.mirrors; rest != 0; rest &= rest - 1) {
        unsigned index = (unsigned)__builtin_ctzll(rest);
        struct hub_port *port = &hub->ports[index];
        if (port->line == NULL || !port->link)
            port->unplugged++;
        else
            put(&port->batch, frame, &parts, switch_tag(&hub->core, index, verdict.vlan));
    }
    hub->touched |= verdict.ports | verdict.mirrors;
}

static void flush(struct hub *hub)
{
    for (uint64_t rest = hub->touched; rest != 0; rest &= rest - 1) {
        struct hub_port *port = &hub->ports[__builtin_ctzll(rest)];
        unsigned count = port->batch.count;
        port->batch.count = 0;
        if (count > 0)
            port->lost += count - port->line->ops->send(port->line, port->batch.frames, count);
    }
    hub->touched = 0;
}

/* ---- what lines call ---- */

static unsigned receive(void *owner, const struct net_frame *frames, unsigned count)
{
    struct hub_port *port = owner;
    uint64_t now = clock_monotonic_ns();
    unsigned i = 0;

    for (; i < count && hub_pace_admit(port, &frames[i], now); i++)
        take_frame(port, &frames[i], now);
    flush(port->hub);
    return i;
}

/* What had no room is lost already. */
static void writable(void *owner)
{
    (void)owner;
}

static void link_changed(void *owner, bool up)
{
    struct hub_port *port = owner;

    port->link = up;
    if (!up)
        loop_event_raise(port->hub->reaper);
}

/* Lines that have hung up. */
static void reap(void *owner)
{
    struct hub *hub = owner;

    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        struct hub_port *port = &hub->ports[i];
        if (port->line == NULL || port->link)
            continue;
        hub_unplug(port);
        if (i == HUB_UPLINK)
            hub->uplink_ended(hub->owner, hub);
    }
}

/* ---- ports ---- */

struct hub_port *hub_find_port(struct hub *hub, const char *partition, unsigned card)
{
    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        struct hub_port *port = &hub->ports[i];
        if (port->used && port->card == card && strcmp(port->partition, partition) == 0)
            return port;
    }
    return NULL;
}

static bool is_taken(const struct hub *hub, const uint8_t *mac, const struct hub_port *but)
{
    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        const struct hub_port *port = &hub->ports[i];
        if (port->used && port != but && memcmp(port->settings.core.mac, mac, FRAME_MAC_SIZE) == 0)
            return true;
    }
    return false;
}

static struct hub_port *free_port(struct hub *hub)
{
    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        if (!hub->ports[i].used)
            return &hub->ports[i];
    }
    return NULL;
}

int hub_add_port(struct hub *hub, const char *partition, unsigned card,
                 const struct port_settings *settings, struct hub_port **ret)
{
    uint64_t now = clock_monotonic_ns();
    struct hub_port *port = free_port(hub);

    if (port == NULL)
        return -ENOSPC;
    if (is_taken(hub, settings->core.mac, NULL))
        return -EEXIST;
    int error = hub_pace_create_port(port);
    if (error == 0)
        error = switch_add_port(&hub->core, port->index, &settings->core, now);
    if (error < 0)
        return error;
    port->used = true;
    port->card = card;
    port->lost = port->unplugged = 0;
    memset(port->partition, 0, sizeof(port->partition));
    memcpy(port->partition, partition, strnlen(partition, sizeof(port->partition) - 1));
    port->settings = *settings;
    hub_pace_set(port, now);
    *ret = port;
    return 0;
}

int hub_change_port(struct hub_port *port, const struct port_settings *settings)
{
    uint64_t now = clock_monotonic_ns();

    if (is_taken(port->hub, settings->core.mac, port))
        return -EEXIST;
    int error = switch_change_port(&port->hub->core, port->index, &settings->core, now);
    if (error < 0)
        return error;
    port->settings = *settings;
    hub_pace_set(port, now);
    return 0;
}

void hub_remove_port(struct hub_port *port)
{
    hub_unplug(port);
    switch_remove_port(&port->hub->core, port->index);
    port->used = false;
}

/* ---- lines ---- */

static bool has_ended(const struct hub_port *port)
{
    struct pollfd waits = {.fd = port->liveness, .events = POLLRDHUP};

    return !port->link || (port->liveness >= 0 && poll(&waits, 1, 0) > 0 &&
                           (waits.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0);
}

bool hub_is_busy(const struct hub_port *port)
{
    return port->line != NULL && !has_ended(port);
}

int hub_plug(struct hub_port *port, struct net_port *line, int liveness)
{
    const struct net_port_user own = {port, receive, writable, link_changed};

    if (hub_is_busy(port))
        return -EBUSY;
    hub_unplug(port);
    port->line = line;
    port->liveness = liveness;
    line->ops->start(line, &own);
    line->ops->set_offload(line, true, true);
    return 0;
}

void hub_unplug(struct hub_port *port)
{
    if (port->timer != NULL)
        hub_pace_forget(port);
    if (port->line != NULL)
        port->line->ops->destroy(port->line);
    port->line = NULL;
    port->link = false;
    port->liveness = -1;
    port->batch.count = 0;
}

int hub_plug_uplink(struct hub *hub, struct net_port *line)
{
    struct port_settings settings;
    struct hub_port *port = &hub->ports[HUB_UPLINK];

    hub_default_settings(&settings);
    /* It is a trunk of all VLANs: what is on the other side sorts them. */
    settings.core.uplink = settings.core.trunk = true;
    for (unsigned vlan = 1; vlan < FRAME_VLANS; vlan++)
        settings.core.allowed[vlan / 64] |= UINT64_C(1) << vlan % 64;
    int error = hub_pace_create_port(port);
    if (error == 0 && !hub->core.port[HUB_UPLINK].present)
        error = switch_add_port(&hub->core, HUB_UPLINK, &settings.core, clock_monotonic_ns());
    if (error < 0)
        return error;
    port->settings = settings;
    return hub_plug(port, line, -1);
}

void hub_set_uplink_rate(struct hub *hub, uint64_t bits)
{
    hub->config.uplink_rate = bits;
    hub_pace_set_uplink(hub, clock_monotonic_ns());
}

/* ---- a switch ---- */

int hub_create(struct loop *loop, const struct hub_config *config,
               void (*uplink_ended)(void *owner, struct hub *hub), void *owner, struct hub **ret)
{
    struct hub *hub = calloc(1, sizeof(*hub));

    if (hub == NULL)
        return -ENOMEM;
    hub->config = *config;
    hub->loop = loop;
    hub->uplink_ended = uplink_ended;
    hub->owner = owner;
    switch_init(&hub->core, (uint64_t)AGE_SECONDS * NS_PER_SECOND);
    for (unsigned i = 0; i < SWITCH_PORTS; i++) {
        hub->ports[i].hub = hub;
        hub->ports[i].index = i;
        hub->ports[i].liveness = -1;
    }
    int error = loop_event_create(loop, reap, hub, &hub->reaper);
    if (error == 0)
        error = hub_pace_create(hub);
    if (error == 0)
        hub_pace_set_uplink(hub, clock_monotonic_ns());
    if (error < 0) {
        hub_destroy(hub);
        return error;
    }
    *ret = hub;
    return 0;
}

void hub_destroy(struct hub *hub)
{
    if (hub == NULL)
        return;
    for (unsigned i = 0; i < SWITCH_PORTS; i++)
        hub_unplug(&hub->ports[i]);
    hub_pace_destroy(hub);
    loop_event_destroy(hub->reaper);
    free(hub);
}
