/*
 * Key-value exchange: pairs of texts in pools that hv_kvp_daemon keeps in the guest, and addresses
 * of its network cards. One request at a time goes to the guest, others wait. Loop thread.
 */
#ifndef VSP_KVP_H
#define VSP_KVP_H

#include "vsp/ic.h"

struct kvp;

enum kvp_operation {
    KVP_GET,
    KVP_SET,
    KVP_DELETE,
    KVP_ENUMERATE,
    KVP_GET_IP,
    KVP_SET_IP,
};

enum kvp_pool {
    KVP_POOL_EXTERNAL,      /* the host writes */
    KVP_POOL_GUEST,         /* the guest writes */
    KVP_POOL_AUTO,          /* what the guest says of itself; read by KVP_ENUMERATE */
    KVP_POOL_AUTO_EXTERNAL, /* what the host says of itself */
    KVP_POOL_AUTO_INTERNAL,
    KVP_POOL_COUNT,
};

enum { KVP_KEY_SIZE = 1024, KVP_VALUE_SIZE = 4096, KVP_MOST_WAITING = 32 };

/* Lists have semicolons between. UTF-8. */
struct kvp_ip {
    char adapter[256]; /* to read: the card's address; to write: its GUID, in braces */
    bool dhcp;
    char addresses[KVP_VALUE_SIZE], masks[KVP_VALUE_SIZE], gateways[KVP_VALUE_SIZE],
        servers[KVP_VALUE_SIZE];
};

struct kvp_request {
    enum kvp_operation operation;
    enum kvp_pool pool;
    uint32_t index; /* KVP_ENUMERATE */
    char key[KVP_KEY_SIZE], value[KVP_VALUE_SIZE];
    struct kvp_ip ip;
};

/*
 * `answer` is the request with what the guest filled in, valid during the call. -ENOENT: no such
 * key, no more of them; else an error and why.
 */
typedef void (*kvp_answered)(void *owner, int error, const struct kvp_request *answer,
                             const struct reason *reason);

int kvp_create(const struct ic_host *host, struct kvp **ret);
/* Requests that were not answered are forgotten. NULL is accepted. */
void kvp_destroy(struct kvp *kvp);
struct ic *kvp_ic(struct kvp *kvp);
/* 0: `answered` will be called, once, not from within. The request is copied. */
int kvp_ask(struct kvp *kvp, const struct kvp_request *request, kvp_answered answered, void *owner,
            struct reason *reason);

#endif
