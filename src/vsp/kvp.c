/*
 * Key-value exchange (kvp.h). The layout of messages is that of Linux' include/uapi/linux/hyperv.h,
 * the guest's side its hv_kvp.c, which answers the negotiation only when its daemon runs.
 */
#include "vsp/kvp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "disk/utf16.h"

/* u8 operation, u8 pool, then at 4 what the operation needs; but addresses begin at 2. */
enum { AT_OPERATION = 0, AT_POOL = 1, AT_EXCHANGE = 4, AT_INDEX = 4, AT_ITEM = 8, BODY = 7430 };
/* A pair: u32 type, u32 size of the key, u32 size of the value, both. Sizes are bytes with a zero.
 */
enum { PAIR_TYPE = 0, PAIR_KEY_SIZE = 4, PAIR_VALUE_SIZE = 8, PAIR_KEY = 12, PAIR_VALUE = 524 };
enum { KEY_BYTES = 512, VALUE_BYTES = 2048, TYPE_TEXT = 1 };
enum { DELETE_SIZE = 4, DELETE_KEY = 8 };
enum {
    IP_ADAPTER = 2,
    IP_FAMILY = 258,
    IP_DHCP = 259,
    IP_ADDRESSES = 260,
    IP_MASKS = 2308,
    IP_GATEWAYS = 4356,
    IP_SERVERS = 5380,
    ADAPTER_BYTES = 256,
    GATEWAY_BYTES = 1024,
};
enum { FAMILY_IPV4 = 1, FAMILY_IPV6 = 2 };

#define TIMEOUT_NS (UINT64_C(25) * NS_PER_SECOND)

struct job {
    struct job *next;
    kvp_answered answered;
    void *owner;
    struct kvp_request request;
};

struct kvp {
    struct ic *ic;
    struct job *first; /* asked; those behind it wait */
    uint8_t body[BODY];
};

/* ---- the message ---- */

/* With its zero; the size, or -errno. */
static int put_text(const char *text, uint8_t *to, size_t size)
{
    int length = utf16_encode(text, to, size - 2);

    if (length < 0)
        return length;
    put_le16(to + length, 0);
    return length + 2;
}

static int put_pair(const struct kvp_request *request, uint8_t *pair)
{
    int key = put_text(request->key, pair + PAIR_KEY, KEY_BYTES);
    int value = put_text(request->value, pair + PAIR_VALUE, VALUE_BYTES);

    if (key < 0 || value < 0)
        return key < 0 ? key : value;
    put_le32(pair + PAIR_TYPE, TYPE_TEXT);
    put_le32(pair + PAIR_KEY_SIZE, (uint32_t)key);
    put_le32(pair + PAIR_VALUE_SIZE, (uint32_t)value);
    return 0;
}

static int put_delete(const struct kvp_request *request, uint8_t *body)
{
    int key = put_text(request->key, body + DELETE_KEY, KEY_BYTES);

    if (key >= 0)
        put_le32(body + DELETE_SIZE, (uint32_t)key);
    return key < 0 ? key : 0;
}

static const struct {
    size_t offset, at, size;
} ip_texts[] = {
    {offsetof(struct kvp_ip, adapter), IP_ADAPTER, ADAPTER_BYTES},
    {offsetof(struct kvp_ip, addresses), IP_ADDRESSES, VALUE_BYTES},
    {offsetof(struct kvp_ip, masks), IP_MASKS, VALUE_BYTES},
    {offsetof(struct kvp_ip, gateways), IP_GATEWAYS, GATEWAY_BYTES},
    {offsetof(struct kvp_ip, servers), IP_SERVERS, VALUE_BYTES},
};
enum { IP_TEXTS = sizeof(ip_texts) / sizeof(ip_texts[0]) };

static int put_ip(const struct kvp_ip *ip, uint8_t *body)
{
    int error = 0;
    bool v4 = strchr(ip->addresses, '.') != NULL;
    bool v6 = strchr(ip->addresses, ':') != NULL;

    for (unsigned i = 0; error >= 0 && i < IP_TEXTS; i++)
        error = put_text((const char *)ip + ip_texts[i].offset, body + ip_texts[i].at,
                         ip_texts[i].size);
    body[IP_FAMILY] = (uint8_t)((v4 ? FAMILY_IPV4 : 0) | (v6 ? FAMILY_IPV6 : 0));
    body[IP_DHCP] = ip->dhcp;
    return error < 0 ? error : 0;
}

static int encode(const struct kvp_request *request, uint8_t body[BODY])
{
    memset(body, 0, BODY);
    body[AT_OPERATION] = (uint8_t)request->operation;
    body[AT_POOL] = (uint8_t)request->pool;
    switch (request->operation) {
    case KVP_GET:
    case KVP_SET:
        return put_pair(request, body + AT_EXCHANGE);
    case KVP_DELETE:
        return put_delete(request, body);
    case KVP_ENUMERATE:
        put_le32(body + AT_INDEX, request->index);
        return 0;
    case KVP_GET_IP:
    case KVP_SET_IP:
        break;
    }
    return put_ip(&request->ip, body);
}

/* The guest's sizes are not believed: a text ends at its zero, or with its field. */
static void take_pair(const uint8_t *pair, bool with_key, struct kvp_request *ret)
{
    if (with_key)
        utf16_decode(pair + PAIR_KEY, KEY_BYTES, ret->key, sizeof(ret->key));
    utf16_decode(pair + PAIR_VALUE, VALUE_BYTES, ret->value, sizeof(ret->value));
}

