/*
 * Messages of the network service: NVSP, and RNDIS within it. NVSP has no public specification:
 * from Linux drivers/net/hyperv. RNDIS is [MS-RNDIS]; the objects are NDIS's. All little-endian.
 */
#ifndef VSP_NETVSP_WIRE_H
#define VSP_NETVSP_WIRE_H

/* ---- NVSP: u32 type, then 36 bytes ---- */

enum {
    NVSP_MESSAGE = 40, /* Linux takes a shorter answer for damage */
    NVSP_AT_TYPE = 0,

    NVSP_VERSION_1 = 2,
    NVSP_VERSION_2 = 0x30002,
    NVSP_VERSION_4 = 0x40000,
    NVSP_VERSION_5 = 0x50000,
    NVSP_VERSION_6 = 0x60000,
    NVSP_VERSION_6_1 = 0x60001,
};

enum nvsp_type {
    NVSP_INIT = 1,          /* u32 least version, u32 most */
    NVSP_INIT_COMPLETE = 2, /* u32 version, u32 longest chain, u32 status */
    NVSP_NDIS_VERSION = 100,
    NVSP_SEND_RECEIVE_BUFFER = 101, /* u32 GPADL, u16 id */
    NVSP_RECEIVE_BUFFER_COMPLETE = 102,
    NVSP_REVOKE_RECEIVE_BUFFER = 103, /* u16 id */
    NVSP_SEND_SEND_BUFFER = 104,
    NVSP_SEND_BUFFER_COMPLETE = 105, /* u32 status, u32 section size */
    NVSP_REVOKE_SEND_BUFFER = 106,
    NVSP_RNDIS = 107,          /* u32 channel type, u32 section, u32 bytes in it */
    NVSP_RNDIS_COMPLETE = 108, /* u32 status */
    NVSP_NDIS_CONFIG = 125,    /* u32 MTU with Ethernet header, u32, u64 capabilities */
    NVSP_SWITCH_DATA_PATH = 129,
    NVSP_SUBCHANNEL = 133,       /* u32 1, u32 count; the answer: u32 status, u32 count */
    NVSP_INDIRECTION_TABLE = 134 /* u32 count, u32 offset, u32 channel of each */
};

enum {
    NVSP_AT_FIRST = 4, /* u32s behind the type */
    NVSP_AT_SECOND = 8,
    NVSP_AT_THIRD = 12,

    /* RECEIVE_BUFFER_COMPLETE: u32 status, u32 sections, then of each: */
    NVSP_AT_SECTION_OFFSET = 12,
    NVSP_AT_SECTION_SIZE = 16,
    NVSP_AT_SECTION_COUNT = 20,
    NVSP_AT_SECTION_END = 24,

    NVSP_AT_CAPABILITIES = 12, /* of NDIS_CONFIG, u64 */
    NVSP_CAPABILITY_VLAN = 1 << 3,
    NVSP_CAPABILITY_RSC = 1 << 7,

    NVSP_CHANNEL_DATA = 0,
    NVSP_CHANNEL_CONTROL = 1,
    NVSP_SEND_TABLE = 16, /* entries of INDIRECTION_TABLE */
};
#define NVSP_NO_SECTION UINT32_C(0xffffffff)

enum nvsp_status {
    NVSP_NONE = 0,
    NVSP_SUCCESS = 1,
    NVSP_FAILURE = 2,
    NVSP_INVALID_RNDIS = 5,
    NVSP_UNSUPPORTED = 7,
};

/* ---- RNDIS: u32 type, u32 length, then by type ---- */

enum rndis_type {
    RNDIS_PACKET = 1,
    RNDIS_INITIALIZE = 2,
    RNDIS_HALT = 3,
    RNDIS_QUERY = 4,
    RNDIS_SET = 5,
    RNDIS_RESET = 6,
    RNDIS_INDICATE_STATUS = 7,
    RNDIS_KEEPALIVE = 8,
};
#define RNDIS_COMPLETE UINT32_C(0x80000000) /* with the type: its answer */

enum {
    RNDIS_HEADER = 8, /* offsets within messages count from behind it */
    RNDIS_AT_LENGTH = 4,
    RNDIS_AT_REQUEST = 8,
    RNDIS_AT_STATUS = 12, /* of answers but RESET's, whose is at 8 */

    /* PACKET */
    RNDIS_PACKET_HEADER = 44,
    RNDIS_AT_DATA_OFFSET = 8,
    RNDIS_AT_DATA_LENGTH = 12,
    RNDIS_AT_INFO_OFFSET = 28,
    RNDIS_AT_INFO_LENGTH = 32,

