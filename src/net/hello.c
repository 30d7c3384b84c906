/*
 * hello:   "PTH1", card u32, has_mac u32, mac 6, 2 of zeros, switch 64, partition 64
 * welcome: "PTW1", error u32, mac 6, 2 of zeros, reason 256
 * Numbers are little-endian.
 */
#include "net/hello.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum {
    HELLO_CARD = 4,
    HELLO_HAS_MAC = 8,
    HELLO_MAC = 12,
    HELLO_SWITCH = 20,
    HELLO_PARTITION = HELLO_SWITCH + HELLO_NAME_SIZE,
    WELCOME_ERROR = 4,
    WELCOME_MAC = 8,
    WELCOME_REASON = 16,
    MOST_ERRNO = 4095,
};
_Static_assert(HELLO_PARTITION + HELLO_NAME_SIZE == HELLO_SIZE, "fields");
_Static_assert(WELCOME_REASON + sizeof(struct reason) == WELCOME_SIZE, "fields");

static const char hello_magic[] = "PTH1";
static const char welcome_magic[] = "PTW1";
enum { MAGIC_LENGTH = 4 };

void net_hello_encode(const struct net_hello *hello, uint8_t ret[HELLO_SIZE])
{
    memset(ret, 0, HELLO_SIZE);
    memcpy(ret, hello_magic, MAGIC_LENGTH);
    put_le32(ret + HELLO_CARD, hello->card);
    put_le32(ret + HELLO_HAS_MAC, hello->has_mac);
    memcpy(ret + HELLO_MAC, hello->mac, NET_MAC_SIZE);
    memcpy(ret + HELLO_SWITCH, hello->switch_name, strnlen(hello->switch_name, HELLO_NAME_SIZE));
    memcpy(ret + HELLO_PARTITION, hello->partition, strnlen(hello->partition, HELLO_NAME_SIZE));
}

void net_welcome_encode(const struct net_welcome *welcome, uint8_t ret[WELCOME_SIZE])
{
    size_t length = strnlen(welcome->reason.text, sizeof(welcome->reason.text) - 1);

    memset(ret, 0, WELCOME_SIZE);
    memcpy(ret, welcome_magic, MAGIC_LENGTH);
    put_le32(ret + WELCOME_ERROR, (uint32_t)-welcome->error);
    memcpy(ret + WELCOME_MAC, welcome->mac, NET_MAC_SIZE);
    memcpy(ret + WELCOME_REASON, welcome->reason.text, length);
}

static bool take_name(const uint8_t *bytes, char ret[HELLO_NAME_SIZE])
{
    memcpy(ret, bytes, HELLO_NAME_SIZE);
    return ret[0] != '\0' && memchr(ret, '\0', HELLO_NAME_SIZE) != NULL;
}

int net_hello_decode(const uint8_t *bytes, size_t length, struct net_hello *ret)
{
    if (length != HELLO_SIZE || memcmp(bytes, hello_magic, MAGIC_LENGTH) != 0)
        return -EINVAL;
    *ret = (struct net_hello){.card = get_le32(bytes + HELLO_CARD),
                              .has_mac = get_le32(bytes + HELLO_HAS_MAC) == 1};
    memcpy(ret->mac, bytes + HELLO_MAC, NET_MAC_SIZE);
    bool good = take_name(bytes + HELLO_SWITCH, ret->switch_name) &&
                take_name(bytes + HELLO_PARTITION, ret->partition);
    return good && ret->card <= HELLO_MOST_CARD && (ret->mac[0] & 1) == 0 &&
                   get_le32(bytes + HELLO_HAS_MAC) <= 1
               ? 0
               : -EINVAL;
}

int net_welcome_decode(const uint8_t *bytes, size_t length, struct net_welcome *ret)
{
    if (length != WELCOME_SIZE || memcmp(bytes, welcome_magic, MAGIC_LENGTH) != 0)
        return -EINVAL;
    uint32_t error = get_le32(bytes + WELCOME_ERROR);
    *ret = (struct net_welcome){.error = -(int)(error & MOST_ERRNO)};
    memcpy(ret->mac, bytes + WELCOME_MAC, NET_MAC_SIZE);
    memcpy(ret->reason.text, bytes + WELCOME_REASON, sizeof(ret->reason.text));
    return error <= MOST_ERRNO && (ret->mac[0] & 1) == 0 &&
                   memchr(ret->reason.text, '\0', sizeof(ret->reason.text)) != NULL
               ? 0
               : -EINVAL;
}
