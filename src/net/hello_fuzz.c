/* Any message: what decodes, encoded again, decodes as the same; nothing is read beyond its end. */
#include "net/hello.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_hello(const uint8_t *bytes, size_t size)
{
    struct net_hello first;
    struct net_hello second;
    uint8_t again[HELLO_SIZE];

    if (net_hello_decode(bytes, size, &first) < 0)
        return;
    net_hello_encode(&first, again);
    if (net_hello_decode(again, sizeof(again), &second) < 0 || first.card != second.card ||
        strcmp(first.partition, second.partition) != 0 ||
        strcmp(first.switch_name, second.switch_name) != 0 || first.has_mac != second.has_mac ||
        memcmp(first.mac, second.mac, sizeof(first.mac)) != 0)
        abort();
}

static void check_welcome(const uint8_t *bytes, size_t size)
{
    struct net_welcome first;
    struct net_welcome second;
    uint8_t again[WELCOME_SIZE];

    if (net_welcome_decode(bytes, size, &first) < 0)
        return;
    net_welcome_encode(&first, again);
    if (net_welcome_decode(again, sizeof(again), &second) < 0 || first.error != second.error ||
        strcmp(first.reason.text, second.reason.text) != 0 ||
        memcmp(first.mac, second.mac, sizeof(first.mac)) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    check_hello(bytes, size);
    check_welcome(bytes, size);
    return 0;
}
