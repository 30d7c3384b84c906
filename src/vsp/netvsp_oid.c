/* What the guest's RNDIS asks for and sets, by object id (netvsp_private.h). */
#include <string.h>

#include "base/bytes.h"
#include "vsp/netvsp_private.h"

enum {
    LINK_SPEED = 100000000, /* 10 Gbit/s, in units of 100 bit/s */
    MOST_ANSWER = NETVSP_CONTROL_ANSWER - RNDIS_QUERY_ANSWER,
    WORD = 4,
};

static const char vendor[] = "Partita";

static const uint32_t supported[] = {
    OID_SUPPORTED,
    OID_HARDWARE_STATUS,
    OID_MEDIA_SUPPORTED,
    OID_MEDIA_IN_USE,
    OID_MAXIMUM_LOOKAHEAD,
    OID_MAXIMUM_FRAME,
    OID_LINK_SPEED,
    OID_TRANSMIT_SPACE,
    OID_RECEIVE_SPACE,
    OID_TRANSMIT_BLOCK,
    OID_RECEIVE_BLOCK,
    OID_VENDOR_ID,
    OID_VENDOR_DESCRIPTION,
    OID_PACKET_FILTER,
    OID_CURRENT_LOOKAHEAD,
    OID_DRIVER_VERSION,
    OID_MAXIMUM_TOTAL,
    OID_MAC_OPTIONS,
    OID_CONNECT_STATUS,
    OID_MAXIMUM_SEND_PACKETS,
    OID_VENDOR_DRIVER_VERSION,
    OID_RSS_CAPABILITIES,
    OID_RSS_PARAMETERS,
    OID_FRIENDLY_NAME,
    OID_TRANSMITTED,
    OID_RECEIVED,
    OID_TRANSMIT_ERRORS,
    OID_RECEIVE_ERRORS,
    OID_RECEIVE_NO_BUFFER,
    OID_CONFIG_PARAMETER,
    OID_PERMANENT_ADDRESS,
    OID_CURRENT_ADDRESS,
    OID_MULTICAST_LIST,
    OID_MULTICAST_SIZE,
    OID_OFFLOAD_PARAMETERS,
    OID_OFFLOAD_CAPABILITIES,
};

/* ---- asking: how many bytes ---- */

static size_t answer_supported(uint8_t *ret)
{
    for (size_t i = 0; i < sizeof(supported) / sizeof(supported[0]); i++)
        put_le32(ret + i * WORD, supported[i]);
    return sizeof(supported);
}

/* Which revision of the object a guest expects depends on its NVSP; Linux insists. */
static size_t answer_offload(const struct netvsp *netvsp, uint8_t *ret)
{
    bool newest = netvsp->version >= NVSP_VERSION_5;
    size_t size = newest                              ? NDIS_OFFLOAD_6_30
                  : netvsp->version >= NVSP_VERSION_4 ? NDIS_OFFLOAD_6_1
                                                      : NDIS_OFFLOAD_6_0;
    static const uint8_t encapsulations[] = {
        NDIS_AT_SEND4_ENCAPSULATION,  NDIS_AT_RECEIVE4_ENCAPSULATION,
        NDIS_AT_SEND6_ENCAPSULATION,  NDIS_AT_RECEIVE6_ENCAPSULATION,
        NDIS_AT_LARGE4_ENCAPSULATION, NDIS_AT_LARGE6_ENCAPSULATION};

    memset(ret, 0, size);
    ret[0] = NDIS_OBJECT_OFFLOAD;
    ret[NDIS_AT_OBJECT_REVISION] = newest ? 3 : size == NDIS_OFFLOAD_6_1 ? 2 : 1;
    put_le16(ret + NDIS_AT_OBJECT_SIZE, (uint16_t)size);
    put_le32(ret + NDIS_AT_RECEIVE4_CHECKSUM, NDIS_CHECKSUM4);
    put_le32(ret + NDIS_AT_RECEIVE6_CHECKSUM, NDIS_CHECKSUM6);
    if (newest && netvsp->version >= NVSP_VERSION_6_1)
        ret[NDIS_AT_COALESCE4] = ret[NDIS_AT_COALESCE6] = 1;
    if (!netvsp->config.port->takes_offload)
        return size;
    for (size_t i = 0; i < sizeof(encapsulations); i++)
        put_le32(ret + encapsulations[i], NDIS_ENCAPSULATION_ETHERNET);
    put_le32(ret + NDIS_AT_SEND4_CHECKSUM, NDIS_CHECKSUM4);
    put_le32(ret + NDIS_AT_SEND6_CHECKSUM, NDIS_CHECKSUM6);
    put_le32(ret + NDIS_AT_LARGE4_MOST, NETVSP_LARGE_SEND);
    put_le32(ret + NDIS_AT_LARGE6_MOST, NETVSP_LARGE_SEND);
    put_le32(ret + NDIS_AT_LARGE4_LEAST, 2);
    put_le32(ret + NDIS_AT_LARGE6_LEAST, 2);
    put_le32(ret + NDIS_AT_LARGE6_OPTIONS, NDIS_LARGE6_EXTENSIONS);
    return size;
}

