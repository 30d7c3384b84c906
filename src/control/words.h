/*
 * The words between a running partition and those who manage it: one JSON object a line, a request
 * from the manager, then its reply from the worker.
 *
 *   {"verb": "attach", "path": "/srv/data.img", "controller": 0, "lun": 3, "read_only": true}
 *   {"ok": true, "controller": 0, "lun": 3}
 *   {"ok": false, "code": "exists", "error": "place 0:3 is taken by another disk"}
 *
 * 1. Each side checks all of a line before it believes any of it. A request with a field that its
 *    verb does not have is refused; a reply may have more fields than its reader knows.
 * 2. Lines are bounded, their newline included.
 */
#ifndef CONTROL_WORDS_H
#define CONTROL_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

enum {
    CONTROL_MOST_REQUEST = 32 << 10, /* bytes of a line */
    CONTROL_MOST_REPLY = 4 << 20,
    CONTROL_PATH_SIZE = 4096,
    CONTROL_WORD_SIZE = 32,
    CONTROL_MOST_DISKS = 256,
    CONTROL_MOST_CARDS = 8,
};

enum control_verb {
    CONTROL_STATUS,
    CONTROL_ATTACH,
    CONTROL_DETACH,
    CONTROL_INSERT, /* a disc into a DVD drive */
    CONTROL_EJECT,
    CONTROL_LINK, /* a network card's cable, in or out */
    CONTROL_POWER_BUTTON,
    CONTROL_RESET,
    CONTROL_STOP, /* at once, as by pulling the plug */
    CONTROL_INTEGRATION,
    CONTROL_INTEGRATION_SET,
    CONTROL_SHUTDOWN, /* by the guest's service, or its power button */
    CONTROL_KVP_GET,
    CONTROL_KVP_SET,
    CONTROL_KVP_DELETE,
    CONTROL_KVP_LIST,
    CONTROL_IP_GET,
    CONTROL_IP_SET,
    CONTROL_FREEZE,
    CONTROL_THAW,
    CONTROL_COPY,
    CONTROL_COPY_STATUS,
    CONTROL_COPY_CANCEL,
    CONTROL_MEMORY,
    CONTROL_MEMORY_SET,
    CONTROL_KEYS,
    CONTROL_TYPE,
    CONTROL_POINTER,
    CONTROL_VERB_COUNT,
};

struct control_request {
    enum control_verb verb;
    char path[CONTROL_PATH_SIZE]; /* attach and insert: absolute; empty: a drive without a disc */
    bool placed;                  /* attach: else the worker finds a place */
    unsigned controller, lun;     /* detach, insert, eject; attach when placed */
    bool read_only, dvd;          /* attach */
    unsigned card;                /* link */
    bool up;                      /* link */
    /* Integration services. */
    char service[CONTROL_WORD_SIZE];
    bool enabled;
    char way[CONTROL_WORD_SIZE];                                     /* shutdown */
    char pool[CONTROL_WORD_SIZE], key[1024], value[4096];            /* kvp-… */
    char adapter[256];                                               /* ip-… */
    bool dhcp;                                                       /* ip-set, as the next */
    char addresses[1024], masks[1024], gateways[512], servers[1024]; /* semicolons between */
    char destination[CONTROL_PATH_SIZE];                             /* copy: in the guest */
    bool overwrite, make_folders;
    unsigned id; /* copy-… */
    /* memory-set: what is 0 stays as it is. */
    unsigned minimum_mib, maximum_mib, target_mib, buffer, weight;
    bool automatic;  /* no target of its own any more */
    bool balanced;   /* of who shares a budget: what a person has set stays */
    char keys[1024]; /* keys: chords, with spaces between: "ctrl-alt-delete esc" */
    char text[4096]; /* type: ASCII */
    bool moves;      /* pointer: to x, y of MOUSE_MOST_POSITION */
    unsigned x, y;
    unsigned button, wheel_up, wheel_down; /* pointer: 1 to 5, which is clicked; steps */
};

struct control_disk {
    char *path; /* NULL: a drive without a disc */
    unsigned controller, lun;
    bool read_only, dvd;
    uint64_t capacity; /* bytes */
    uint64_t reads, writes, read_bytes, written_bytes;
};

struct control_card {
    char kind[CONTROL_WORD_SIZE], mac[CONTROL_WORD_SIZE]; /* "tap", "00:15:5d:01:02:03" */
    char id[40];     /* of its VMBus channel, "{GUID}"; empty: an older worker's */
    bool link, used; /* it has a cable; the guest has brought it up */
    unsigned mtu, channels;
    uint64_t sent_frames, sent_bytes, sent_dropped;
    uint64_t received_frames, received_bytes, received_dropped;
};

struct control_status {
    char state[CONTROL_WORD_SIZE];  /* "running" */
    char engine[CONTROL_WORD_SIZE]; /* "soft" */
    uint64_t pid, uptime_ns;
    uint64_t memory, assigned; /* bytes: at the start, and now */
    unsigned cpus;
    char vmbus[CONTROL_WORD_SIZE];     /* version that the guest chose, as "5.3"; empty: none */
    unsigned channels;                 /* open ones of VMBus */
    char heartbeat[CONTROL_WORD_SIZE]; /* state of the service; empty: there is none */
    struct control_disk *disks;        /* `disk_count` of them */
    size_t disk_count;
    struct control_card cards[CONTROL_MOST_CARDS];
    size_t card_count;
};

enum control_reply_kind {
    CONTROL_REPLY_PLAIN,
    CONTROL_REPLY_PLACE,
    CONTROL_REPLY_STATUS,
    CONTROL_REPLY_RESULT,
};

struct control_reply {
    int error; /* 0 or a negative errno, with a reason */
    struct reason reason;
    enum control_reply_kind kind;
    unsigned controller, lun;     /* PLACE: where the disk is now */
    struct control_status status; /* STATUS; its disks are the reply's own */
    struct json_t *result;        /* RESULT: any value, as the verb has it; the reply's own */
};

const char *control_verb_name(enum control_verb verb);

/*
 * A line to send, with its newline, for the caller to free; -ENOMEM, -EMSGSIZE, or -EINVAL when it
 * is not UTF-8, as a path may be.
 */
int control_encode_request(const struct control_request *request, char **ret, size_t *ret_length);
int control_encode_reply(const struct control_reply *reply, char **ret, size_t *ret_length);

/* A line without its newline; -EINVAL and a reason when it is none. */
int control_decode_request(const char *line, size_t length, struct control_request *ret,
                           struct reason *reason);
/* Released by control_reply_release(), also after an error. */
int control_decode_reply(const char *line, size_t length, struct control_reply *ret,
                         struct reason *reason);

/* As in a reply; a new reference to a json_t of Jansson's, or NULL. */
struct json_t *control_status_json(const struct control_status *status);

/* Printable ASCII, with '?' for all else: what a partition says may be shown on a terminal. */
void control_printable(const char *from, char *to, size_t size);

void control_reply_release(struct control_reply *reply);

#endif
