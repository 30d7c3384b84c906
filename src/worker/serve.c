/*
 * 1. A client is in one of three states: reading a line (`call` and `output` NULL), waiting for the
 *    answer to its call, or writing its reply. Only the first is woken by input.
 * 2. What follows a line stays in the socket until the line is answered.
 * 3. A call outlives its client when that goes: then call->client is NULL, and the answer frees it.
 */
#include "worker/serve.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

struct client {
    struct serve *serve; /* NULL: this place is free */
    int fd;
    struct loop_watch *watch;
    uint64_t turn; /* of the newest that it did; the least has been silent for longest */
    bool leaving;  /* it is left once it has its reply */
    struct serve_call *call;
    char *output;
    size_t output_length, output_done;
    size_t input_length;
    char input[CONTROL_MOST_REQUEST];
};

struct serve_call {
    struct serve *serve;
    struct client *client; /* NULL: gone */
    struct serve_call *next;
};

struct serve {
    struct loop *loop;
    struct control_listener listener;
    struct loop_watch *watch;
    struct loop_timer *retry; /* when the host had no descriptor for a client */
    const struct serve_verbs *verbs;
    void *owner;
    uint64_t turns;
    struct serve_call *calls; /* not answered yet */
    struct client clients[SERVE_MOST_CLIENTS];
};

static void drop(struct client *client)
{
    if (client->serve == NULL)
        return;
    if (client->call != NULL)
        client->call->client = NULL;
    loop_watch_destroy(client->watch);
    (void)close(client->fd);
    free(client->output);
    client->serve = NULL;
}

/* ---- replies ---- */

/* Be woken by what its state waits for; the end of the connection is told in any case. */
static void await(struct client *client)
{
    uint32_t events = 0;

    if (client->output != NULL)
        events = EPOLLOUT;
    else if (client->call == NULL)
        events = EPOLLIN;
    if (loop_watch_modify(client->watch, events) < 0)
        drop(client);
}

/* As much as the client takes now. */
static void write_output(struct client *client)
{
    while (client->output_done < client->output_length) {
        ssize_t part =
            send(client->fd, client->output + client->output_done,
                 client->output_length - client->output_done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part < 0 && errno == EAGAIN) {
            await(client);
            return;
        }
        if (part < 0 && errno != EINTR) {
            drop(client);
            return;
        }
        if (part > 0)
            client->output_done += (size_t)part;
    }
    free(client->output);
    client->output = NULL;
    if (client->leaving)
        drop(client);
    else
        await(client);
}

static void send_reply(struct client *client, const struct control_reply *reply)
{
    static const struct control_reply unsayable = {
        .error = -EIO, .reason = {"the answer cannot be put into words"}};
    int error = control_encode_reply(reply, &client->output, &client->output_length);

    if (error < 0)
        error = control_encode_reply(&unsayable, &client->output, &client->output_length);
    client->output_done = 0;
    if (error < 0)
        drop(client);
    else
        write_output(client);
}

void serve_answer(struct serve_call *call, const struct control_reply *reply)
{
    struct client *client = call->client;
    struct serve_call **link = &call->serve->calls;

    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    free(call);
    if (client != NULL) {
        client->call = NULL;
        send_reply(client, reply);
    }
}

void serve_refuse(struct serve_call *call, int error, const char *format, ...)
{
    struct control_reply reply = {.error = error};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(reply.reason.text, sizeof(reply.reason.text), format, args);
    va_end(args);
    serve_answer(call, &reply);
}

void serve_confirm(struct serve_call *call)
{
    const struct control_reply reply = {.kind = CONTROL_REPLY_PLAIN};
    serve_answer(call, &reply);
}

/* ---- requests ---- */

static void refuse_line(struct client *client, const char *why)
{
    struct control_reply reply = {.error = -EINVAL};

    reason_fill(&reply.reason, "%s", why);
    client->leaving = true;
    send_reply(client, &reply);
}

static void perform(struct client *client, const struct control_request *request)
{
    struct serve *serve = client->serve;
    struct serve_call *call = malloc(sizeof(*call));

    if (call == NULL) {
        drop(client);
        return;
    }
    *call = (struct serve_call){.serve = serve, .client = client, .next = serve->calls};
    serve->calls = call;
    client->call = call;
    await(client);
    if (serve->verbs->perform[request->verb] == NULL)
        serve_refuse(call, -EOPNOTSUPP, "this partition cannot do '%s'",
                     control_verb_name(request->verb));
    else
        serve->verbs->perform[request->verb](serve->owner, request, call);
}

