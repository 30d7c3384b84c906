/*
 * A port that loses frames: for trying what a guest makes of a bad line. It has another port, whose
 * frames of both directions pass through it.
 */
#ifndef NET_LOSSY_H
#define NET_LOSSY_H

#include "net/port.h"

/* Of a thousand frames `per_mille` are lost, each way. `behind` becomes the port's own. */
int lossy_create(struct net_port *behind, unsigned per_mille, struct net_port **ret);

#endif
