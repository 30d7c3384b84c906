/*
 * Layout of VMBus: channel messages and rings, as the guests' drivers have it (Linux
 * include/linux/hyperv.h). Offsets in bytes; all fields little-endian.
 */
#ifndef VMBUS_VMBUS_WIRE_H
#define VMBUS_VMBUS_WIRE_H

#define VMBUS_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

enum {
    WIRE_CONNECTION_OLD = 1, /* messages of guests before 5.0 */
    WIRE_CONNECTION = 4,
    WIRE_SINT = 2,
    WIRE_MESSAGE_TYPE = 1, /* of the SynIC message that carries a channel message */
    WIRE_HEADER = 8,       /* type, padding */
};

enum wire_type {
    WIRE_OFFER = 1,
    WIRE_RESCIND = 2,
    WIRE_REQUEST_OFFERS = 3,
    WIRE_ALL_OFFERS = 4,
    WIRE_OPEN = 5,
    WIRE_OPEN_RESULT = 6,
    WIRE_CLOSE = 7,
    WIRE_GPADL_HEADER = 8,
    WIRE_GPADL_BODY = 9,
    WIRE_GPADL_CREATED = 10,
    WIRE_GPADL_TEARDOWN = 11,
    WIRE_GPADL_TORNDOWN = 12,
    WIRE_RELID_RELEASED = 13,
    WIRE_CONTACT = 14,
    WIRE_VERSION_RESPONSE = 15,
    WIRE_UNLOAD = 16,
    WIRE_UNLOAD_RESPONSE = 17,
    WIRE_TL_CONNECT = 21,
    WIRE_MODIFY = 22,
    WIRE_TL_RESULT = 23,
    WIRE_MODIFY_RESPONSE = 24,
};

enum {
    OFFER_CLASS = 8,
    OFFER_INSTANCE = 24,
    OFFER_FLAGS = 56,
    OFFER_MMIO = 58,
    OFFER_USER_DEFINED = 60,
    OFFER_SUBCHANNEL = 180,
    OFFER_RELID = 184,
    OFFER_DEDICATED = 190, /* this channel's interrupts are its own event flag */
    OFFER_CONNECTION = 192,
    OFFER_SIZE = 196,

    RELID = 8, /* in all messages about a channel */
    RELID_SIZE = 12,

    OPEN_ID = 12,
    OPEN_GPADL = 16,
    OPEN_TARGET_VP = 20,
    OPEN_DOWNSTREAM = 24, /* in pages */
    OPEN_SIZE = 28,       /* user data may follow */
    OPEN_RESULT_STATUS = 16,
    OPEN_RESULT_SIZE = 20,

    GPADL_ID = 12,
    GPADL_RANGE_BYTES = 16,
    GPADL_RANGE_COUNT = 18,
    GPADL_BYTE_COUNT = 20,
    GPADL_BYTE_OFFSET = 24,
    GPADL_PFNS = 28,
    GPADL_BODY_ID = 12,
    GPADL_BODY_PFNS = 16,
    GPADL_CREATED_STATUS = 16,
    GPADL_CREATED_SIZE = 20,
    GPADL_TEARDOWN_SIZE = 16,
    GPADL_TORNDOWN_ID = 8,
    GPADL_TORNDOWN_SIZE = 12,

    CONTACT_VERSION = 8,
    CONTACT_TARGET_VP = 12,
    CONTACT_SINT = 16,
    CONTACT_SIZE = 40,
    RESPONSE_SUPPORTED = 8,
    RESPONSE_CONNECTION = 12,
    RESPONSE_SIZE = 16,

    MODIFY_TARGET_VP = 12,
    MODIFY_SIZE = 16,
    MODIFY_RESPONSE_STATUS = 12,

    TL_IDS = 8, /* two GUIDs: */
    TL_ENDPOINT = 8,
    TL_SERVICE = 24,
    TL_SIZE = 40,
    TL_STATUS = 40,
    TL_RESULT_SIZE = 44,
};

/* What a guest takes for failure: STATUS_UNSUCCESSFUL, STATUS_CONNECTION_REFUSED. */
#define WIRE_STATUS_FAILED  UINT32_C(0xc0000001)
#define WIRE_STATUS_REFUSED UINT32_C(0xc0000236)

/* A ring's first page. */
enum {
    RING_WRITE_INDEX = 0,
    RING_READ_INDEX = 4,
    RING_INTERRUPT_MASK = 8,
    RING_PENDING_SIZE = 12,
    RING_FEATURES = 64,
    RING_FEATURE_PENDING_SIZE = 1,
};

/* A packet: descriptor, ranges where its type has them, payload, the ring's index before it. */
enum {
    PACKET_TYPE = 0,
    PACKET_OFFSET = 2, /* of the payload, in 8 bytes */
    PACKET_LENGTH = 4, /* without the trailer, in 8 bytes */
    PACKET_FLAGS = 6,
    PACKET_TRANSACTION = 8,
    PACKET_DESCRIPTOR = 16,
    PACKET_TRAILER = 8,
    PACKET_WANTS_COMPLETION = 1,
    /* GPA direct: reserved, number of ranges, then ranges. */
    PACKET_RANGE_COUNT = 4,
    PACKET_RANGES = 8,
    RANGE_BYTE_COUNT = 0,
    RANGE_BYTE_OFFSET = 4,
    RANGE_PFNS = 8,
    /* Transfer pages: set id, flags, number of ranges, then {bytes, offset}. */
    TRANSFER_COUNT = 4,
    TRANSFER_RANGES = 8,
};

#endif
