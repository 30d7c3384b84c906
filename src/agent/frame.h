/*
 * What partita and its agent in a guest say to each other over a socket: frames, each a type, the
 * length of its payload, and the payload. A connection is one order; its first frame says which.
 *
 *   host                                 agent
 *   EXEC, then INPUT, INPUT_END,         STARTED, then OUTPUT, ERROR_OUTPUT, WINDOW, last EXIT
 *   SIGNAL, SIZE
 *   GET                                  ENTRY, DATA.., END for each file, last DONE
 *   PUT, then as the agent does for GET  STARTED, last DONE
 *
 * FAILED may come instead of any of the other side's frames and is its last; after it that side
 * reads on until the other has heard it. Both sides take nothing for granted: frames are bounded
 * and checked before use. Any thread, but a reader is one's own.
 */
#ifndef AGENT_FRAME_H
#define AGENT_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    AGENT_PORT = 610, /* below 1024: a guest's users cannot take it */
    AGENT_VERSION = 1,
    FRAME_HEADER = 8, /* u8 type, three bytes of zero, u32 length; little-endian */
    FRAME_MOST = 65536,
    FRAME_DATA = 16384 - FRAME_HEADER, /* bytes of a stream, so that a frame fits a packet */
    AGENT_WINDOW_SIZE = 65536,         /* of input that may be under way at first */
};

enum frame_type {
    FRAME_EXEC = 1,
    FRAME_GET,
    FRAME_PUT,
    FRAME_STARTED = 16,
    FRAME_INPUT,
    FRAME_INPUT_END,
    FRAME_WINDOW, /* u32: so many bytes of input may follow beyond those allowed before */
    FRAME_SIGNAL, /* u32 */
    FRAME_SIZE,   /* of the terminal: u16 rows, u16 columns */
    FRAME_OUTPUT,
    FRAME_ERROR_OUTPUT,
    FRAME_EXIT,  /* u32: exit code; 128 and the signal when that ended it */
    FRAME_ENTRY, /* entry.h */
    FRAME_DATA_BYTES,
    FRAME_END, /* of a file: u64 length, u32 CRC-32C */
    FRAME_DONE,
    FRAME_FAILED, /* u32 code, then text without a NUL */
};

struct frame {
    enum frame_type type;
    const uint8_t *payload; /* in the reader, until the next call with it */
    size_t length;
};

/* Collects bytes until they are a frame. */
struct frame_reader {
    size_t start, end;
    uint8_t bytes[2 * (FRAME_HEADER + FRAME_MOST)];
};

/* One read: how many bytes, 0 at the end, or a negative errno. There is always room for some. */
ssize_t frame_fill(struct frame_reader *reader, int fd);
/* The same from memory; how many were taken. */
size_t frame_feed(struct frame_reader *reader, const uint8_t *bytes, size_t length);
/* 1 and a frame, 0 when more bytes are needed, or -EPROTO. */
int frame_next(struct frame_reader *reader, struct frame *ret);

void frame_put_header(uint8_t ret[FRAME_HEADER], enum frame_type type, size_t length);

/* For descriptors that wait. 0 or a negative errno; no SIGPIPE from sockets. */
int frame_write(int fd, enum frame_type type, const void *payload, size_t length);
/* The next frame; -ECONNRESET when the other side has gone. */
int frame_read(struct frame_reader *reader, int fd, struct frame *ret);
/* FRAME_FAILED with this code and text. */
int frame_fail(int fd, uint32_t code, const char *text);

#endif
