#include "net/virtio_header.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum {
    AT_FLAGS = 0,
    AT_SEGMENTATION = 1,
    AT_HEADERS = 2,
    AT_SEGMENT = 4,
    AT_START = 6,
    AT_OFFSET = 8,
    AT_BUFFERS = 10,

    WANTS_CHECKSUM = 1,
    CHECKSUM_VALID = 2,
    TCP4 = 1,
    TCP6 = 4,
    CONGESTION_BIT = 0x80,
};

void virtio_header_encode(const struct net_offload *offload, uint8_t bytes[VIRTIO_HEADER])
{
    memset(bytes, 0, VIRTIO_HEADER);
    put_le16(bytes + AT_BUFFERS, 1);
    if (offload->wants_checksum) {
        bytes[AT_FLAGS] = WANTS_CHECKSUM;
        put_le16(bytes + AT_START, offload->checksum_start);
        put_le16(bytes + AT_OFFSET, offload->checksum_offset);
    } else if (offload->checksum_known) {
        bytes[AT_FLAGS] = CHECKSUM_VALID;
    }
    if (offload->segmentation == NET_WHOLE)
        return;
    bytes[AT_SEGMENTATION] = offload->segmentation == NET_TCP4 ? TCP4 : TCP6;
    put_le16(bytes + AT_HEADERS, offload->headers_length);
    put_le16(bytes + AT_SEGMENT, offload->segment_size);
}

static int decode_segmentation(const uint8_t *bytes, size_t length, struct net_offload *ret)
{
    uint8_t kind = bytes[AT_SEGMENTATION] & (uint8_t)~CONGESTION_BIT;

    if (kind == 0)
        return 0;
    ret->segmentation = kind == TCP4 ? NET_TCP4 : NET_TCP6;
    ret->segment_size = get_le16(bytes + AT_SEGMENT);
    ret->headers_length = get_le16(bytes + AT_HEADERS);
    bool valid = (kind == TCP4 || kind == TCP6) && ret->segment_size > 0 &&
                 ret->headers_length <= length && ret->wants_checksum;
    return valid ? 0 : -EINVAL;
}

int virtio_header_decode(const uint8_t bytes[VIRTIO_HEADER], size_t length, struct net_offload *ret)
{
    *ret = (struct net_offload){
        .wants_checksum = (bytes[AT_FLAGS] & WANTS_CHECKSUM) != 0,
        .checksum_known = (bytes[AT_FLAGS] & CHECKSUM_VALID) != 0,
    };
    if (ret->wants_checksum) {
        ret->checksum_start = get_le16(bytes + AT_START);
        ret->checksum_offset = get_le16(bytes + AT_OFFSET);
        if ((size_t)ret->checksum_start + ret->checksum_offset + 2 > length)
            return -EINVAL;
    }
    return decode_segmentation(bytes, length, ret);
}
