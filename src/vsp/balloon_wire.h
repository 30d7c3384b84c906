/*
 * Dynamic memory on the wire, version 0.3 to 2.0. Source: the guest's driver (Linux
 * drivers/hv/hv_balloon.c); there is no public specification.
 */
#ifndef VSP_BALLOON_WIRE_H
#define VSP_BALLOON_WIRE_H

enum dm_type {
    DM_ERROR = 0,
    DM_VERSION_REQUEST = 1,
    DM_VERSION_RESPONSE = 2,
    DM_CAPABILITIES_REPORT = 3,
    DM_CAPABILITIES_RESPONSE = 4,
    DM_STATUS_REPORT = 5,
    DM_BALLOON_REQUEST = 6,
    DM_BALLOON_RESPONSE = 7,
    DM_UNBALLOON_REQUEST = 8,
    DM_UNBALLOON_RESPONSE = 9,
    DM_HOT_ADD_REQUEST = 10,
    DM_HOT_ADD_RESPONSE = 11,
    DM_INFO = 12, /* from version 1.0 on */
    DM_TYPE_COUNT,
};

#define DM_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

enum {
    DM_MESSAGE = 4096, /* bytes of the longest; Linux has no more room */
    /* The header: 16 bits of type and of size, header included; then the sender's own number. */
    DM_TYPE = 0,
    DM_SIZE = 2,
    DM_TRANSACTION = 4,
    DM_BODY = 8,

    DM_ASKED_VERSION = 8,
    DM_VERSION_LENGTH = 16,
    DM_ACCEPTED = 8,
    DM_ACCEPTED_LENGTH = 16,

    DM_CAPABILITIES = 8, /* 64 bits */
    DM_CAPABILITIES_LENGTH = 16,
    DM_CAN_BALLOON = 1 << 0,
    DM_CAN_HOT_ADD = 1 << 1,
    DM_ALIGNMENT_SHIFT = 2, /* of hot-add: n stands for 2^n MiB */
    DM_ALIGNMENT_MASK = 0xf,

    DM_AVAILABLE = 8, /* 64 bits of pages, as the next */
    DM_COMMITTED = 16,
    DM_STATUS_LENGTH = 48,

    DM_BALLOON_PAGES = 8,
    DM_BALLOON_LENGTH = 16,
    DM_BALLOON_COUNT = 12, /* of a response: bit 0: more follows; above: how many ranges */
    DM_RANGES = 16,        /* of responses and unballoon requests */
    DM_UNBALLOON_MORE = 8,
    DM_UNBALLOON_COUNT = 12,
    DM_MOST_RANGES = (DM_MESSAGE - DM_RANGES) / 8,

    DM_HOT_ADD_RANGE = 8,
    DM_HOT_ADD_LENGTH = 16,
    DM_ADDED_PAGES = 8,
    DM_ADD_RESULT = 12,
    DM_ADDED_LENGTH = 16,

    DM_INFO_SIZE = 12,
    DM_INFO_TYPE = 16, /* 0: the most pages that it may have; then the size of what follows */
    DM_INFO_DATA_SIZE = 20,
    DM_INFO_PAGES = 24,
    DM_INFO_LENGTH = 32,
};

/* A range: the first page in 40 bits, then how many. */
#define DM_RANGE_SHIFT 40
#define DM_RANGE_FIRST ((UINT64_C(1) << DM_RANGE_SHIFT) - 1)
#define DM_RANGE_MOST  ((UINT64_C(1) << 24) - 1)

#endif