static void take_line(struct client *client, size_t length)
{
    struct control_request request;
    struct reason reason = {"not a request"};

    client->input_length = 0;
    if (control_decode_request(client->input, length, &request, &reason) < 0)
        refuse_line(client, reason.text);
    else
        perform(client, &request);
}

/* Take what there is, but nothing behind the end of a line. */
static void read_input(struct client *client)
{
    char *to = client->input + client->input_length;
    size_t room = sizeof(client->input) - client->input_length;
    ssize_t there = recv(client->fd, to, room, MSG_PEEK | MSG_DONTWAIT);

    if (there < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (there <= 0) {
        drop(client);
        return;
    }
    const char *end = memchr(to, '\n', (size_t)there);
    size_t wanted = end != NULL ? (size_t)(end - to) + 1 : (size_t)there;
    if (recv(client->fd, to, wanted, MSG_DONTWAIT) != (ssize_t)wanted) {
        drop(client);
        return;
    }
    client->input_length += wanted;
    if (end != NULL)
        take_line(client, client->input_length - 1);
    else if (client->input_length == sizeof(client->input))
        refuse_line(client, "a request is too long");
}

static void client_event(void *owner, uint32_t events)
{
    struct client *client = owner;

    client->turn = ++client->serve->turns;
    if (client->output != NULL && (events & EPOLLOUT) != 0)
        write_output(client);
    else if (client->output == NULL && client->call == NULL && (events & EPOLLIN) != 0)
        read_input(client);
    else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
        drop(client);
}

/* ---- clients ---- */

/* A free place, or that of the client which was silent for longest and waits for no answer. */
static struct client *find_place(struct serve *serve)
{
    struct client *silent = NULL;

    for (int i = 0; i < SERVE_MOST_CLIENTS; i++) {
        struct client *client = &serve->clients[i];
        if (client->serve == NULL)
            return client;
        if (client->call == NULL && (silent == NULL || client->turn < silent->turn))
            silent = client;
    }
    if (silent != NULL)
        drop(silent);
    return silent;
}

static void add_client(struct serve *serve, int fd)
{
    struct client *client = find_place(serve);

    if (client == NULL) {
        (void)close(fd);
        return;
    }
    *client = (struct client){.fd = fd, .turn = ++serve->turns};
    if (loop_watch_create(serve->loop, fd, EPOLLIN, client_event, client, &client->watch) < 0)
        (void)close(fd);
    else
        client->serve = serve;
}

static void newcomer(void *owner, uint32_t events)
{
    struct serve *serve = owner;
    int fd = -1;
    int error = control_accept(&serve->listener, &fd);

    (void)events;
    if (error == 0) {
        add_client(serve, fd);
        return;
    }
    if (error == -EAGAIN || error == -EINTR || error == -ECONNABORTED || error == -EACCES)
        return;
    /* No descriptors, or no memory: it stays in the queue, which must not wake us without end. */
    (void)loop_watch_modify(serve->watch, 0);
    loop_timer_set(serve->retry, clock_monotonic_ns() + NS_PER_SECOND);
}

static void listen_again(void *owner)
{
    const struct serve *serve = owner;
    (void)loop_watch_modify(serve->watch, EPOLLIN);
}

int serve_create(struct loop *loop, const struct control_listener *listener,
                 const struct serve_verbs *verbs, void *owner, struct serve **ret)
{
    struct serve *serve = calloc(1, sizeof(*serve));

    if (serve == NULL)
        return -ENOMEM;
    serve->loop = loop;
    serve->listener = *listener;
    serve->verbs = verbs;
    serve->owner = owner;
    int error = loop_timer_create(loop, listen_again, serve, &serve->retry);
    if (error == 0)
        error = loop_watch_create(loop, listener->fd, EPOLLIN, newcomer, serve, &serve->watch);
    if (error < 0) {
        serve->listener.fd = -1; /* stays the caller's */
        serve_destroy(serve);
        return error;
    }
    *ret = serve;
    return 0;
}

void serve_destroy(struct serve *serve)
{
    if (serve == NULL)
        return;
    for (int i = 0; i < SERVE_MOST_CLIENTS; i++)
        drop(&serve->clients[i]);
    while (serve->calls != NULL) {
        struct serve_call *call = serve->calls;
        serve->calls = call->next;
        free(call);
    }
    loop_watch_destroy(serve->watch);
    loop_timer_destroy(serve->retry);
    control_unlisten(&serve->listener);
    free(serve);
}
