#include "switchd/notation.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAPPED_BITS = 96, MOST_TEXT = 64, MOST_VLAN = FRAME_VLANS - 1 };

/* ---- MAC addresses ---- */

bool notation_parse_mac(const char *text, uint8_t ret[FRAME_MAC_SIZE])
{
    enum { PART = 3 };

    if (strlen(text) != FRAME_MAC_SIZE * PART - 1)
        return false;
    for (unsigned i = 0; i < FRAME_MAC_SIZE; i++, text += PART) {
        char digits[] = {text[0], text[1], '\0'};
        char end = i == FRAME_MAC_SIZE - 1 ? '\0' : ':';
        if (strspn(digits, "0123456789abcdefABCDEF") != 2 || text[2] != end)
            return false;
        ret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

void notation_mac(const uint8_t mac[FRAME_MAC_SIZE], char ret[NOTATION_MAC])
{
    (void)snprintf(ret, NOTATION_MAC, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                   mac[3], mac[4], mac[5]);
}

/* ---- addresses ---- */

/* A number alone, to `most`. */
static bool parse_number(const char *text, unsigned most, unsigned *ret)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *ret = (unsigned)value;
    return *end == '\0' && value <= most;
}

static bool parse_address(const char *text, struct frame_address *ret, unsigned *ret_bits)
{
    uint8_t ipv4[4];

    *ret_bits = 32;
    if (inet_pton(AF_INET, text, ipv4) == 1) {
        frame_map_ipv4(ipv4, ret);
        return true;
    }
    *ret_bits = ACL_PREFIX_BITS;
    return inet_pton(AF_INET6, text, ret->bytes) == 1;
}

static bool is_clear_behind(const struct acl_prefix *prefix)
{
    for (unsigned bit = prefix->length; bit < ACL_PREFIX_BITS; bit++) {
        if ((prefix->address.bytes[bit / 8] >> (7 - bit % 8) & 1) != 0)
            return false;
    }
    return true;
}

bool notation_parse_prefix(const char *text, struct acl_prefix *ret)
{
    char address[MOST_TEXT];
    unsigned bits = 0;
    unsigned length = 0;
    const char *slash = strchr(text, '/');
    size_t size = slash != NULL ? (size_t)(slash - text) : strlen(text);

    *ret = (struct acl_prefix){0};
    if (strcmp(text, "any") == 0)
        return true;
    if (size >= sizeof(address))
        return false;
    memcpy(address, text, size);
    address[size] = '\0';
    if (!parse_address(address, &ret->address, &bits))
        return false;
    length = bits;
    if (slash != NULL && !parse_number(slash + 1, bits, &length))
        return false;
    ret->length = (uint8_t)(length + ACL_PREFIX_BITS - bits);
    return is_clear_behind(ret);
}

static bool is_mapped(const struct frame_address *address)
{
    static const uint8_t start[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address->bytes, start, sizeof(start)) == 0;
}

void notation_address(const struct frame_address *address, char ret[NOTATION_PREFIX])
{
    bool mapped = is_mapped(address);

    if (inet_ntop(mapped ? AF_INET : AF_INET6, address->bytes + (mapped ? 12 : 0), ret,
                  NOTATION_PREFIX) == NULL)
        ret[0] = '\0';
}

void notation_prefix(const struct acl_prefix *prefix, char ret[NOTATION_PREFIX])
{
    bool mapped = prefix->length >= MAPPED_BITS && is_mapped(&prefix->address);
    unsigned length = mapped ? prefix->length - MAPPED_BITS : prefix->length;
    char address[NOTATION_PREFIX];

    notation_address(&prefix->address, address);
    if (prefix->length == 0)
        (void)snprintf(ret, NOTATION_PREFIX, "any");
    else
        (void)snprintf(ret, NOTATION_PREFIX, "%.46s/%u", address, length);
}

/* ---- VLANs ---- */

static bool add_range(char *word, uint64_t *set)
{
    char *dash = strchr(word, '-');
    unsigned first = 0;
    unsigned last = 0;

    if (dash != NULL)
        *dash = '\0';
    if (!parse_number(word, MOST_VLAN, &first) ||
        !parse_number(dash != NULL ? dash + 1 : word, MOST_VLAN, &last) || first == 0 ||
        first > last)
        return false;
    for (unsigned vlan = first; vlan <= last; vlan++)
        set[vlan / 64] |= UINT64_C(1) << vlan % 64;
    return true;
}

bool notation_parse_vlans(const char *text, uint64_t ret[64])
{
    char words[NOTATION_VLANS];
    char *rest = words;

    memset(ret, 0, 64 * sizeof(*ret));
    if (strlen(text) >= sizeof(words))
        return false;
    (void)snprintf(words, sizeof(words), "%s", strcmp(text, "all") == 0 ? "1-4094" : text);
    while (rest != NULL && *words != '\0') {
        if (!add_range(strsep(&rest, ","), ret))
            return false;
    }
    return true;
}

static bool has(const uint64_t *set, unsigned vlan)
{
    return vlan <= MOST_VLAN && (set[vlan / 64] >> vlan % 64 & 1) != 0;
}

void notation_vlans(const uint64_t set[64], char ret[NOTATION_VLANS])
{
    enum { MOST_WORD = 16 };
    size_t used = 0;

    ret[0] = '\0';
    for (unsigned vlan = 1; vlan <= MOST_VLAN; vlan++) {
        unsigned last = vlan;
        char range[MOST_WORD];
        if (!has(set, vlan))
            continue;
        while (has(set, last + 1))
            last++;
        if (last > vlan)
            (void)snprintf(range, sizeof(range), "%u-%u", vlan, last);
        else
            (void)snprintf(range, sizeof(range), "%u", vlan);
        bool room = used + 2 * MOST_WORD < NOTATION_VLANS;
        used += (size_t)snprintf(ret + used, NOTATION_VLANS - used, "%s%s", used > 0 ? "," : "",
                                 room ? range : "...");
        if (!room)
            return;
        vlan = last;
    }
}