static size_t answer_rss(const struct netvsp *netvsp, uint8_t *ret)
{
    memset(ret, 0, NDIS_RSS_CAPABILITIES);
    ret[0] = NDIS_OBJECT_RSS_CAPABILITIES;
    ret[NDIS_AT_OBJECT_REVISION] = 2;
    put_le16(ret + NDIS_AT_OBJECT_SIZE, NDIS_RSS_CAPABILITIES);
    put_le32(ret + NDIS_AT_RSS_FLAGS, NDIS_RSS_TOEPLITZ_TCP);
    put_le32(ret + NDIS_AT_RSS_MESSAGES, netvsp->channel_count);
    put_le32(ret + NDIS_AT_RSS_QUEUES, netvsp->channel_count);
    put_le16(ret + NDIS_AT_RSS_TABLE, NDIS_RSS_MOST_TABLE);
    return NDIS_RSS_CAPABILITIES;
}

/* UTF-16; Linux ignores this one, which Hyper-V gives cards that have no other. */
static size_t answer_name(uint8_t *ret)
{
    static const char name[] = "Network Adapter";

    for (size_t i = 0; i + 1 < sizeof(name); i++)
        put_le16(ret + i * 2, (uint8_t)name[i]);
    return (sizeof(name) - 1) * 2;
}

static uint32_t low(uint64_t count)
{
    return (uint32_t)count;
}

/* Those that are one word. */
static bool find_word(const struct netvsp *netvsp, uint32_t oid, uint32_t *ret)
{
    const struct {
        uint32_t oid, value;
    } words[] = {
        {OID_HARDWARE_STATUS, 0}, /* ready */
        {OID_MEDIA_SUPPORTED, 0}, /* 802.3 */
        {OID_MEDIA_IN_USE, 0},
        {OID_MAXIMUM_LOOKAHEAD, netvsp->config.mtu},
        {OID_CURRENT_LOOKAHEAD, netvsp->config.mtu},
        {OID_MAXIMUM_FRAME, netvsp->config.mtu},
        {OID_MAXIMUM_TOTAL, netvsp->config.mtu + NET_ETHERNET},
        {OID_TRANSMIT_BLOCK, netvsp->config.mtu + NET_ETHERNET},
        {OID_RECEIVE_BLOCK, netvsp->config.mtu + NET_ETHERNET},
        {OID_TRANSMIT_SPACE, netvsp->send_buffer.size},
        {OID_RECEIVE_SPACE, netvsp->receive_buffer.size},
        {OID_LINK_SPEED, LINK_SPEED},
        {OID_VENDOR_ID, 0xffffff},
        {OID_DRIVER_VERSION, 0x0600},
        {OID_VENDOR_DRIVER_VERSION, 0x10000},
        {OID_PACKET_FILTER, netvsp->filter.packets},
        {OID_MAC_OPTIONS, 0x8 | 0x2 | 0x1}, /* transfers copy, no loopback, pending */
        {OID_CONNECT_STATUS, !netvsp_link(netvsp)},
        {OID_MAXIMUM_SEND_PACKETS, NETVSP_MOST_MESSAGES},
        {OID_MULTICAST_SIZE, NETVSP_MULTICASTS},
        {OID_TRANSMITTED, low(netvsp->sent.frames)},
        {OID_RECEIVED, low(netvsp->received.frames)},
        {OID_TRANSMIT_ERRORS, low(netvsp->sent.dropped)},
        {OID_RECEIVE_ERRORS, 0},
        {OID_RECEIVE_NO_BUFFER, low(netvsp->received.dropped)},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].oid == oid) {
            *ret = words[i].value;
            return true;
        }
    }
    return false;
}

