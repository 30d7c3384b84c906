/*
 * For tests: a guest of one storage controller, doing what Linux's storvsc does. Its disks are fake
 * (tests/harness/fake_disk.h), its rings too (fake_vmbus.h), its memory is real.
 */
#ifndef TESTS_HARNESS_STORVSC_GUEST_H
#define TESTS_HARNESS_STORVSC_GUEST_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/harness/fake_disk.h"
#include "tests/harness/fake_vmbus.h"
#include "vsp/storvsp_private.h"

enum {
    GUEST_MEMORY = 16 << 20,
    GUEST_DISK = 8 << 20,
    GUEST_DISKS = 4,
    GUEST_INIT_ID = 0x7fffffff,
};

struct guest {
    struct mem *mem;
    struct vmbus *vmbus;
    struct storvsp *storvsp;
    struct disk *disk[GUEST_DISKS];
    struct scsi_target *target[GUEST_DISKS];
    unsigned removed, paused;  /* calls */
    struct fake_answer answer; /* the last that was taken */
};

static inline void guest_require(bool holds)
{
    if (!holds)
        abort();
}

/* Disks 0 to 3 exist; 0 and 2 are plugged in. */
static inline struct guest *guest_create(unsigned max_subchannels)
{
    struct guest *g = calloc(1, sizeof(*g));
    guest_require(g != NULL);
    guest_require(mem_create(GUEST_MEMORY, UINT64_C(3) << 30, &g->mem) == 0);
    g->vmbus = fake_vmbus_create();
    struct storvsp_config config = {
        .vmbus = g->vmbus, .mem = g->mem, .controller = 0, .max_subchannels = max_subchannels};
    guest_require(storvsp_create(&config, &g->storvsp, NULL) == 0);
    for (unsigned i = 0; i < GUEST_DISKS; i++) {
        static const char *const serials[GUEST_DISKS] = {"d0", "d1", "d2", "d3"};
        const struct scsi_identity identity = {.serial = serials[i]};
        g->disk[i] = fake_disk_create(GUEST_DISK, 512);
        guest_require(scsi_disk_create(g->disk[i], &identity, &g->target[i]) == 0);
    }
    guest_require(storvsp_add(g->storvsp, 0, g->target[0]) == 0);
    guest_require(storvsp_add(g->storvsp, 2, g->target[2]) == 0);
    return g;
}

/* Disks end what they have; then everything goes. */
static inline void guest_destroy(struct guest *g)
{
    for (unsigned i = 0; i < GUEST_DISKS; i++)
        g->disk[i]->late = false;
    for (unsigned i = 0; i < GUEST_DISKS; i++)
        fake_disk_end_all(g->disk[i]);
    storvsp_destroy(g->storvsp);
    fake_vmbus_destroy(g->vmbus);
    for (unsigned i = 0; i < GUEST_DISKS; i++) {
        scsi_destroy(g->target[i]);
        fake_disk_destroy(g->disk[i]);
    }
    mem_destroy(g->mem);
    free(g);
}

static inline struct vmbus_channel *guest_channel(struct guest *g, uint16_t index)
{
    return fake_vmbus_find(g->vmbus, 0, index);
}

static inline bool guest_take(struct guest *g, uint16_t index)
{
    struct vmbus_channel *channel = guest_channel(g, index);
    return channel != NULL && fake_guest_take(channel, &g->answer);
}

static inline uint32_t guest_status(const struct guest *g)
{
    return get_le32(g->answer.payload + STORVSP_AT_STATUS);
}

/* Send an operation with a u16 behind its header, as all of them have at most; its status. */
static inline uint32_t guest_operate(struct guest *g, uint32_t operation, uint16_t value)
{
    struct fake_packet packet = {.type = VMBUS_PACKET_DATA_INBAND,
                                 .transaction_id = GUEST_INIT_ID,
                                 .length = STORVSP_PACKET};
    put_le32(packet.payload, operation);
    put_le32(packet.payload + 4, 1);
    put_le16(packet.payload + STORVSP_AT_PAYLOAD, value);
    guest_require(fake_guest_put(guest_channel(g, 0), &packet));
    fake_guest_signal(guest_channel(g, 0));
    if (!guest_take(g, 0))
        return UINT32_MAX;
    guest_require(g->answer.completion && g->answer.transaction_id == GUEST_INIT_ID);
    guest_require(get_le32(g->answer.payload) == STORVSP_COMPLETE_IO);
    return guest_status(g);
}

