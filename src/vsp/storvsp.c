/* A storage controller: its units, its life, its saved state (storvsp_private.h). */
#include "vsp/storvsp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "state/state.h"
#include "vsp/storvsp_private.h"

/* ba6163d9-04a1-4d29-b605-72e2ffb1dc7f, as on the wire. */
static const uint8_t class_id[16] = {0xd9, 0x63, 0x61, 0xba, 0xa1, 0x04, 0x29, 0x4d,
                                     0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f};

/* 9a1e4f52-6c3b-4d0e-8f27-5061727469NN, NN the controller: Partita's own. */
static const uint8_t instance_id[16] = {0x52, 0x4f, 0x1e, 0x9a, 0x3b, 0x6c, 0x0e, 0x4d,
                                        0x8f, 0x27, 0x50, 0x61, 0x72, 0x74, 0x69, 0x00};

/* ---- channels ---- */

static int offer(struct storvsp *storvsp, unsigned index)
{
    char name[16];
    struct storvsp_channel *channel = &storvsp->channel[index];
    struct vmbus_offer offer = {.name = name, .subchannel = (uint16_t)index};

    (void)snprintf(name, sizeof(name), "scsi %u", storvsp->config.controller);
    memcpy(offer.class_id, class_id, sizeof(class_id));
    memcpy(offer.instance_id, instance_id, sizeof(instance_id));
    offer.instance_id[15] = (uint8_t)storvsp->config.controller;
    return vmbus_offer(storvsp->config.vmbus, &offer, &storvsp_channel_ops, channel,
                       &channel->vmbus);
}

static void withdraw(struct storvsp_channel *channel)
{
    struct vmbus_channel *vmbus = channel->vmbus;

    if (vmbus == NULL)
        return;
    vmbus_rescind(vmbus); /* which closes it first */
    channel->vmbus = NULL;
}

unsigned storvsp_subchannel_count(const struct storvsp *storvsp)
{
    unsigned count = 0;

    for (unsigned i = 1; i < storvsp->channel_count; i++)
        count += storvsp->channel[i].vmbus != NULL;
    return count;
}

void storvsp_withdraw_subchannels(struct storvsp *storvsp)
{
    for (unsigned i = 1; i < storvsp->channel_count; i++)
        withdraw(&storvsp->channel[i]);
}

/*
 * What was offered stays so when another cannot be: guests suffer from offers that are withdrawn at
 * once. The names of old sub-channels are taken until the guest has let go of them.
 */
int storvsp_offer_subchannels(struct storvsp *storvsp, unsigned count)
{
    int error = 0;

    for (unsigned i = 1; i <= count && error == 0; i++)
        error = offer(storvsp, i);
    return error;
}

/* ---- life ---- */

static void free_controller(struct storvsp *storvsp)
{
    for (unsigned i = 0; i < storvsp->channel_count; i++)
        storvsp_channel_release_pool(&storvsp->channel[i]);
    free(storvsp);
}

