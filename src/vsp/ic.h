/*
 * What the integration services share: each has a VMBus channel, on which the host speaks first. It
 * names the versions that it knows, the guest picks one, and from then on the host asks and the
 * guest answers, one request at a time.
 *
 * Threads: the loop's. Nothing waits: a guest that says nothing is told by `silent`.
 * Guests are hostile: each packet is copied once, checked, and dropped unless it answers what was
 * asked. The peer is Linux drivers/hv/hv_util.c and channel_mgmt.c (vmbus_prep_negotiate_resp).
 */
#ifndef VSP_IC_H
#define VSP_IC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/reason.h"
#include "vmbus/vmbus.h"

struct ic;
struct state_visitor;

enum {
    IC_MOST_BODY = 8164, /* with its headers two pages, which Linux has room for */
    IC_MOST_VERSIONS = 4,
};

#define IC_VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

/* HRESULTs that guests answer with. */
enum ic_status {
    IC_OK = 0,
    IC_FAILED = (int)0x80004005,
    IC_NO_MORE = (int)0x80070103, /* no more items, and: no such item */
    IC_EXISTS = (int)0x80070050,
    IC_DISK_FULL = (int)0x80070070,
};

/* What a service is; `owner` is that of struct ic_config. */
struct ic_kind {
    const char *name;   /* "heartbeat" */
    const char *helper; /* what in a guest with Linux has to run for it */
    uint8_t class_id[16];
    uint16_t type; /* of its messages */
    unsigned version_count;
    uint32_t versions[IC_MOST_VERSIONS]; /* newest first */
    /* All may be NULL. A version is agreed on; the channel is closed, whatever was asked. */
    void (*ready)(void *owner);
    void (*gone)(void *owner);
    /* The answer to ic_request(), which may be called again from within; or that there is none. */
    void (*answered)(void *owner, uint32_t status, const uint8_t *body, size_t length);
    void (*silent)(void *owner);
};

/* What the services are made in. */
struct ic_host {
    struct vmbus *vmbus;
    struct loop *loop;
    uint64_t (*now)(void); /* clock_monotonic_ns */
};

int ic_create(const struct ic_host *host, const struct ic_kind *kind, void *owner, struct ic **ret);
/* NULL is accepted; no callback is made. */
void ic_destroy(struct ic *ic);
/*
 * Offer it to the guest or withdraw it, at once or, when that was changed just before, a little
 * later: a guest that has not taken an offer in yet suffers from its end. It starts withdrawn.
 */
void ic_enable(struct ic *ic, bool enabled);
/* False also while it is about to be withdrawn. */
bool ic_is_ready(const struct ic *ic);
/* The version of the service's messages; 0: none is agreed on. */
uint32_t ic_version(const struct ic *ic);

/*
 * Ask; the body is copied. -ENOTCONN: not ready; -EBUSY: the last was not answered yet. An answer
 * that comes after the time is dropped.
 */
int ic_request(struct ic *ic, const void *body, size_t length, uint64_t timeout_ns);
/* The reason why ic_request says -ENOTCONN, and -ENOTCONN. */
int ic_refuse(const struct ic *ic, struct reason *reason);

/* ---- what an administrator sees ---- */

enum ic_state {
    IC_STATE_DISABLED,
    IC_STATE_LEAVING,  /* withdrawn, or about to be */
    IC_STATE_WAITING,  /* the guest has had no time yet to open it */
    IC_STATE_UNOPENED, /* it has had the time */
    IC_STATE_CLOSED,   /* the guest had it open before */
    IC_STATE_ASKED,    /* which versions it speaks */
    IC_STATE_MISMATCH, /* none of ours */
    IC_STATE_RUNNING,
    IC_STATE_SILENT, /* the guest answered before, but not the last request */
    IC_STATE_COUNT,
};

struct ic_report {
    const char *name;
    bool enabled;
    enum ic_state state;
    uint32_t framework, version, newest; /* framework and version 0: none agreed on */
    uint64_t contact_ns; /* since the guest last said something; UINT64_MAX: never */
    uint64_t requests, answers, silences, oddities; /* oddities: packets that made no sense */
    char advice[200];                               /* what to do about the state; may be empty */
};

const char *ic_state_name(enum ic_state state);
void ic_describe(const struct ic *ic, struct ic_report *ret);

/*
 * To load, after ic_enable() and before the VMBus state is loaded: the channel that VMBus opens
 * then goes on with the same version. A request that was under way is answered by `gone`.
 */
int ic_visit_state(struct ic *ic, struct state_visitor *visitor);

#endif
