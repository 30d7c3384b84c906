#include "worker/serial_input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    ESCAPE = 0x1d, /* ^] */
    BUFFER_SIZE = 64 * 1024,
    READ_SIZE = 4096,
};

/*
 * A pipe or file is read only when all that was read is with the guest. A terminal is always read,
 * or ^] would not be heard while the guest hangs; what a person types beyond the buffer is lost.
 */
struct serial_input {
    struct loop *loop;
    int fd;
    bool terminal, ended;
    bool always_readable; /* a regular file or /dev/null, which epoll refuses */
    struct serial_host host;
    struct loop_watch *watch; /* only while bytes are wanted: else a hang-up would spin the loop */
    struct loop_timer *pump;  /* fired at once: to push, and to read what is always readable */
    uint8_t bytes[BUFFER_SIZE];
    size_t start, length;
};

static void unwatch(struct serial_input *input)
{
    if (input->watch != NULL)
        loop_watch_destroy(input->watch);
    input->watch = NULL;
}

static void append(struct serial_input *input, const uint8_t *bytes, size_t length)
{
    memmove(input->bytes, input->bytes + input->start, input->length);
    input->start = 0;
    if (length > BUFFER_SIZE - input->length)
        length = BUFFER_SIZE - input->length;
    memcpy(input->bytes + input->length, bytes, length);
    input->length += length;
}

static void push(struct serial_input *input)
{
    if (input->length == 0)
        return;
    size_t taken = input->host.input(input->host.owner, input->bytes + input->start, input->length);
    input->start += taken;
    input->length -= taken;
}

static void read_some(struct serial_input *input)
{
    uint8_t bytes[READ_SIZE];

    ssize_t length = read(input->fd, bytes, sizeof(bytes));
    if (length < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (length <= 0) {
        input->ended = true;
        return;
    }
    const uint8_t *escape = input->terminal ? memchr(bytes, ESCAPE, (size_t)length) : NULL;
    append(input, bytes, escape == NULL ? (size_t)length : (size_t)(escape - bytes));
    push(input);
    if (escape != NULL) {
        input->ended = true;
        input->host.left(input->host.owner);
    }
}

static void readable(void *owner, uint32_t events);

/* Watch the descriptor exactly while its bytes are wanted. */
static int ask_for_more(struct serial_input *input)
{
    int error = 0;

    if (input->ended || (!input->terminal && input->length > 0))
        unwatch(input);
    else if (input->always_readable)
        loop_timer_set(input->pump, 1);
    else if (input->watch == NULL)
        error = loop_watch_create(input->loop, input->fd, EPOLLIN, readable, input, &input->watch);
    if (error == -EPERM) {
        input->always_readable = true;
        loop_timer_set(input->pump, 1);
        error = 0;
    }
    return error;
}

/* Without a watch there is no more input; the guest goes on, as after the end of a file. */
static void go_on(struct serial_input *input)
{
    if (ask_for_more(input) < 0)
        input->ended = true;
}

static void readable(void *owner, uint32_t events)
{
    (void)events;
    read_some(owner);
    go_on(owner);
}

static void pumped(void *owner)
{
    struct serial_input *input = owner;

    push(input);
    if (input->always_readable && !input->ended && input->length == 0)
        read_some(input);
    go_on(input);
}

int serial_input_create(struct loop *loop, int fd, bool terminal, const struct serial_host *host,
                        struct serial_input **ret)
{
    struct serial_input *input = calloc(1, sizeof(*input));
    if (input == NULL)
        return -ENOMEM;
    input->loop = loop;
    input->fd = fd;
    input->terminal = terminal;
    input->host = *host;
    int error = loop_timer_create(loop, pumped, input, &input->pump);
    if (error == 0)
        error = ask_for_more(input);
    if (error < 0) {
        serial_input_destroy(input);
        return error;
    }
    *ret = input;
    return 0;
}

void serial_input_ready(struct serial_input *input)
{
    loop_timer_set(input->pump, 1);
}

void serial_input_destroy(struct serial_input *input)
{
    if (input == NULL)
        return;
    unwatch(input);
    if (input->pump != NULL)
        loop_timer_destroy(input->pump);
    free(input);
}
