#include "cli/net_option.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/socket.h"

enum { LEAST_MTU = 576, MOST_MTU = 9000, MOST_VLAN = 4094, MOST_PORT = 65535 };

static bool refuse(struct reason *reason, const char *word, const char *why)
{
    reason_fill(reason, "'%s': %s", word, why);
    return false;
}

static bool parse_number(const char *text, unsigned least, unsigned most, unsigned *ret)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *ret = (unsigned)value;
    return *end == '\0' && value >= least && value <= most;
}

/* A card's own address: six bytes, not of a group. */
static bool parse_mac(const char *text, struct worker_card *ret)
{
    enum { BYTES = 6, PART = 3 };

    if (strlen(text) != BYTES * PART - 1)
        return false;
    for (unsigned i = 0; i < BYTES; i++, text += PART) {
        char digits[] = {text[0], text[1], '\0'};
        if (strspn(digits, "0123456789abcdefABCDEF") != 2 || (text[2] != ':' && i != BYTES - 1))
            return false;
        ret->mac[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    ret->mac_given = true;
    return (ret->mac[0] & 1) == 0;
}

/* "tcp:2222:22" becomes what passt wants: "2222:22"; an address may stand before: "::1/2222:22". */
static bool parse_forward(char *text, struct worker_card *ret)
{
    unsigned number = 0;

    if (ret->forward_count == WORKER_MAX_FORWARDS)
        return false;
    struct worker_forward *forward = &ret->forwards[ret->forward_count];
    forward->udp = strncmp(text, "udp:", 4) == 0;
    if (!forward->udp && strncmp(text, "tcp:", 4) != 0)
        return false;
    forward->ports = text + 4;
    char *guest = strrchr(forward->ports, ':');
    if (guest == NULL || !parse_number(guest + 1, 1, MOST_PORT, &number))
        return false;
    const char *host = strrchr(forward->ports, '/');
    host = host != NULL ? host + 1 : forward->ports;
    char digits[8] = "";
    if (guest <= host || (size_t)(guest - host) >= sizeof(digits))
        return false;
    memcpy(digits, host, (size_t)(guest - host));
    if (!parse_number(digits, 1, MOST_PORT, &number))
        return false;
    ret->forward_count++;
    return true;
}

/* "0.5" percent is 5 of a thousand. */
static bool parse_loss(const char *text, unsigned *ret)
{
    char *end = NULL;
    double percent = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end != '\0' || percent > 100)
        return false;
    *ret = (unsigned)(percent * 10 + 0.5);
    return true;
}

static bool parse_word(char *word, struct worker_card *ret, struct reason *reason)
{
    if (strncmp(word, "mac=", 4) == 0)
        return parse_mac(word + 4, ret) ||
               refuse(reason, word, "an address is wanted, as in mac=00:15:5d:01:02:03");
    if (strncmp(word, "mtu=", 4) == 0)
        return parse_number(word + 4, LEAST_MTU, MOST_MTU, &ret->mtu) ||
               refuse(reason, word, "a number from 576 to 9000 is wanted");
    if (strncmp(word, "vlan=", 5) == 0)
        return parse_number(word + 5, 1, MOST_VLAN, &ret->vlan) ||
               refuse(reason, word, "a number from 1 to 4094 is wanted");
    if (strncmp(word, "loss=", 5) == 0)
        return parse_loss(word + 5, &ret->loss) ||
               refuse(reason, word, "a percentage of frames is wanted, as in loss=0.5");
    if (strncmp(word, "forward=", 8) != 0)
        return refuse(reason, word, "the words behind are mac=, mtu=, vlan=, forward= and loss=");
    if (ret->kind != WORKER_CARD_NAT)
        return refuse(reason, word, "ports are forwarded by nat only");
    return parse_forward(word + 8, ret) ||
           refuse(reason, word, "a protocol and two ports are wanted, as in forward=tcp:2222:22");
}

static bool parse_where(char *text, struct worker_card *ret)
{
    unsigned fd = 0;

    ret->name = text;
    if (strncmp(text, "fd=", 3) != 0)
        return text[0] != '\0';
    if (!parse_number(text + 3, 3, 1 << 20, &fd))
        return false;
    ret->fd = (int)fd;
    return true;
}

static bool parse_kind(char *word, struct worker_card *ret, bool *none, struct reason *reason)
{
    *none = strcmp(word, "none") == 0;
    *ret = (struct worker_card){.kind = WORKER_CARD_NAT, .fd = -1};
    if (*none || strcmp(word, "nat") == 0)
        return true;
    if (strncmp(word, "tap:", 4) == 0) {
        ret->kind = WORKER_CARD_TAP;
        return parse_where(word + 4, ret) ||
               refuse(reason, word, "a device or a descriptor is wanted: tap:NAME, tap:fd=N");
    }
    if (strncmp(word, "socket:", 7) == 0) {
        ret->kind = WORKER_CARD_SOCKET;
        return parse_where(word + 7, ret) ||
               refuse(reason, word, "a path or a descriptor is wanted: socket:PATH, socket:fd=N");
    }
    if (strncmp(word, "switch=", 7) == 0) {
        ret->kind = WORKER_CARD_SWITCH;
        ret->name = word + 7;
        return control_name_is_valid(ret->name) ||
               refuse(reason, word, "the name of a switch is wanted: switch=NAME");
    }
    return refuse(reason, word, "nat, switch=NAME, tap:NAME, socket:PATH or none is wanted");
}

bool net_option_parse(char *words, struct worker_card *ret, bool *none, struct reason *reason)
{
    char *rest = words;

    if (!parse_kind(strsep(&rest, ","), ret, none, reason))
        return false;
    if (*none && rest != NULL)
        return refuse(reason, rest, "no card has no settings");
    while (rest != NULL) {
        if (!parse_word(strsep(&rest, ","), ret, reason))
            return false;
    }
    return true;
}
