/* struct virtio_net_hdr (virtio 1.2 § 5.1.6), as TAP devices and the switch's sockets have it. */
#ifndef NET_VIRTIO_HEADER_H
#define NET_VIRTIO_HEADER_H

#include "net/port.h"

enum { VIRTIO_HEADER = 12 }; /* bytes, with num_buffers */

void virtio_header_encode(const struct net_offload *offload, uint8_t bytes[VIRTIO_HEADER]);
/* -EINVAL: it asks for what does not fit a frame of `length` bytes. */
int virtio_header_decode(const uint8_t bytes[VIRTIO_HEADER], size_t length,
                         struct net_offload *ret);

#endif
