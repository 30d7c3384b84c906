/* Users and groups, out of /etc/passwd and /etc/group: a static program has no other way to them.
 */
#ifndef AGENT_USERS_H
#define AGENT_USERS_H

#include <sys/types.h>

#include "base/reason.h"

enum { USERS_MOST_GROUPS = 64, USERS_TEXT = 256 };

struct user {
    uid_t uid;
    gid_t gid;
    char name[USERS_TEXT], home[USERS_TEXT], shell[USERS_TEXT];
    gid_t groups[USERS_MOST_GROUPS];
    unsigned group_count;
};

/* NAME, NAME:GROUP or numbers in their place; "" is root. Files below `root`, "" for the usual. */
int users_find(const char *words, const char *root, struct user *ret, struct reason *reason);

#endif
