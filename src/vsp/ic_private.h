/* Inside of an integration service's channel: ic.c, and ic_report.c for what is seen of it. */
#ifndef VSP_IC_PRIVATE_H
#define VSP_IC_PRIVATE_H

#include "vsp/ic.h"

enum { IC_HEADERS = 28, IC_MOST_MESSAGE = IC_HEADERS + IC_MOST_BODY };

enum ic_phase {
    IC_PHASE_CLOSED,
    IC_PHASE_OPENED, /* nothing was said yet */
    IC_PHASE_ASKED,  /* which versions the guest knows */
    IC_PHASE_MISMATCH,
    IC_PHASE_READY,
};

struct ic {
    struct ic_host host;
    const struct ic_kind *kind;
    void *owner;
    bool wanted;
    struct vmbus_channel *channel; /* NULL: not offered */
    uint64_t settled_ns, offered_ns;
    struct loop_timer *pace, *timeout, *reader;
    enum ic_phase phase;
    bool was_open; /* since it was offered */
    bool restored; /* from saved state: goes on when VMBus opens it */
    uint32_t framework, version;
    uint8_t transaction;
    bool asking, silent;
    uint64_t contact_ns; /* 0: never */
    uint64_t requests, answers, silences, oddities;
    size_t unsent; /* bytes of output that wait for room */
    struct vmbus_packet packet;
    uint8_t output[IC_MOST_MESSAGE];
    uint8_t payload[IC_MOST_MESSAGE + 8];
};

#endif