    /* QUERY and SET */
    RNDIS_AT_OID = 12,
    RNDIS_AT_BUFFER_LENGTH = 16,
    RNDIS_AT_BUFFER_OFFSET = 20,
    RNDIS_REQUEST_LENGTH = 28,
    /* the answer to QUERY */
    RNDIS_AT_ANSWER_LENGTH = 16,
    RNDIS_AT_ANSWER_OFFSET = 20,
    RNDIS_QUERY_ANSWER = 24,

    RNDIS_INITIALIZE_LENGTH = 24,
    RNDIS_INITIALIZE_ANSWER = 52,
    RNDIS_STATUS_LENGTH = 20, /* INDICATE_STATUS without a buffer */
};

/* Per-packet information: u32 size, u32 type, u32 offset of the data, as a rule 12; u32 data. */
enum rndis_info {
    RNDIS_INFO_CHECKSUM = 0,
    RNDIS_INFO_LARGE_SEND = 2,
    RNDIS_INFO_VLAN = 6,
};
#define RNDIS_INFO_PACKET_ID (UINT32_C(1) << 31 | 1) /* of the "internal" kind */
enum {
    RNDIS_INFO_HEADER = 12,
    RNDIS_INFO_SIZE = 16,

    /* PACKET_ID: u8 version, u8 flags, u16 id: pieces of one coalesced frame */
    RNDIS_ID_PART = 1,
    RNDIS_ID_FIRST = 2,
    RNDIS_ID_LAST = 4,

    /* CHECKSUM, to the host */
    RNDIS_CHECKSUM_IP4 = 1 << 0,
    RNDIS_CHECKSUM_IP6 = 1 << 1,
    RNDIS_CHECKSUM_TCP = 1 << 2,
    RNDIS_CHECKSUM_UDP = 1 << 3,
    /* CHECKSUM, to the guest: these have been found right */
    RNDIS_CHECKSUM_TCP_RIGHT = 1 << 3,
    RNDIS_CHECKSUM_UDP_RIGHT = 1 << 4,
    RNDIS_CHECKSUM_IP_RIGHT = 1 << 5,

    RNDIS_LARGE_SEND_SEGMENT = 0xfffff, /* bits of the segment size */
};

#define RNDIS_SUCCESS            UINT32_C(0)
#define RNDIS_FAILURE            UINT32_C(0xc0000001)
#define RNDIS_NOT_SUPPORTED      UINT32_C(0xc00000bb)
#define RNDIS_INVALID_DATA       UINT32_C(0xc0010015)
#define RNDIS_MEDIA_CONNECTED    UINT32_C(0x4001000b)
#define RNDIS_MEDIA_DISCONNECTED UINT32_C(0x4001000c)

/* ---- NDIS objects ---- */

enum rndis_oid {
    OID_SUPPORTED = 0x00010101,
    OID_HARDWARE_STATUS = 0x00010102,
    OID_MEDIA_SUPPORTED = 0x00010103,
    OID_MEDIA_IN_USE = 0x00010104,
    OID_MAXIMUM_LOOKAHEAD = 0x00010105,
    OID_MAXIMUM_FRAME = 0x00010106,
    OID_LINK_SPEED = 0x00010107,
    OID_TRANSMIT_SPACE = 0x00010108,
    OID_RECEIVE_SPACE = 0x00010109,
    OID_TRANSMIT_BLOCK = 0x0001010a,
    OID_RECEIVE_BLOCK = 0x0001010b,
    OID_VENDOR_ID = 0x0001010c,
    OID_VENDOR_DESCRIPTION = 0x0001010d,
    OID_PACKET_FILTER = 0x0001010e,
    OID_CURRENT_LOOKAHEAD = 0x0001010f,
    OID_DRIVER_VERSION = 0x00010110,
    OID_MAXIMUM_TOTAL = 0x00010111,
    OID_MAC_OPTIONS = 0x00010113,
    OID_CONNECT_STATUS = 0x00010114,
    OID_MAXIMUM_SEND_PACKETS = 0x00010115,
    OID_VENDOR_DRIVER_VERSION = 0x00010116,
    OID_RSS_CAPABILITIES = 0x00010203,
    OID_RSS_PARAMETERS = 0x00010204,
    OID_FRIENDLY_NAME = 0x00020216,
    OID_TRANSMITTED = 0x00020101,
    OID_RECEIVED = 0x00020102,
    OID_TRANSMIT_ERRORS = 0x00020103,
    OID_RECEIVE_ERRORS = 0x00020104,
    OID_RECEIVE_NO_BUFFER = 0x00020105,
    OID_CONFIG_PARAMETER = 0x0001021b,
    OID_PERMANENT_ADDRESS = 0x01010101,
    OID_CURRENT_ADDRESS = 0x01010102,
    OID_MULTICAST_LIST = 0x01010103,
    OID_MULTICAST_SIZE = 0x01010104,
};
#define OID_OFFLOAD_PARAMETERS   UINT32_C(0xfc01020c)
#define OID_OFFLOAD_CAPABILITIES UINT32_C(0xfc01020d)

