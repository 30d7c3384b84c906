/*
 * How fast a port may send: a bucket of tokens that fills with time (RFC 2697's committed rate),
 * and a share of what a slow uplink has for each port. Time is the caller's.
 */
#ifndef SWITCH_SHAPE_H
#define SWITCH_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tokens of bytes, or of frames. */
struct shape {
    uint64_t rate;  /* a second; 0: no limit */
    uint64_t burst; /* tokens at most, below 2^62 */
    int64_t tokens; /* below 0: a frame longer than the burst went, and is still being paid for */
    uint64_t remainder, filled_ns;
};

void shape_set(struct shape *shape, uint64_t rate, uint64_t burst, uint64_t now_ns);
/* Take them if they are there; more than the burst are taken from a full bucket. */
bool shape_take(struct shape *shape, uint64_t tokens, uint64_t now_ns);
/* Take them whether they are there or not: what is missing is paid for later. */
void shape_charge(struct shape *shape, uint64_t tokens, uint64_t now_ns);
/* When so many will be there; 0: they are. Nothing is taken. */
uint64_t shape_when(struct shape *shape, uint64_t tokens, uint64_t now_ns);

/*
 * Shares by weight (start-time fair queueing, Goyal et al. 1996): each frame has a start in virtual
 * time, of those that wait the smallest goes first. Weights 1 to 100.
 */
enum { SHARE_PORTS = 64 };
struct share {
    uint64_t virtual_time;
    uint64_t finish[SHARE_PORTS];
    uint8_t weight[SHARE_PORTS]; /* 0 counts as 1 */
};

/* Of the ports of `waiting`, a bit each, not 0: the one whose frame goes next. */
unsigned share_next(const struct share *share, uint64_t waiting);
/* Its frame of so many bytes went. */
void share_sent(struct share *share, unsigned port, size_t length);

#endif
