/*
 * The first message each way on a connection to a switch, before frames: a card says who it is, the
 * switch what address it has, or why it may not. Both sides are of one host; each believes nothing
 * that does not decode.
 */
#ifndef NET_HELLO_H
#define NET_HELLO_H

#include "net/port.h"

enum {
    HELLO_NAME_SIZE = 64, /* with its NUL */
    HELLO_SIZE = 148,     /* bytes of a message */
    WELCOME_SIZE = 272,
    HELLO_MOST_CARD = 63,
};

struct net_hello {
    char switch_name[HELLO_NAME_SIZE], partition[HELLO_NAME_SIZE];
    unsigned card;
    bool has_mac; /* else the switch chooses */
    uint8_t mac[NET_MAC_SIZE];
};

struct net_welcome {
    int error; /* 0, or a negative errno and a reason */
    uint8_t mac[NET_MAC_SIZE];
    struct reason reason;
};

void net_hello_encode(const struct net_hello *hello, uint8_t ret[HELLO_SIZE]);
void net_welcome_encode(const struct net_welcome *welcome, uint8_t ret[WELCOME_SIZE]);
/* -EINVAL: another length, another version, a name without an end or without a letter, an address
 * of a group. */
int net_hello_decode(const uint8_t *bytes, size_t length, struct net_hello *ret);
int net_welcome_decode(const uint8_t *bytes, size_t length, struct net_welcome *ret);

#endif
