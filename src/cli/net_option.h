/* The value of --net: "KIND[:WHERE][,mac=…][,mtu=N][,vlan=N][,forward=tcp:HOST:GUEST][,loss=N]". */
#ifndef CLI_NET_OPTION_H
#define CLI_NET_OPTION_H

#include "worker/worker.h"

/*
 * Cut `words`, which must outlive `ret`, at its commas and fill `ret`; `none` is set for "none".
 * False with `reason` filled: what is wrong with it.
 */
bool net_option_parse(char *words, struct worker_card *ret, bool *none, struct reason *reason);

#endif
