/*
 * Signals, of the guest and to it; and when a channel is served.
 *
 * A guest whose processor is slow hands its packets over one by one, and each that is answered at
 * once costs it an interrupt of its own, in the middle of making the next. So a channel that had
 * several packets in a while is served that long after its first; the guest, which sees its ring
 * not empty, does not signal meanwhile. Whether there are several is found out by waiting once in
 * PROBE_AFTER signals: a guest that has one request at a time hardly feels that.
 */
#include "base/clock.h"
#include "vmbus/vmbus_private.h"

enum { PROBE_AFTER = 64 };

void channel_signal_guest(struct vmbus_channel *channel)
{
    channel->report.signals_out++;
    /* A guest that has switched its event page off hears nothing: its own wish. */
    (void)hv_signal_event(channel->vmbus->config.hv, channel->target_vp, WIRE_SINT, channel->relid);
}

void signal_reset(struct vmbus_channel *channel)
{
    channel->at_once = PROBE_AFTER;
    channel->late = false;
}

static void learn(struct vmbus_channel *channel, uint64_t packets, bool waited)
{
    if (packets >= 2)
        channel->at_once = 0;
    else if (waited)
        channel->at_once = PROBE_AFTER;
    else if (channel->at_once > 0)
        channel->at_once--;
}

static void serve(struct vmbus_channel *channel, bool waited)
{
    uint64_t before = channel->report.packets_in;

    channel->report.signals_in++;
    channel->batch = VMBUS_BATCH;
    packet_check_room(channel);
    if (channel->open)
        channel->ops->readable(channel->owner, channel);
    learn(channel, channel->report.packets_in - before, waited);
}

/* A batch that was cut short has had its wait. */
static bool may_wait(const struct vmbus_channel *channel)
{
    return channel->vmbus->config.patience_ns != 0 && channel->at_once == 0 && channel->batch != 0;
}

static void wait_for_more(struct vmbus_channel *channel)
{
    struct vmbus *vmbus = channel->vmbus;

    channel->late = true;
    if (vmbus->late_due)
        return;
    vmbus->late_due = true;
    loop_timer_set(vmbus->late, clock_monotonic_ns() + vmbus->config.patience_ns);
}

static void heed(struct vmbus_channel *channel)
{
    if (channel->late)
        return;
    if (may_wait(channel))
        wait_for_more(channel);
    else
        serve(channel, false);
}

/* A channel may be withdrawn or closed by a callback, but freed only by a message or a rescind. */
void channel_serve_all(struct vmbus *vmbus)
{
    for (uint32_t relid = 1; relid <= vmbus->last_relid; relid++) {
        struct vmbus_channel *channel = vmbus->by_relid[relid];
        if (channel != NULL && channel->open && atomic_exchange(&channel->signalled, false))
            heed(channel);
    }
}

void channel_serve_late(struct vmbus *vmbus)
{
    vmbus->late_due = false;
    for (uint32_t relid = 1; relid <= vmbus->last_relid; relid++) {
        struct vmbus_channel *channel = vmbus->by_relid[relid];
        if (channel == NULL || !channel->open || !channel->late)
            continue;
        channel->late = false;
        serve(channel, true);
    }
}
