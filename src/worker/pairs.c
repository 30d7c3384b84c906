/* The verbs of the key-value exchange (verbs.h). */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vsp/integration.h"
#include "worker/verbs.h"

/* A guest that never comes to the end of a pool is not listened to for ever. */
enum { MOST_PAIRS = 1000 };

static const char *const pools[KVP_POOL_COUNT] = {"external", "guest", "auto", "auto-external",
                                                  "auto-internal"};

/* NULL: refused. */
static struct kvp *find_kvp(const struct verbs *verbs, struct serve_call *call)
{
    const struct integration *services = machine_integration(verbs->machine);

    if (services != NULL)
        return services->kvp;
    serve_refuse(call, -EOPNOTSUPP, "a partition without Hyper-V has no integration services");
    return NULL;
}

static bool find_pool(const struct control_request *request, enum kvp_pool *ret,
                      struct serve_call *call)
{
    for (unsigned i = 0; i < KVP_POOL_COUNT; i++) {
        if (strcmp(pools[i], request->pool) == 0) {
            *ret = (enum kvp_pool)i;
            return true;
        }
    }
    serve_refuse(call, -EINVAL, "no pool '%s'", request->pool);
    return false;
}

static void answer_with(struct serve_call *call, json_t *result)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_RESULT, .result = result};

    if (result == NULL)
        serve_refuse(call, -ENOMEM, "out of memory");
    else
        serve_answer(call, &reply);
    control_reply_release(&reply);
}

/* ---- one pair ---- */

static void pair_answered(void *owner, int error, const struct kvp_request *answer,
                          const struct reason *reason)
{
    struct serve_call *call = owner;

    (void)answer;
    if (error < 0)
        serve_refuse(call, error, "%s", reason->text);
    else
        serve_confirm(call);
}

/* Requests are large. */
static struct kvp_request *new_request(struct serve_call *call)
{
    struct kvp_request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        serve_refuse(call, -ENOMEM, "out of memory");
    return request;
}

static void ask(struct kvp *kvp, struct kvp_request *wanted, kvp_answered answered,
                struct serve_call *call)
{
    struct reason reason = {""};
    int error = kvp_ask(kvp, wanted, answered, call, &reason);

    free(wanted);
    if (error < 0)
        serve_refuse(call, error, "%s", reason.text);
}

void perform_kvp(void *owner, const struct control_request *request, struct serve_call *call)
{
    struct kvp *kvp = find_kvp(owner, call);
    enum kvp_pool pool = KVP_POOL_COUNT;

    if (kvp == NULL || !find_pool(request, &pool, call))
        return;
    /* Linux' daemon copies no byte of the value when it is asked for a key. */
    if (request->verb == CONTROL_KVP_GET) {
        perform_kvp_list(owner, request, call);
        return;
    }
    struct kvp_request *wanted = new_request(call);
    if (wanted == NULL)
        return;
    wanted->operation = request->verb == CONTROL_KVP_SET ? KVP_SET : KVP_DELETE;
    wanted->pool = pool;
    (void)snprintf(wanted->key, sizeof(wanted->key), "%s", request->key);
    (void)snprintf(wanted->value, sizeof(wanted->value), "%s", request->value);
    ask(kvp, wanted, pair_answered, call);
}

/* ---- all of a pool ---- */

struct listing {
    struct kvp *kvp;
    struct serve_call *call;
    json_t *array;
    char *key; /* NULL: all; else the one that is wanted */
    struct kvp_request request;
};

static void free_listing(struct listing *listing)
{
    json_decref(listing->array);
    free(listing->key);
    free(listing);
}

static void end_listing(struct listing *listing)
{
    if (listing->key != NULL)
        serve_refuse(listing->call, -ENOENT, "the guest has no such key");
    else
        answer_with(listing->call, json_incref(listing->array));
    free_listing(listing);
}

static void ask_next(struct listing *listing);

static void item_answered(void *owner, int error, const struct kvp_request *answer,
                          const struct reason *reason)
{
    struct listing *listing = owner;

    if (error == -ENOENT) {
        end_listing(listing);
        return;
    }
    if (error < 0) {
        serve_refuse(listing->call, error, "%s", reason->text);
        free_listing(listing);
        return;
    }
    if (listing->key != NULL && strcmp(listing->key, answer->key) == 0) {
        answer_with(listing->call, json_pack("{s:s}", "value", answer->value));
        free_listing(listing);
        return;
    }
    (void)json_array_append_new(
        listing->array, json_pack("{s:s, s:s}", "key", answer->key, "value", answer->value));
    if (++listing->request.index == MOST_PAIRS)
        end_listing(listing);
    else
        ask_next(listing);
}

static void ask_next(struct listing *listing)
{
    struct reason reason = {""};
    int error = kvp_ask(listing->kvp, &listing->request, item_answered, listing, &reason);

    if (error < 0) {
        serve_refuse(listing->call, error, "%s", reason.text);
        free_listing(listing);
    }
}

void perform_kvp_list(void *owner, const struct control_request *request, struct serve_call *call)
{
    struct kvp *kvp = find_kvp(owner, call);
    enum kvp_pool pool = KVP_POOL_COUNT;

    if (kvp == NULL || !find_pool(request, &pool, call))
        return;
    struct listing *listing = calloc(1, sizeof(*listing));
    if (listing == NULL) {
        serve_refuse(call, -ENOMEM, "out of memory");
        return;
    }
    listing->kvp = kvp;
    listing->call = call;
    listing->array = json_array();
    listing->key = request->key[0] != '\0' ? strdup(request->key) : NULL;
    listing->request.operation = KVP_ENUMERATE;
    listing->request.pool = pool;
    ask_next(listing);
}

/* ---- addresses ---- */

static void ip_answered(void *owner, int error, const struct kvp_request *answer,
                        const struct reason *reason)
{
    const struct kvp_ip *ip = &answer->ip;

    if (error < 0 || answer->operation == KVP_SET_IP)
        pair_answered(owner, error, answer, reason);
    else
        answer_with(owner, json_pack("{s:b, s:s, s:s, s:s, s:s}", "dhcp", (int)ip->dhcp,
                                     "addresses", ip->addresses, "masks", ip->masks, "gateways",
                                     ip->gateways, "servers", ip->servers));
}

void perform_ip(void *owner, const struct control_request *request, struct serve_call *call)
{
    struct kvp *kvp = find_kvp(owner, call);
    struct kvp_request *wanted = kvp != NULL ? new_request(call) : NULL;

    if (wanted == NULL)
        return;
    struct kvp_ip *ip = &wanted->ip;
    wanted->operation = request->verb == CONTROL_IP_GET ? KVP_GET_IP : KVP_SET_IP;
    ip->dhcp = request->dhcp;
    (void)snprintf(ip->adapter, sizeof(ip->adapter), "%s", request->adapter);
    (void)snprintf(ip->addresses, sizeof(ip->addresses), "%s", request->addresses);
    (void)snprintf(ip->masks, sizeof(ip->masks), "%s", request->masks);
    (void)snprintf(ip->gateways, sizeof(ip->gateways), "%s", request->gateways);
    (void)snprintf(ip->servers, sizeof(ip->servers), "%s", request->servers);
    ask(kvp, wanted, ip_answered, call);
}
