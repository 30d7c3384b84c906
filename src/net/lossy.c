#include "net/lossy.h"

#include <errno.h>
#include <stdlib.h>

struct lossy {
    struct net_port port; /* first */
    struct net_port *behind;
    struct net_port_user user;
    unsigned per_mille;
    uint64_t state; /* of the generator: the same losses in each run */
};

static struct lossy *lossy_of(struct net_port *port)
{
    return (struct lossy *)port;
}

/* xorshift64* */
static bool is_lost(struct lossy *lossy)
{
    enum { THOUSAND = 1000 };

    lossy->state ^= lossy->state >> 12;
    lossy->state ^= lossy->state << 25;
    lossy->state ^= lossy->state >> 27;
    return (lossy->state * UINT64_C(0x2545f4914f6cdd1d) >> 32) % THOUSAND < lossy->per_mille;
}

static unsigned lossy_send(struct net_port *port, const struct net_frame *frames, unsigned count)
{
    struct lossy *lossy = lossy_of(port);

    for (unsigned i = 0; i < count; i++) {
        if (!is_lost(lossy) && lossy->behind->ops->send(lossy->behind, &frames[i], 1) == 0)
            return i;
    }
    return count;
}

static unsigned receive(void *owner, const struct net_frame *frames, unsigned count)
{
    struct lossy *lossy = owner;

    for (unsigned i = 0; i < count; i++) {
        if (!is_lost(lossy) && lossy->user.receive(lossy->user.owner, &frames[i], 1) == 0)
            return i;
    }
    return count;
}

static void writable(void *owner)
{
    const struct lossy *lossy = owner;
    lossy->user.writable(lossy->user.owner);
}

static void link(void *owner, bool up)
{
    const struct lossy *lossy = owner;
    lossy->user.link(lossy->user.owner, up);
}

static void lossy_start(struct net_port *port, const struct net_port_user *user)
{
    struct lossy *lossy = lossy_of(port);
    const struct net_port_user own = {
        .owner = lossy, .receive = receive, .writable = writable, .link = link};

    lossy->user = *user;
    lossy->behind->ops->start(lossy->behind, &own);
}

static void lossy_stop(struct net_port *port)
{
    struct net_port *behind = lossy_of(port)->behind;
    behind->ops->stop(behind);
}

static void lossy_resume(struct net_port *port)
{
    struct net_port *behind = lossy_of(port)->behind;
    behind->ops->resume(behind);
}

static void lossy_set_filter(struct net_port *port, const struct net_filter *filter)
{
    struct net_port *behind = lossy_of(port)->behind;
    behind->ops->set_filter(behind, filter);
}

static void lossy_set_offload(struct net_port *port, bool checksum, bool segmentation)
{
    struct net_port *behind = lossy_of(port)->behind;
    behind->ops->set_offload(behind, checksum, segmentation);
}

static void lossy_destroy(struct net_port *port)
{
    struct lossy *lossy = lossy_of(port);

    lossy->behind->ops->destroy(lossy->behind);
    free(lossy);
}

static const struct net_port_ops lossy_ops = {
    .name = "lossy",
    .send = lossy_send,
    .start = lossy_start,
    .stop = lossy_stop,
    .resume = lossy_resume,
    .set_filter = lossy_set_filter,
    .set_offload = lossy_set_offload,
    .destroy = lossy_destroy,
};

int lossy_create(struct net_port *behind, unsigned per_mille, struct net_port **ret)
{
    struct lossy *lossy = calloc(1, sizeof(*lossy));

    if (lossy == NULL)
        return -ENOMEM;
    *lossy = (struct lossy){.port = *behind,
                            .behind = behind,
                            .per_mille = per_mille,
                            .state = UINT64_C(0x9e3779b97f4a7c15)};
    lossy->port.ops = &lossy_ops;
    *ret = &lossy->port;
    return 0;
}
