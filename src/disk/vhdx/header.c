/* The two headers: one always counts, whatever happens while the other is written. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "disk/vhdx/vhdx.h"

static const uint64_t header_offsets[2] = {VHDX_HEADER_0, VHDX_HEADER_1};

void vhdx_new_guid(struct partition_guid *ret)
{
    enum { VERSION_AT = 7, VARIANT_AT = 8 }; /* RFC 4122 § 4.4, the third field little-endian */

    if (getrandom(ret->bytes, sizeof(ret->bytes), 0) != (ssize_t)sizeof(ret->bytes))
        memset(ret->bytes, 0x5a, sizeof(ret->bytes)); /* no kernel of ours refuses 16 bytes */
    ret->bytes[VERSION_AT] = (uint8_t)((ret->bytes[VERSION_AT] & 0x0f) | 0x40);
    ret->bytes[VARIANT_AT] = (uint8_t)((ret->bytes[VARIANT_AT] & 0x3f) | 0x80);
}

int vhdx_read_header(struct file *file, struct vhdx_header *ret, unsigned *ret_slot,
                     struct reason *reason)
{
    bool found = false;

    for (unsigned slot = 0; slot < 2; slot++) {
        uint8_t bytes[VHDX_HEADER_SIZE];
        struct vhdx_header header;
        int error = file_read(file, bytes, sizeof(bytes), header_offsets[slot]);
        if (error < 0)
            return reason_set(reason, error, "the headers cannot be read");
        if (!vhdx_decode_header(bytes, &header, reason) ||
            (found && header.sequence <= ret->sequence))
            continue;
        *ret = header;
        *ret_slot = slot;
        found = true;
    }
    return found ? 0 : -EINVAL;
}

int vhdx_write_header(struct vhdx *vhdx)
{
    uint8_t bytes[VHDX_HEADER_SIZE];
    int error = 0;

    for (unsigned i = 0; error == 0 && i < 2; i++) {
        vhdx->header_slot ^= 1;
        vhdx->header.sequence++;
        vhdx_encode_header(&vhdx->header, bytes);
        error =
            file_write(vhdx->disk.file, bytes, sizeof(bytes), header_offsets[vhdx->header_slot]);
        if (error == 0)
            error = file_flush(vhdx->disk.file);
    }
    return error;
}
