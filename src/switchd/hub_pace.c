/*
 * How fast guests may send: each up to its maximum, and all to the uplink in proportion to their
 * weights. A line that may not yet is not read, so that its guest waits instead of losing frames.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "switchd/hub.h"

/* A burst is what may be made up for when this process came late: less than two of the largest
 * frames, and less than some turns of a busy host's scheduler, would make the rate too small. */
enum {
    BITS = 8,
    BURST_OF_SECOND = 25, /* 40 ms of the rate */
    LEAST_BURST = 128 << 10,
    /* A frame that says else is taken for this: what one owes must not hold all others up, and
     * nothing goes for less than it is long. */
    LEAST_SEGMENT = 48,
    MOST_HEADERS = 128,
};

/* On the wire a large frame is segments, each with headers of its own. */
static uint64_t wire_length(const struct net_frame *frame)
{
    const struct net_offload *offload = &frame->offload;

    if (offload->segmentation == NET_WHOLE || offload->segment_size == 0 ||
        frame->length <= offload->headers_length)
        return frame->length;
    uint64_t size = offload->segment_size < LEAST_SEGMENT ? LEAST_SEGMENT : offload->segment_size;
    uint64_t headers =
        offload->headers_length > MOST_HEADERS ? MOST_HEADERS : offload->headers_length;
    uint64_t payload = frame->length - headers;
    return payload + (payload + size - 1) / size * headers;
}

static void set(struct shape *shape, uint64_t bits, uint64_t now_ns)
{
    uint64_t rate = bits / BITS;
    uint64_t burst = rate / BURST_OF_SECOND;

    shape_set(shape, rate, burst < LEAST_BURST ? LEAST_BURST : burst, now_ns);
}

/* ---- the uplink ---- */

static bool heads_out(const struct hub_port *port, const struct net_frame *frame)
{
    const struct hub *hub = port->hub;

    return hub->uplink.rate != 0 && port->index != HUB_UPLINK &&
           hub->core.port[HUB_UPLINK].present &&
           !switch_stays(&hub->core, port->index, frame->iov[0].iov_base, frame->iov[0].iov_len);
}

/* One frame for each turn; whoever has more waits again. */
static void take_turns(void *owner)
{
    struct hub *hub = owner;

    while (hub->waiting != 0) {
        uint64_t when = shape_when(&hub->uplink, 1, clock_monotonic_ns());
        if (when != 0) {
            loop_timer_set(hub->turn, when);
            return;
        }
        struct hub_port *port = &hub->ports[share_next(&hub->share, hub->waiting)];
        hub->waiting &= ~(UINT64_C(1) << port->index);
        port->granted = true;
        if (port->line != NULL)
            port->line->ops->resume(port->line);
        port->granted = false;
    }
}

void hub_pace_charge(struct hub_port *port, const struct net_frame *frame, uint64_t now_ns)
{
    struct hub *hub = port->hub;
    uint64_t length = wire_length(frame);

    if (hub->uplink.rate == 0)
        return;
    shape_charge(&hub->uplink, length, now_ns);
    share_sent(&hub->share, port->index, length);
}

/* ---- a port ---- */

static void go_on(void *owner)
{
    const struct hub_port *port = owner;

    if (port->line != NULL)
        port->line->ops->resume(port->line);
}

bool hub_pace_admit(struct hub_port *port, const struct net_frame *frame, uint64_t now_ns)
{
    uint64_t length = wire_length(frame);
    uint64_t when = shape_when(&port->pace, length, now_ns);

    if (when != 0) {
        loop_timer_set(port->timer, when);
        return false;
    }
    if (!port->granted && heads_out(port, frame)) {
        port->hub->waiting |= UINT64_C(1) << port->index;
        loop_timer_set(port->hub->turn, now_ns);
        return false;
    }
    port->granted = false;
    return shape_take(&port->pace, length, now_ns);
}

void hub_pace_set(struct hub_port *port, uint64_t now_ns)
{
    set(&port->pace, port->settings.bandwidth_max, now_ns);
    port->hub->share.weight[port->index] = port->settings.weight;
    loop_timer_set(port->timer, now_ns); /* it may wait for the old rate */
}

void hub_pace_set_uplink(struct hub *hub, uint64_t now_ns)
{
    set(&hub->uplink, hub->config.uplink_rate, now_ns);
    loop_timer_set(hub->turn, now_ns); /* who waits may wait for the old rate */
}

void hub_pace_forget(struct hub_port *port)
{
    port->hub->waiting &= ~(UINT64_C(1) << port->index);
    loop_timer_set(port->timer, 0);
}

int hub_pace_create_port(struct hub_port *port)
{
    return port->timer != NULL ? 0 : loop_timer_create(port->hub->loop, go_on, port, &port->timer);
}

int hub_pace_create(struct hub *hub)
{
    return loop_timer_create(hub->loop, take_turns, hub, &hub->turn);
}

void hub_pace_destroy(struct hub *hub)
{
    loop_timer_destroy(hub->turn);
    for (unsigned i = 0; i < SWITCH_PORTS; i++)
        loop_timer_destroy(hub->ports[i].timer);
}
