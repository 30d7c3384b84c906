/* What passt means by the line that it ends with. */
#ifndef NET_PASST_END_H
#define NET_PASST_END_H

#include <stdbool.h>

#include "base/reason.h"

/* A port of the host that it could not have, as its option says it: "127.0.0.1/2222:22". */
struct passt_port {
    bool udp;
    char address[48]; /* empty: any */
    unsigned port;
};

/* False: the line is about something else. */
bool passt_end_parse(const char *line, struct passt_port *ret);
/* Why, as far as trying tells; else the line as it is. */
void passt_end_tell(const char *line, struct reason *reason);

#endif
