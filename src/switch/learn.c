#include "switch/learn.h"

#include <string.h>

/* How far from its own place an entry may lie. */
enum { PROBES = 8 };

void learn_init(struct learn *learn, uint64_t age_ns)
{
    memset(learn, 0, sizeof(*learn));
    learn->age_ns = age_ns;
}

static unsigned place_of(const uint8_t *mac, uint16_t vlan)
{
    uint64_t key = vlan;

    for (unsigned i = 0; i < FRAME_MAC_SIZE; i++)
        key = key << 8 | mac[i];
    return (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 40) % LEARN_ENTRIES;
}

static bool is_alive(const struct learn *learn, const struct learn_entry *entry, uint64_t now_ns)
{
    return entry->seen_ns != 0 && now_ns - entry->seen_ns <= learn->age_ns;
}

static bool is_of(const struct learn_entry *entry, const uint8_t *mac, uint16_t vlan)
{
    return entry->seen_ns != 0 && entry->vlan == vlan &&
           memcmp(entry->mac, mac, FRAME_MAC_SIZE) == 0;
}

static void clear(struct learn *learn, struct learn_entry *entry)
{
    if (entry->seen_ns != 0)
        learn->of_port[entry->port]--;
    *entry = (struct learn_entry){0};
}

/* Its own entry, else one that may be taken: an empty or an aged one. NULL: all are in use. */
static struct learn_entry *entry_for(struct learn *learn, const uint8_t *mac, uint16_t vlan,
                                     uint64_t now_ns)
{
    struct learn_entry *ret = NULL;
    unsigned place = place_of(mac, vlan);

    for (unsigned i = 0; i < PROBES; i++) {
        struct learn_entry *entry = &learn->entry[(place + i) % LEARN_ENTRIES];
        if (is_of(entry, mac, vlan))
            return entry;
        if (ret == NULL && !is_alive(learn, entry, now_ns))
            ret = entry;
    }
    return ret;
}

/* Now and then only: a port that is at its limit may ask for it with each frame. */
static void forget_aged(struct learn *learn, uint64_t now_ns)
{
    if (now_ns - learn->swept_ns < learn->age_ns / 4)
        return;
    learn->swept_ns = now_ns;
    for (unsigned i = 0; i < LEARN_ENTRIES; i++) {
        if (!is_alive(learn, &learn->entry[i], now_ns))
            clear(learn, &learn->entry[i]);
    }
}

/* A table that is full learns nothing: such frames go to all ports. */
void learn_source(struct learn *learn, const uint8_t *mac, uint16_t vlan, unsigned port,
                  uint64_t now_ns)
{
    struct learn_entry *entry = entry_for(learn, mac, vlan, now_ns);

    if (entry == NULL || frame_is_multicast(mac))
        return;
    bool had = entry->seen_ns != 0 && entry->port == port;
    if (!had && learn->of_port[port] >= LEARN_MOST_OF_A_PORT) {
        forget_aged(learn, now_ns);
        if (learn->of_port[port] >= LEARN_MOST_OF_A_PORT)
            return;
    }
    clear(learn, entry);
    *entry = (struct learn_entry){.seen_ns = now_ns, .vlan = vlan, .port = (uint8_t)port};
    memcpy(entry->mac, mac, FRAME_MAC_SIZE);
    learn->of_port[port]++;
}

int learn_find(const struct learn *learn, const uint8_t *mac, uint16_t vlan, uint64_t now_ns)
{
    unsigned place = place_of(mac, vlan);

    for (unsigned i = 0; i < PROBES; i++) {
        const struct learn_entry *entry = &learn->entry[(place + i) % LEARN_ENTRIES];
        if (is_of(entry, mac, vlan))
            return is_alive(learn, entry, now_ns) ? entry->port : -1;
    }
    return -1;
}

void learn_forget_port(struct learn *learn, unsigned port)
{
    for (unsigned i = 0; i < LEARN_ENTRIES && learn->of_port[port] > 0; i++) {
        if (learn->entry[i].seen_ns != 0 && learn->entry[i].port == port)
            clear(learn, &learn->entry[i]);
    }
}
