#include "agent/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"

enum { LENGTH_AT = 4, MOST_TEXT = 512 };

/* Room for the rest of the frame that has begun. */
static void compact(struct frame_reader *reader)
{
    if (reader->start == 0)
        return;
    memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
    reader->end -= reader->start;
    reader->start = 0;
}

ssize_t frame_fill(struct frame_reader *reader, int fd)
{
    compact(reader);
    ssize_t length = read(fd, reader->bytes + reader->end, sizeof(reader->bytes) - reader->end);
    if (length < 0)
        return -errno;
    reader->end += (size_t)length;
    return length;
}

size_t frame_feed(struct frame_reader *reader, const uint8_t *bytes, size_t length)
{
    compact(reader);
    size_t room = sizeof(reader->bytes) - reader->end;
    size_t part = length < room ? length : room;
    memcpy(reader->bytes + reader->end, bytes, part);
    reader->end += part;
    return part;
}

static int is_known(unsigned type)
{
    return (type >= FRAME_EXEC && type <= FRAME_PUT) ||
           (type >= FRAME_STARTED && type <= FRAME_FAILED);
}

int frame_next(struct frame_reader *reader, struct frame *ret)
{
    const uint8_t *at = reader->bytes + reader->start;
    size_t there = reader->end - reader->start;

    if (there < FRAME_HEADER)
        return 0;
    size_t length = get_le32(at + LENGTH_AT);
    if (!is_known(at[0]) || (get_le32(at) >> 8) != 0 || length > FRAME_MOST)
        return -EPROTO;
    if (there - FRAME_HEADER < length)
        return 0;
    *ret = (struct frame){
        .type = (enum frame_type)at[0], .payload = at + FRAME_HEADER, .length = length};
    reader->start += FRAME_HEADER + length;
    return 1;
}

void frame_put_header(uint8_t ret[FRAME_HEADER], enum frame_type type, size_t length)
{
    put_le32(ret, (uint32_t)type);
    put_le32(ret + LENGTH_AT, (uint32_t)length);
}

static int send_all(int fd, struct iovec *part, unsigned count)
{
    while (count > 0) {
        const struct msghdr message = {.msg_iov = part, .msg_iovlen = count};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        for (size_t left = (size_t)sent; count > 0; part++, count--) {
            if (left < part->iov_len) {
                part->iov_base = (uint8_t *)part->iov_base + left;
                part->iov_len -= left;
                break;
            }
            left -= part->iov_len;
        }
    }
    return 0;
}

int frame_write(int fd, enum frame_type type, const void *payload, size_t length)
{
    uint8_t header[FRAME_HEADER];
    union {
        const void *constant;
        void *plain;
    } bytes = {payload}; /* an iovec serves both directions */
    struct iovec part[] = {{header, sizeof(header)}, {bytes.plain, length}};

    frame_put_header(header, type, length);
    return send_all(fd, part, length > 0 ? 2 : 1);
}

int frame_read(struct frame_reader *reader, int fd, struct frame *ret)
{
    for (;;) {
        int found = frame_next(reader, ret);
        if (found != 0)
            return found < 0 ? found : 0;
        ssize_t length = frame_fill(reader, fd);
        if (length == 0)
            return -ECONNRESET;
        if (length < 0 && length != -EINTR)
            return (int)length;
    }
}

int frame_fail(int fd, uint32_t code, const char *text)
{
    uint8_t payload[4 + MOST_TEXT];
    size_t length = strnlen(text, MOST_TEXT);

    put_le32(payload, code);
    memcpy(payload + 4, text, length);
    return frame_write(fd, FRAME_FAILED, payload, 4 + length);
}
