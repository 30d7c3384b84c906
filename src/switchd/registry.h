/*
 * All switches of this user: made, found, deleted, and kept in a file, so that addresses, settings
 * and rules outlive the process.
 *
 * The file is switches.json in $PARTITA_STATE_DIR, else /var/lib/partita for root, else
 * $XDG_STATE_HOME/partita or ~/.local/state/partita. It is replaced as a whole, so that a crash
 * leaves the old one or the new one.
 */
#ifndef SWITCHD_REGISTRY_H
#define SWITCHD_REGISTRY_H

#include <jansson.h>

#include "switchd/hub.h"

enum { REGISTRY_MOST_HUBS = 64, REGISTRY_PATH = 4096 };

struct registry {
    struct loop *loop;
    struct hub *hubs; /* in alphabetical order */
    unsigned count;
    char path[REGISTRY_PATH];
    struct loop_timer *mender; /* when uplinks that have ended are opened again */
};

/* Open what the file has. A switch whose uplink cannot be opened is there without it. */
int registry_create(struct loop *loop, struct registry *ret, struct reason *reason);
void registry_destroy(struct registry *registry);

struct hub *registry_find(const struct registry *registry, const char *name);
/* -EEXIST, -ENOSPC, or what kept the uplink from being opened. */
int registry_add(struct registry *registry, const struct hub_config *config, struct hub **ret,
                 struct reason *reason);
/* Keep one that was added; when that fails it is not there any more. */
int registry_store_new(struct registry *registry, struct hub *hub, struct reason *reason);
/* Its lines end; a TAP device that was made for it goes. Nothing happens when that cannot be kept.
 */
int registry_remove(struct registry *registry, struct hub *hub, struct reason *reason);

/* The port of a card; made when it is not there, with an address of its own. */
int registry_take_port(struct hub *hub, const char *partition, unsigned card, struct hub_port **ret,
                       struct reason *reason);

/* ---- store.c ---- */

/* Is there a file with a switch in it? */
bool store_has_switches(void);
int store_find(char ret[REGISTRY_PATH], struct reason *reason);
int store_load(struct registry *registry, struct reason *reason);
int store_save(const struct registry *registry, struct reason *reason);

#endif
