/*
 * A switch with its lines: src/switch decides where a frame goes, src/net carries it.
 *
 * 1. A port lasts from the first card that asked for it until it is deleted, with its address, its
 *    settings, rules and counters; a line comes and goes with the guest.
 * 2. Nothing is allocated and nothing kept for a frame: what a line has no room for is lost to its
 *    port alone, and counted there.
 * 3. A line is destroyed only by hub_reap(), hub_unplug() or hub_destroy(): never within one of its
 *    callbacks.
 *
 * Loop thread.
 */
#ifndef SWITCHD_HUB_H
#define SWITCHD_HUB_H

#include "base/loop.h"
#include "net/port.h"
#include "switch/forward.h"

enum {
    HUB_NAME_SIZE = 64,
    HUB_UPLINK = SWITCH_PORTS - 1, /* the port of what is not a guest */
    HUB_MOST_PORTS = HUB_UPLINK,
    HUB_MOST_FORWARDS = 32,
    HUB_FORWARD_SIZE = 64,
    HUB_MOST_WEIGHT = 100,
};

enum hub_kind { HUB_PRIVATE, HUB_INTERNAL, HUB_EXTERNAL, HUB_NAT, HUB_KINDS };

struct port_settings {
    struct switch_port_config core;
    uint64_t bandwidth_max; /* bits a second that its guest may send; 0: no limit */
    uint8_t weight;         /* of its share of the uplink, 1 to HUB_MOST_WEIGHT */
};

/* Frames for one line, until the batch that they came in is done. */
struct hub_batch {
    unsigned count;
    struct net_frame frames[NET_BATCH];
    struct iovec iov[NET_BATCH][3];
    uint8_t tags[NET_BATCH][FRAME_TAG];
};

struct hub;
struct hub_port {
    struct hub *hub;
    unsigned index;
    bool used;
    char partition[HUB_NAME_SIZE];
    unsigned card;
    struct port_settings settings;
    struct net_port *line; /* NULL: nobody is there */
    int liveness;          /* a descriptor of the line's, to see whether it has ended; or -1 */
    bool link, granted;    /* granted: the next frame may go to the uplink */
    struct shape pace;
    struct loop_timer *timer; /* when it may send again */
    uint64_t lost, unplugged; /* frames for it: its line had no room; it had no line */
    struct hub_batch batch;
};

struct hub_config {
    char name[HUB_NAME_SIZE];
    enum hub_kind kind;
    char interface[HUB_NAME_SIZE]; /* EXTERNAL: of the host; INTERNAL: the TAP device */
    uint64_t uplink_rate;          /* bits a second that guests share; 0: not limited */
    char forwards[HUB_MOST_FORWARDS][HUB_FORWARD_SIZE]; /* NAT: "tcp:2222:10.0.2.15:22" */
    unsigned forward_count;
};

struct hub {
    struct hub *next;
    struct hub_config config;
    struct loop *loop;
    struct loop_event *reaper;
    struct switch_core core;
    uint64_t touched; /* ports whose batch has frames */
    /* the uplink, when it is limited: who waits for it, and whose turn it is */
    struct shape uplink;
    struct share share;
    uint64_t waiting;
    struct loop_timer *turn;
    void (*uplink_ended)(void *owner, struct hub *hub);
    void *owner;
    char bridge_port[16]; /* EXTERNAL: its device in the host's bridge; empty: the uplink is another
                           */
    bool found_device;    /* its device of the host was there before its first uplink */
    struct hub_port ports[SWITCH_PORTS];
};

/* `uplink_ended`: its line has hung up, and was reaped. */
int hub_create(struct loop *loop, const struct hub_config *config,
               void (*uplink_ended)(void *owner, struct hub *hub), void *owner, struct hub **ret);
void hub_destroy(struct hub *hub); /* with its lines; NULL is accepted */

const char *hub_kind_name(enum hub_kind kind);
void hub_default_settings(struct port_settings *ret);

struct hub_port *hub_find_port(struct hub *hub, const char *partition, unsigned card);
/* -ENOSPC; -EEXIST: another port has the address; -EINVAL: settings that make no sense. */
int hub_add_port(struct hub *hub, const char *partition, unsigned card,
                 const struct port_settings *settings, struct hub_port **ret);
int hub_change_port(struct hub_port *port, const struct port_settings *settings);
void hub_remove_port(struct hub_port *port);

/* The line becomes the port's; `liveness` may be -1. -EBUSY: it has one that lives. */
int hub_plug(struct hub_port *port, struct net_port *line, int liveness);
bool hub_is_busy(const struct hub_port *port); /* it has a line that lives */
void hub_unplug(struct hub_port *port);
int hub_plug_uplink(struct hub *hub, struct net_port *line);
void hub_set_uplink_rate(struct hub *hub, uint64_t bits);

/* ---- hub_pace.c ---- */

void hub_pace_set(struct hub_port *port, uint64_t now_ns);
void hub_pace_set_uplink(struct hub *hub, uint64_t now_ns);
int hub_pace_create(struct hub *hub);
int hub_pace_create_port(struct hub_port *port);
void hub_pace_destroy(struct hub *hub);
void hub_pace_forget(struct hub_port *port);
/* May this frame go now? If not, its line goes on when it may. */
bool hub_pace_admit(struct hub_port *port, const struct net_frame *frame, uint64_t now_ns);
/* It went to the uplink. */
void hub_pace_charge(struct hub_port *port, const struct net_frame *frame, uint64_t now_ns);

#endif
