/* Services as people and programs write them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "worker/link.h"

/* Bytes of a GUID on the wire in the order of its text: the first three fields are little-endian.
 */
static const uint8_t guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

static int digit_of(char letter)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = letter != '\0' ? strchr(digits, letter | ('A' ^ 'a')) : NULL;

    if (letter >= '0' && letter <= '9')
        return letter - '0';
    return at != NULL && at - digits >= 10 ? (int)(at - digits) : -1;
}

static bool is_dash_before(unsigned byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

static bool parse_guid(const char *text, uint8_t ret[16])
{
    for (unsigned i = 0; i < 16; i++) {
        if (is_dash_before(i) && *text++ != '-')
            return false;
        int high = digit_of(text[0]);
        int low = high >= 0 ? digit_of(text[1]) : -1;
        if (low < 0)
            return false;
        ret[guid_order[i]] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}

static bool parse_port(const char *text, uint8_t ret[16])
{
    uint64_t port = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && at - text < 10; at++)
        port = port * 10 + (uint64_t)(*at - '0');
    if (at == text || *at != '\0' || port > UINT32_MAX)
        return false;
    hvsock_service_of_port((uint32_t)port, ret);
    return true;
}

bool link_parse(const char *line, uint8_t ret_service[16])
{
    static const char verb[] = "CONNECT ";

    if (strncmp(line, verb, sizeof(verb) - 1) != 0)
        return false;
    line += sizeof(verb) - 1;
    return parse_port(line, ret_service) || parse_guid(line, ret_service);
}

void link_guid_text(const uint8_t guid[16], char ret[LINK_GUID_TEXT])
{
    char *at = ret;

    for (unsigned i = 0; i < 16; i++)
        at += snprintf(at, 4, "%s%02x", is_dash_before(i) ? "-" : "", guid[guid_order[i]]);
}

void link_service_text(const uint8_t service[16], char ret[LINK_SERVICE_TEXT])
{
    uint32_t port = 0;

    if (hvsock_port_of_service(service, &port))
        (void)snprintf(ret, LINK_SERVICE_TEXT, "%u", port);
    else
        link_guid_text(service, ret);
}