enum {
    NDIS_FILTER_DIRECTED = 0x1,
    NDIS_FILTER_MULTICAST = 0x2,
    NDIS_FILTER_ALL_MULTICAST = 0x4,
    NDIS_FILTER_BROADCAST = 0x8,
    NDIS_FILTER_PROMISCUOUS = 0x20,

    NDIS_AT_OBJECT_REVISION = 1,
    NDIS_AT_OBJECT_SIZE = 2, /* u16 */
    NDIS_OBJECT_DEFAULT = 0x80,
    NDIS_OBJECT_RSS_CAPABILITIES = 0x88,
    NDIS_OBJECT_RSS_PARAMETERS = 0x89,
    NDIS_OBJECT_OFFLOAD = 0xa7,

    /* OFFLOAD: u32 each */
    NDIS_OFFLOAD_6_0 = 112, /* bytes */
    NDIS_OFFLOAD_6_1 = 144,
    NDIS_OFFLOAD_6_30 = 156,
    NDIS_AT_SEND4_ENCAPSULATION = 4,
    NDIS_AT_SEND4_CHECKSUM = 8,
    NDIS_AT_RECEIVE4_ENCAPSULATION = 12,
    NDIS_AT_RECEIVE4_CHECKSUM = 16,
    NDIS_AT_SEND6_ENCAPSULATION = 20,
    NDIS_AT_SEND6_CHECKSUM = 24,
    NDIS_AT_RECEIVE6_ENCAPSULATION = 28,
    NDIS_AT_RECEIVE6_CHECKSUM = 32,
    NDIS_AT_LARGE4_ENCAPSULATION = 80,
    NDIS_AT_LARGE4_MOST = 84,
    NDIS_AT_LARGE4_LEAST = 88, /* segments */
    NDIS_AT_LARGE6_ENCAPSULATION = 92,
    NDIS_AT_LARGE6_MOST = 96,
    NDIS_AT_LARGE6_LEAST = 100,
    NDIS_AT_LARGE6_OPTIONS = 104,
    NDIS_AT_COALESCE4 = 144, /* u8 each */
    NDIS_AT_COALESCE6 = 145,
    NDIS_ENCAPSULATION_ETHERNET = 2,
    NDIS_CHECKSUM4 = 0x55,        /* TCP and UDP, options in IP and in TCP */
    NDIS_CHECKSUM6 = 0x55,        /* the same, with extension headers */
    NDIS_LARGE6_EXTENSIONS = 0x5, /* extension headers, TCP options */

    /* OFFLOAD_PARAMETERS, u8 each: 0 stays as it is, 1 off, else on */
    NDIS_AT_SET_COALESCE4 = 22,
    NDIS_AT_SET_COALESCE6 = 23,
    NDIS_SET_OFF = 1,
    NDIS_SET_COALESCE_ON = 2,

    NDIS_RSS_CAPABILITIES = 18, /* bytes */
    NDIS_AT_RSS_FLAGS = 4,
    NDIS_AT_RSS_MESSAGES = 8,
    NDIS_AT_RSS_QUEUES = 12,
    NDIS_AT_RSS_TABLE = 16, /* u16, entries */

    NDIS_RSS_PARAMETERS_LEAST = 28,
    NDIS_AT_RSS_CHANGES = 4, /* u16, of NDIS_RSS_… below */
    NDIS_AT_RSS_HASHES = 8,
    NDIS_AT_RSS_TABLE_SIZE = 12, /* u16, bytes */
    NDIS_AT_RSS_TABLE_OFFSET = 16,
    NDIS_AT_RSS_KEY_SIZE = 20, /* u16 */
    NDIS_AT_RSS_KEY_OFFSET = 24,
    NDIS_RSS_TABLE_UNCHANGED = 0x4,
    NDIS_RSS_KEY_UNCHANGED = 0x8,
    NDIS_RSS_DISABLE = 0x10,
    NDIS_RSS_KEY = 40,
    NDIS_RSS_MOST_TABLE = 128,
};
#define NDIS_RSS_TOEPLITZ_TCP UINT32_C(0x00000301) /* capability: TCP over IPv4 and IPv6 */

#endif