static bool decode(const uint8_t *body, size_t length, struct kvp_request *ret)
{
    if (length < BODY)
        return false;
    switch (ret->operation) {
    case KVP_GET:
        take_pair(body + AT_EXCHANGE, false, ret);
        break;
    case KVP_ENUMERATE:
        take_pair(body + AT_ITEM, true, ret);
        break;
    case KVP_GET_IP:
        ret->ip.dhcp = body[IP_DHCP] != 0;
        for (unsigned i = 1; i < IP_TEXTS; i++)
            utf16_decode(body + ip_texts[i].at, ip_texts[i].size,
                         (char *)&ret->ip + ip_texts[i].offset, KVP_VALUE_SIZE);
        break;
    case KVP_SET:
    case KVP_DELETE:
    case KVP_SET_IP:
        break;
    }
    return true;
}

/* ---- jobs ---- */

static void ask_first(struct kvp *kvp)
{
    if (kvp->first == NULL)
        return;
    /* It was encoded once before, to see whether it can be. */
    (void)encode(&kvp->first->request, kvp->body);
    (void)ic_request(kvp->ic, kvp->body, BODY, TIMEOUT_NS);
}

/* End the first, and ask the next; the caller may add others from within. */
static void end_first(struct kvp *kvp, int error, const char *why)
{
    struct job *job = kvp->first;
    struct reason reason = {""};

    if (job == NULL)
        return;
    kvp->first = job->next;
    reason_fill(&reason, "%s", why);
    ask_first(kvp);
    job->answered(job->owner, error, &job->request, &reason);
    free(job);
}

static void answered(void *owner, uint32_t status, const uint8_t *body, size_t length)
{
    struct kvp *kvp = owner;

    if (kvp->first == NULL)
        return;
    if (status == (uint32_t)IC_NO_MORE)
        end_first(kvp, -ENOENT, "the guest has no such key");
    else if (status != IC_OK)
        end_first(kvp, -EIO, "the guest could not do it");
    else if (!decode(body, length, &kvp->first->request))
        end_first(kvp, -EIO, "the guest's answer is cut short");
    else
        end_first(kvp, 0, "");
}

static void silent(void *owner)
{
    end_first(owner, -EAGAIN, "the guest does not answer: is hv_kvp_daemon running there?");
}

static void gone(void *owner)
{
    struct kvp *kvp = owner;
    struct job *job = kvp->first;
    struct reason reason = {""};

    kvp->first = NULL;
    reason_fill(&reason, "the guest closed the key-value exchange");
    while (job != NULL) {
        struct job *next = job->next;
        job->answered(job->owner, -EIO, &job->request, &reason);
        free(job);
        job = next;
    }
}

static const struct ic_kind kind = {
    .name = "kvp",
    .helper = "hv_kvp_daemon",
    /* a9a0f4e7-5a45-4d96-b827-8a841e8c03e6 */
    .class_id = {0xe7, 0xf4, 0xa0, 0xa9, 0x45, 0x5a, 0x96, 0x4d, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c,
                 0x03, 0xe6},
    .type = 2,
    .version_count = 3,
    .versions = {IC_VERSION(4, 0), IC_VERSION(3, 0), IC_VERSION(1, 0)},
    .gone = gone,
    .answered = answered,
    .silent = silent,
};

int kvp_create(const struct ic_host *host, struct kvp **ret)
{
    struct kvp *kvp = calloc(1, sizeof(*kvp));

    if (kvp == NULL)
        return -ENOMEM;
    int error = ic_create(host, &kind, kvp, &kvp->ic);
    if (error < 0)
        free(kvp);
    else
        *ret = kvp;
    return error;
}

void kvp_destroy(struct kvp *kvp)
{
    if (kvp == NULL)
        return;
    ic_destroy(kvp->ic);
    while (kvp->first != NULL) {
        struct job *job = kvp->first;
        kvp->first = job->next;
        free(job);
    }
    free(kvp);
}

struct ic *kvp_ic(struct kvp *kvp)
{
    return kvp->ic;
}

/* Where the next job goes; NULL: there are too many. */
static struct job **find_end(struct kvp *kvp)
{
    struct job **end = &kvp->first;

    for (unsigned i = 0; i < KVP_MOST_WAITING; i++, end = &(*end)->next) {
        if (*end == NULL)
            return end;
    }
    return NULL;
}

int kvp_ask(struct kvp *kvp, const struct kvp_request *request, kvp_answered answered_fn,
            void *owner, struct reason *reason)
{
    if (!ic_is_ready(kvp->ic))
        return ic_refuse(kvp->ic, reason);
    struct job **end = find_end(kvp);
    if (end == NULL)
        return reason_set(reason, -EBUSY, "too many requests wait for the guest");
    int error = encode(request, kvp->body);
    if (error == -EILSEQ)
        return reason_set(reason, -EINVAL, "a text is not UTF-8");
    if (error < 0)
        return reason_set(reason, -EINVAL, "a key has at most 255 characters, a value 1023");
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    *job = (struct job){.answered = answered_fn, .owner = owner, .request = *request};
    *end = job;
    if (end == &kvp->first)
        ask_first(kvp);
    return 0;
}
