/* A port of the host that leads to one of a guest, as people write it. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "switchd/nat.h"
#include "switchd/nat_guests.h"

enum { MOST_TEXT = 64, MOST_PORT = 65535 };

static bool parse_port(const char *text, uint16_t *ret)
{
    char *end = NULL;

    if (text == NULL || *text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *ret = (uint16_t)value;
    return *end == '\0' && value > 0 && value <= MOST_PORT;
}

bool nat_parse_forward(const char *text, struct nat_forward *ret)
{
    char words[MOST_TEXT];
    char *rest = words;

    *ret = (struct nat_forward){0};
    if (strlen(text) >= sizeof(words))
        return false;
    memcpy(words, text, strlen(text) + 1);
    const char *protocol = strsep(&rest, ":");
    char *host = strsep(&rest, ":");
    const char *guest = strsep(&rest, ":");
    ret->udp = strcmp(protocol, "udp") == 0;
    if ((!ret->udp && strcmp(protocol, "tcp") != 0) || guest == NULL)
        return false;
    char *slash = strchr(host, '/');
    if (slash != NULL) {
        *slash = '\0';
        if (inet_pton(AF_INET, host, ret->host) != 1)
            return false;
        host = slash + 1;
    }
    return parse_port(host, &ret->host_port) && inet_pton(AF_INET, guest, ret->guest) == 1 &&
           nat_place_of(ret->guest) != 0 && parse_port(rest, &ret->guest_port);
}
