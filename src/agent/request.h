/* The payloads of frames that have fields: built, and taken apart with every length checked. */
#ifndef AGENT_REQUEST_H
#define AGENT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/frame.h"

enum {
    REQUEST_MOST_WORDS = 1024,
    REQUEST_MOST_PATH = 4096,
};

/* Strings point into the payload, which has a NUL behind each. */
struct exec_request {
    bool terminal, input; /* a pty; standard input follows */
    uint16_t rows, columns;
    const char *user;      /* NAME or NAME:GROUP, numbers too; "": root */
    const char *directory; /* "": the user's home */
    unsigned argument_count, environment_count;
    const char *arguments[REQUEST_MOST_WORDS + 1];   /* none: a login shell; NULL behind the last */
    const char *environment[REQUEST_MOST_WORDS + 1]; /* NAME=VALUE; the same */
};

/* Into `ret`, FRAME_MOST bytes: the length, or -E2BIG. */
int exec_encode(const struct exec_request *request, uint8_t *ret);
/* -EPROTO, or -EPROTONOSUPPORT for another version. */
int exec_decode(const uint8_t *payload, size_t length, struct exec_request *ret);

/* GET and PUT. */
struct copy_request {
    const char *path;
    const char *name; /* PUT: what it is called when `path` is a directory; "": its contents only */
};
int copy_encode(const struct copy_request *request, uint8_t *ret);
int copy_decode(const uint8_t *payload, size_t length, struct copy_request *ret);

enum entry_kind { ENTRY_FILE = 1, ENTRY_DIRECTORY, ENTRY_LINK };

/* What of a tree comes next: its root first, with an empty path. */
struct entry {
    enum entry_kind kind;
    uint32_t mode;        /* permission bits */
    uint64_t size;        /* a file's, as far as it is known */
    uint64_t modified_ns; /* since 1970 */
    const char *path;     /* below the root: no "..", nothing empty */
    const char *target;   /* of a link, else "" */
};
int entry_encode(const struct entry *entry, uint8_t *ret);
int entry_decode(const uint8_t *payload, size_t length, struct entry *ret);

struct file_end {
    uint64_t length;
    uint32_t crc;
};
enum { FILE_END_SIZE = 12 };
void file_end_encode(const struct file_end *end, uint8_t ret[FILE_END_SIZE]);
int file_end_decode(const uint8_t *payload, size_t length, struct file_end *ret);

/* Of FAILED; the text is made printable and ends with a NUL. */
int failure_decode(const uint8_t *payload, size_t length, uint32_t *ret_code, char *ret_text,
                   size_t room);

#endif