int storvsp_create(const struct storvsp_config *config, struct storvsp **ret, struct reason *reason)
{
    unsigned count = config->max_subchannels + 1;

    if (config->controller >= STORVSP_MAX_CONTROLLERS ||
        config->max_subchannels > STORVSP_MAX_SUBCHANNELS)
        return reason_set(reason, -EINVAL, "no storage controller %u with %u sub-channels",
                          config->controller, config->max_subchannels);
    struct storvsp *storvsp = calloc(1, sizeof(*storvsp) + count * sizeof(storvsp->channel[0]));
    if (storvsp == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    storvsp->config = *config;
    storvsp->packet.payload = storvsp->payload;
    storvsp->packet.payload_room = sizeof(storvsp->payload);
    storvsp->channel_count = count;
    for (unsigned i = 0; i < count; i++)
        storvsp->channel[i] = (struct storvsp_channel){.storvsp = storvsp, .index = (uint16_t)i};
    int error = offer(storvsp, 0);
    if (error < 0) {
        free_controller(storvsp);
        return reason_set(reason, error, "storage controller %u cannot be offered: error %d",
                          config->controller, -error);
    }
    *ret = storvsp;
    return 0;
}

void storvsp_destroy(struct storvsp *storvsp)
{
    if (storvsp == NULL)
        return;
    storvsp->stopped = true;
    storvsp->dying = true;
    storvsp->paused = NULL;
    withdraw(&storvsp->channel[0]);
    storvsp_withdraw_subchannels(storvsp); /* those that a closed controller has left */
    if (storvsp->in_flight == 0)
        free_controller(storvsp);
}

void storvsp_idle(struct storvsp *storvsp)
{
    void (*paused)(void *owner) = storvsp->paused;

    storvsp->paused = NULL;
    if (storvsp->dying)
        free_controller(storvsp);
    else if (paused != NULL)
        paused(storvsp->paused_owner);
}

void storvsp_pause(struct storvsp *storvsp, void (*paused)(void *owner), void *owner)
{
    storvsp->stopped = true;
    storvsp->paused = paused;
    storvsp->paused_owner = owner;
    if (storvsp->in_flight == 0)
        storvsp_idle(storvsp);
}

void storvsp_resume(struct storvsp *storvsp)
{
    storvsp->stopped = false;
    storvsp->paused = NULL;
    for (unsigned i = 0; i < storvsp->channel_count; i++)
        storvsp_channel_read(&storvsp->channel[i]);
}

/* ---- units ---- */

static void rescan(struct storvsp *storvsp)
{
    storvsp->rescan_due = true;
    storvsp_channel_send_rescan(storvsp);
}

int storvsp_add(struct storvsp *storvsp, unsigned lun, struct scsi_target *target)
{
    if (lun >= STORVSP_MAX_LUNS)
        return -EINVAL;
    if (storvsp->unit[lun].target != NULL)
        return -EEXIST;
    storvsp->unit[lun].target = target;
    rescan(storvsp);
    return 0;
}

int storvsp_remove(struct storvsp *storvsp, unsigned lun,
                   void (*removed)(void *owner, struct scsi_target *target), void *owner)
{
    if (lun >= STORVSP_MAX_LUNS || storvsp->unit[lun].target == NULL || storvsp->unit[lun].leaving)
        return -ENOENT;
    struct storvsp_unit *unit = &storvsp->unit[lun];
    struct scsi_target *target = unit->target;
    if (unit->in_flight > 0) {
        unit->leaving = true;
        unit->removed = removed;
        unit->removed_owner = owner;
    } else {
        *unit = (struct storvsp_unit){0};
    }
    rescan(storvsp);
    if (unit->target == NULL)
        removed(owner, target);
    return 0;
}

/* ---- saved state ---- */

/* An answer that was not sent yet: u16 channel, u16 length, u64 transaction id, packet. */
enum { SAVED_ANSWER = 12 + STORVSP_PACKET };

struct saved {
    uint8_t phase;
    uint16_t version, subchannels;
    bool rescan_due;
    uint64_t luns, open; /* bit n: there is a unit n; channel n is open */
    uint32_t unsent;
    uint8_t *answers; /* unsent times SAVED_ANSWER */
};

static void collect(const struct storvsp *storvsp, struct saved *ret)
{
    *ret = (struct saved){.phase = (uint8_t)storvsp->phase,
                          .version = storvsp->version,
                          .subchannels = (uint16_t)storvsp_subchannel_count(storvsp),
                          .rescan_due = storvsp->rescan_due};
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
        ret->luns |= storvsp->unit[i].target != NULL ? UINT64_C(1) << i : 0;
    for (unsigned i = 0; i < storvsp->channel_count; i++) {
        const struct storvsp_channel *channel = &storvsp->channel[i];
        if (channel->open || channel->restored)
            ret->open |= UINT64_C(1) << i;
        for (const struct storvsp_request *r = channel->first_unsent; r != NULL; r = r->next)
            ret->unsent++;
    }
}

static void put_answers(const struct storvsp *storvsp, uint8_t *to)
{
    for (unsigned i = 0; i < storvsp->channel_count; i++) {
        const struct storvsp_request *request = storvsp->channel[i].first_unsent;
        for (; request != NULL; request = request->next, to += SAVED_ANSWER) {
            put_le16(to, (uint16_t)i);
            put_le16(to + 2, (uint16_t)request->length);
            put_le64(to + 4, request->transaction_id);
            memcpy(to + 12, request->packet, STORVSP_PACKET);
        }
    }
}

static bool check_saved(const struct storvsp *storvsp, const struct saved *saved, uint64_t luns)
{
    uint64_t channels = (UINT64_C(2) << saved->subchannels) - 1;

    if (saved->phase > STORVSP_READY || saved->subchannels >= storvsp->channel_count ||
        saved->luns != luns || (saved->subchannels < 63 && (saved->open & ~channels) != 0))
        return false;
    for (uint32_t i = 0; i < saved->unsent; i++) {
        const uint8_t *answer = saved->answers + (size_t)i * SAVED_ANSWER;
        uint16_t length = get_le16(answer + 2);
        if (get_le16(answer) > saved->subchannels ||
            (saved->open & UINT64_C(1) << get_le16(answer)) == 0 || length < STORVSP_PACKET_LEAST ||
            length > STORVSP_PACKET)
            return false;
    }
    return true;
}

static int restore_answer(struct storvsp *storvsp, const uint8_t *answer)
{
    struct storvsp_channel *channel = &storvsp->channel[get_le16(answer)];
    int error = storvsp_channel_make_pool(channel);

    if (error < 0)
        return error;
    struct storvsp_request *request = storvsp_channel_take_request(channel);
    if (request == NULL)
        return -EINVAL;
    request->length = get_le16(answer + 2);
    request->transaction_id = get_le64(answer + 4);
    memcpy(request->packet, answer + 12, STORVSP_PACKET);
    storvsp_channel_append_unsent(request);
    return 0;
}

static int restore(struct storvsp *storvsp, const struct saved *saved)
{
    int error = storvsp_offer_subchannels(storvsp, saved->subchannels);

    storvsp->phase = (enum storvsp_phase)saved->phase;
    storvsp->version = saved->version;
    storvsp->rescan_due = saved->rescan_due;
    for (unsigned i = 0; error == 0 && i < storvsp->channel_count; i++)
        storvsp->channel[i].restored = (saved->open & UINT64_C(1) << i) != 0;
    for (uint32_t i = 0; error == 0 && i < saved->unsent; i++)
        error = restore_answer(storvsp, saved->answers + (size_t)i * SAVED_ANSWER);
    return error;
}

int storvsp_visit_state(struct storvsp *storvsp, struct state_visitor *visitor)
{
    const uint32_t most = storvsp->channel_count * STORVSP_POOL;
    char section[16];
    struct saved saved;

    collect(storvsp, &saved);
    uint64_t luns = saved.luns;
    (void)snprintf(section, sizeof(section), "storvsp-%u", storvsp->config.controller);
    state_begin(visitor, section, 1);
    state_u8(visitor, "phase", &saved.phase);
    state_u16(visitor, "version", &saved.version);
    state_u16(visitor, "sub-channels", &saved.subchannels);
    state_bool(visitor, "rescan-due", &saved.rescan_due);
    state_u64(visitor, "luns", &saved.luns);
    state_u64(visitor, "open", &saved.open);
    state_u32(visitor, "unsent", &saved.unsent);
    if (saved.unsent > most) {
        state_fail(visitor, -EINVAL);
        saved.unsent = 0;
    }
    auto_free uint8_t *answers = calloc((size_t)saved.unsent + 1, SAVED_ANSWER);
    if (answers == NULL)
        return -ENOMEM;
    saved.answers = answers;
    if (!state_is_load(visitor))
        put_answers(storvsp, answers);
    state_bytes(visitor, "answers", answers, (size_t)saved.unsent * SAVED_ANSWER);
    if (state_is_load(visitor) && !check_saved(storvsp, &saved, luns))
        state_fail(visitor, -EINVAL);
    int error = state_end(visitor);
    return error == 0 && state_is_load(visitor) ? restore(storvsp, &saved) : error;
}
