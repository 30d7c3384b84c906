/* For fuzz targets: VMBus with a hypervisor's interface and 1 MiB of memory, and no guest. */
#ifndef VMBUS_FUZZ_BUS_H
#define VMBUS_FUZZ_BUS_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "vmbus/vmbus_private.h"

enum { BUS_VPS = 2, BUS_RAM = 0x100000, BUS_SIMP = 0x10000, BUS_RINGS = 0x20, BUS_RING_PAGES = 3 };

struct fuzz_bus {
    struct mem *mem;
    struct hv *hv;
    struct vmbus *vmbus;
};

static inline void must(bool holds)
{
    if (!holds)
        abort();
}

static void bus_interrupt(void *owner, unsigned vp, uint8_t vector, bool auto_eoi)
{
    (void)auto_eoi;
    (void)owner;
    must(vp < BUS_VPS && vector == 0xf3);
}

static void bus_set_timer(void *owner, unsigned vp, uint64_t deadline_ns)
{
    (void)owner;
    (void)vp;
    (void)deadline_ns;
}

static inline void fuzz_bus_create(struct fuzz_bus *ret)
{
    struct hv_config config = {.host = {.interrupt = bus_interrupt, .set_timer = bus_set_timer},
                               .vp_count = BUS_VPS,
                               .tsc_hz = 1000000000};
    struct loop *loop = NULL;
    must(mem_create(BUS_RAM, BUS_RAM, &ret->mem) == 0 && loop_create(&loop) == 0);
    config.mem = ret->mem;
    must(hv_create(&config, &ret->hv, NULL) == 0);
    struct vmbus_config bus = {.hv = ret->hv, .mem = ret->mem, .loop = loop, .vp_count = BUS_VPS};
    must(vmbus_create(&bus, &ret->vmbus, NULL) == 0);
    must(hv_write_msr(ret->hv, 0, 0x40000083, BUS_SIMP | 1) &&
         hv_write_msr(ret->hv, 0, 0x40000082, 0x11001) &&
         hv_write_msr(ret->hv, 0, 0x40000092, 0xf3) && hv_write_msr(ret->hv, 0, 0x40000080, 1));
}

/* The guest takes all messages. */
static inline void fuzz_bus_take_messages(struct fuzz_bus *bus)
{
    bus->vmbus->outgoing_count = 0;
    bus->vmbus->outgoing_first = 0;
}

/* The usual way to an open channel, whose rings are the pages from BUS_RINGS on. */
static inline void fuzz_bus_open(struct fuzz_bus *bus, const struct vmbus_channel *channel)
{
    struct vmbus *vmbus = bus->vmbus;
    struct hv_message message = {.type = WIRE_MESSAGE_TYPE, .length = CONTACT_SIZE};

    put_le32(message.payload, WIRE_CONTACT);
    put_le32(message.payload + CONTACT_VERSION, VMBUS_VERSION(5, 3));
    message.payload[CONTACT_SINT] = WIRE_SINT;
    message_handle(vmbus, &message);
    vmbus->offers_wanted = true;
    (void)channel_announce_all(vmbus);
    message = (struct hv_message){.type = WIRE_MESSAGE_TYPE, .length = GPADL_PFNS + 48};
    put_le32(message.payload, WIRE_GPADL_HEADER);
    put_le32(message.payload + RELID, channel->relid);
    put_le32(message.payload + GPADL_ID, 1);
    put_le16(message.payload + GPADL_RANGE_COUNT, 1);
    put_le32(message.payload + GPADL_BYTE_COUNT, 2 * BUS_RING_PAGES * 4096);
    for (unsigned i = 0; i < 2 * BUS_RING_PAGES; i++)
        put_le64(message.payload + GPADL_PFNS + (size_t)i * 8, BUS_RINGS + i);
    message_handle(vmbus, &message);
    message = (struct hv_message){.type = WIRE_MESSAGE_TYPE, .length = OPEN_SIZE};
    put_le32(message.payload, WIRE_OPEN);
    put_le32(message.payload + RELID, channel->relid);
    put_le32(message.payload + OPEN_GPADL, 1);
    put_le32(message.payload + OPEN_DOWNSTREAM, BUS_RING_PAGES);
    message_handle(vmbus, &message);
}

#endif