/* What storvsc_channel_init does, up to sub-channels. */
static inline void guest_connect(struct guest *g, uint16_t version)
{
    guest_require(fake_guest_open(guest_channel(g, 0)) == 0);
    guest_require(guest_operate(g, STORVSP_BEGIN_INITIALIZATION, 0) == NT_SUCCESS);
    guest_require(guest_operate(g, STORVSP_QUERY_PROTOCOL_VERSION, version) == NT_SUCCESS);
    guest_require(guest_operate(g, STORVSP_QUERY_PROPERTIES, 0) == NT_SUCCESS);
    guest_require(guest_operate(g, STORVSP_END_INITIALIZATION, 0) == NT_SUCCESS);
}

/* A command as storvsc_queuecommand makes it. */
struct guest_command {
    uint16_t channel;
    uint64_t id;
    uint8_t path, target, lun;
    uint8_t cdb[16], cdb_length;
    uint8_t data_in; /* STORVSP_DATA_… */
    uint32_t length;
    uint64_t gpa; /* of the buffer, unless there are segments */
    const struct vmbus_segment *segment;
    unsigned segment_count;
};

static inline void guest_make_srb(const struct guest_command *command, struct fake_packet *ret,
                                  struct vmbus_segment *one)
{
    *ret = (struct fake_packet){
        .type = VMBUS_PACKET_DATA_INBAND, .transaction_id = command->id, .length = STORVSP_PACKET};
    uint8_t *bytes = ret->payload;
    put_le32(bytes, STORVSP_EXECUTE_SRB);
    put_le32(bytes + 4, 1);
    put_le16(bytes + STORVSP_AT_SRB_LENGTH, 52);
    bytes[STORVSP_AT_PATH] = command->path;
    bytes[STORVSP_AT_TARGET] = command->target;
    bytes[STORVSP_AT_LUN] = command->lun;
    bytes[STORVSP_AT_CDB_LENGTH] = command->cdb_length;
    bytes[STORVSP_AT_SENSE_LENGTH] = STORVSP_SENSE_ROOM;
    bytes[STORVSP_AT_DATA_IN] = command->length != 0 ? command->data_in : STORVSP_DATA_NONE;
    put_le32(bytes + STORVSP_AT_DATA_LENGTH, command->length);
    memcpy(bytes + STORVSP_AT_CDB, command->cdb, sizeof(command->cdb));
    if (command->segment != NULL) {
        ret->segment = command->segment;
        ret->segment_count = command->segment_count;
    } else if (command->length != 0) {
        *one = (struct vmbus_segment){command->gpa, command->length};
        ret->segment = one;
        ret->segment_count = 1;
    }
    if (ret->segment_count != 0)
        ret->type = VMBUS_PACKET_DATA_GPA_DIRECT;
}

/* False: the ring is full. The service is not signalled. */
static inline bool guest_put(struct guest *g, const struct guest_command *command)
{
    struct fake_packet packet;
    struct vmbus_segment one;
    guest_make_srb(command, &packet, &one);
    return fake_guest_put(guest_channel(g, command->channel), &packet);
}

/* Send, and take the answer that comes at once; its SRB status, or 0 when none came. */
static inline uint8_t guest_execute(struct guest *g, const struct guest_command *command)
{
    guest_require(guest_put(g, command));
    fake_guest_signal(guest_channel(g, command->channel));
    if (!guest_take(g, command->channel))
        return 0;
    guest_require(g->answer.completion && g->answer.transaction_id == command->id);
    return g->answer.payload[STORVSP_AT_SRB_STATUS];
}

static inline uint32_t guest_transferred(const struct guest *g)
{
    return get_le32(g->answer.payload + STORVSP_AT_DATA_LENGTH);
}

/* READ (10) or WRITE (10). */
static inline struct guest_command guest_move(uint8_t lun, bool write, uint32_t lba,
                                              uint16_t blocks, uint64_t gpa)
{
    struct guest_command command = {.id = 1,
                                    .lun = lun,
                                    .cdb = {write ? 0x2a : 0x28},
                                    .cdb_length = 10,
                                    .data_in = write ? STORVSP_DATA_OUT : STORVSP_DATA_IN,
                                    .length = blocks * UINT32_C(512),
                                    .gpa = gpa};
    for (unsigned i = 0; i < 4; i++)
        command.cdb[2 + i] = (uint8_t)(lba >> (24 - 8 * i));
    command.cdb[7] = (uint8_t)(blocks >> 8);
    command.cdb[8] = (uint8_t)blocks;
    return command;
}

static inline uint8_t guest_test_ready(struct guest *g, uint8_t lun)
{
    return guest_execute(g, &(struct guest_command){.id = 1, .lun = lun, .cdb_length = 6});
}

static inline void guest_removed(void *owner, struct scsi_target *target)
{
    struct guest *g = owner;
    (void)target;
    g->removed++;
}

static inline void guest_paused(void *owner)
{
    struct guest *g = owner;
    g->paused++;
}

#endif