static size_t answer(const struct netvsp *netvsp, uint32_t oid, uint8_t *ret)
{
    uint32_t word = 0;

    switch (oid) {
    case OID_SUPPORTED:
        return answer_supported(ret);
    case OID_OFFLOAD_CAPABILITIES:
        return answer_offload(netvsp, ret);
    case OID_RSS_CAPABILITIES:
        return answer_rss(netvsp, ret);
    case OID_FRIENDLY_NAME:
        return answer_name(ret);
    case OID_VENDOR_DESCRIPTION:
        memcpy(ret, vendor, sizeof(vendor));
        return sizeof(vendor);
    case OID_PERMANENT_ADDRESS:
        memcpy(ret, netvsp->config.mac, NET_MAC_SIZE);
        return NET_MAC_SIZE;
    case OID_CURRENT_ADDRESS:
        memcpy(ret, netvsp->filter.mac, NET_MAC_SIZE);
        return NET_MAC_SIZE;
    case OID_MULTICAST_LIST:
        memcpy(ret, netvsp->filter.multicast,
               (size_t)netvsp->filter.multicast_count * NET_MAC_SIZE);
        return (size_t)netvsp->filter.multicast_count * NET_MAC_SIZE;
    default:
        if (!find_word(netvsp, oid, &word))
            return 0;
        put_le32(ret, word);
        return WORD;
    }
}

_Static_assert(sizeof(supported) <= MOST_ANSWER &&
                   (int)NETVSP_MULTICASTS * NET_MAC_SIZE <= (int)MOST_ANSWER,
               "answers fit");

uint32_t netvsp_oid_query(const struct netvsp *netvsp, uint32_t oid, uint32_t room, uint8_t *ret,
                          uint32_t *ret_length)
{
    size_t length = answer(netvsp, oid, ret);

    /* A guest that names a size (Linux does for objects) takes no more. */
    if (room != 0 && room < length &&
        (oid == OID_OFFLOAD_CAPABILITIES || oid == OID_RSS_CAPABILITIES))
        length = 0;
    *ret_length = (uint32_t)length;
    return length != 0 || oid == OID_MULTICAST_LIST ? RNDIS_SUCCESS : RNDIS_NOT_SUPPORTED;
}

/* ---- setting ---- */

static uint32_t set_filter(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    if (length < WORD)
        return RNDIS_INVALID_DATA;
    netvsp->filter.packets = get_le32(bytes);
    netvsp_tell_port(netvsp);
    return RNDIS_SUCCESS;
}

static uint32_t set_multicast(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    if (length % NET_MAC_SIZE != 0 || length / NET_MAC_SIZE > NETVSP_MULTICASTS)
        return RNDIS_INVALID_DATA;
    memcpy(netvsp->filter.multicast, bytes, length);
    netvsp->filter.multicast_count = (unsigned)(length / NET_MAC_SIZE);
    netvsp_tell_port(netvsp);
    return RNDIS_SUCCESS;
}

static uint32_t set_offload(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    if (length < NDIS_AT_SET_COALESCE4)
        return RNDIS_INVALID_DATA;
    if (length <= NDIS_AT_SET_COALESCE6 || netvsp->version < NVSP_VERSION_6_1)
        return RNDIS_SUCCESS;
    uint8_t four = bytes[NDIS_AT_SET_COALESCE4];
    uint8_t six = bytes[NDIS_AT_SET_COALESCE6];
    if (four == NDIS_SET_OFF || six == NDIS_SET_OFF)
        netvsp->coalesces = false;
    else if (four == NDIS_SET_COALESCE_ON && six == NDIS_SET_COALESCE_ON)
        netvsp->coalesces = (netvsp->capabilities & NVSP_CAPABILITY_RSC) != 0;
    netvsp_tell_port(netvsp);
    return RNDIS_SUCCESS;
}

static bool is_within(size_t length, uint32_t offset, size_t size)
{
    return offset <= length && size <= length - offset;
}

