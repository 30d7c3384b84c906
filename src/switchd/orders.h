/*
 * What a manager may ask: an object with a verb in, an object with an answer out.
 *
 *   {"verb": "create", "config": {"name": "lan", "kind": "private"}}
 *   {"ok": true}
 *   {"verb": "port", "switch": "lan", "port": "web:0", "settings": {"vlan": 5}}
 *   {"ok": false, "error": -22, "reason": "a number from 0 to 4094 is wanted"}
 */
#ifndef SWITCHD_ORDERS_H
#define SWITCHD_ORDERS_H

#include "switchd/registry.h"

/* A line without its newline; the answer's line with one, for the caller to free, or NULL. */
char *orders_answer(struct registry *registry, const char *line, size_t length);

#endif