static uint32_t set_rss(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    struct netvsp_rss *rss = &netvsp->rss;

    if (length < NDIS_RSS_PARAMETERS_LEAST || bytes[0] != NDIS_OBJECT_RSS_PARAMETERS)
        return RNDIS_INVALID_DATA;
    uint16_t changes = get_le16(bytes + NDIS_AT_RSS_CHANGES);
    uint32_t table = get_le32(bytes + NDIS_AT_RSS_TABLE_OFFSET);
    uint32_t entries = get_le16(bytes + NDIS_AT_RSS_TABLE_SIZE) / WORD;
    uint32_t key = get_le32(bytes + NDIS_AT_RSS_KEY_OFFSET);
    bool new_key = (changes & NDIS_RSS_KEY_UNCHANGED) == 0;
    bool new_table = (changes & NDIS_RSS_TABLE_UNCHANGED) == 0;
    if ((changes & NDIS_RSS_DISABLE) != 0) {
        rss->on = false;
        return RNDIS_SUCCESS;
    }
    if ((new_key && (get_le16(bytes + NDIS_AT_RSS_KEY_SIZE) != NDIS_RSS_KEY ||
                     !is_within(length, key, NDIS_RSS_KEY))) ||
        (new_table &&
         (entries == 0 || entries > NDIS_RSS_MOST_TABLE || (entries & (entries - 1)) != 0 ||
          !is_within(length, table, (size_t)entries * WORD))))
        return RNDIS_INVALID_DATA;
    if (new_key)
        netvsp_rss_set_key(rss, bytes + key);
    for (uint32_t i = 0; new_table && i < entries; i++) {
        uint32_t index = get_le32(bytes + table + (size_t)i * WORD);
        rss->table[i] = (uint8_t)(index < netvsp->channel_count ? index : 0);
    }
    rss->table_size = new_table ? entries : rss->table_size;
    rss->on = rss->table_size != 0;
    return RNDIS_SUCCESS;
}

static bool hex_digit(uint16_t unit, uint8_t *ret)
{
    if (unit >= '0' && unit <= '9')
        *ret = (uint8_t)(unit - '0');
    else if ((unit | 0x20) >= 'a' && (unit | 0x20) <= 'f')
        *ret = (uint8_t)((unit | 0x20) - 'a' + 10);
    else
        return false;
    return true;
}

static bool decode_address(const uint8_t *units, uint8_t ret[NET_MAC_SIZE])
{
    for (unsigned i = 0; i < NET_MAC_SIZE; i++) {
        uint8_t high = 0;
        uint8_t digit = 0;
        if (!hex_digit(get_le16(units + i * 4), &high) ||
            !hex_digit(get_le16(units + i * 4 + 2), &digit))
            return false;
        ret[i] = (uint8_t)(high << 4 | digit);
    }
    return (ret[0] & 1) == 0;
}

/* {name offset, name length, type, value offset, value length}; a guest's address as 12 digits. */
static uint32_t set_parameter(struct netvsp *netvsp, const uint8_t *bytes, size_t length)
{
    static const char wanted[] = "NetworkAddress";
    enum { HEADER = 20, NAME = (sizeof(wanted) - 1) * 2, VALUE = NET_MAC_SIZE * 4 };
    uint8_t mac[NET_MAC_SIZE];

    if (length < HEADER)
        return RNDIS_INVALID_DATA;
    uint32_t name = get_le32(bytes);
    uint32_t value = get_le32(bytes + 12);
    if (get_le32(bytes + 4) != NAME || get_le32(bytes + 16) != VALUE ||
        !is_within(length, name, NAME) || !is_within(length, value, VALUE))
        return RNDIS_NOT_SUPPORTED;
    for (size_t i = 0; i < NAME / 2; i++) {
        if (get_le16(bytes + name + i * 2) != (uint8_t)wanted[i])
            return RNDIS_NOT_SUPPORTED;
    }
    if (!decode_address(bytes + value, mac))
        return RNDIS_INVALID_DATA;
    memcpy(netvsp->filter.mac, mac, NET_MAC_SIZE);
    netvsp_tell_port(netvsp);
    return RNDIS_SUCCESS;
}

uint32_t netvsp_oid_set(struct netvsp *netvsp, uint32_t oid, const uint8_t *bytes, size_t length)
{
    switch (oid) {
    case OID_PACKET_FILTER:
        return set_filter(netvsp, bytes, length);
    case OID_MULTICAST_LIST:
        return set_multicast(netvsp, bytes, length);
    case OID_CURRENT_LOOKAHEAD:
        return RNDIS_SUCCESS;
    case OID_OFFLOAD_PARAMETERS:
        return set_offload(netvsp, bytes, length);
    case OID_RSS_PARAMETERS:
        return set_rss(netvsp, bytes, length);
    case OID_CONFIG_PARAMETER:
        return set_parameter(netvsp, bytes, length);
    default:
        return RNDIS_NOT_SUPPORTED;
    }
}
