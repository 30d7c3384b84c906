/*
 * Invariant: whatever a guest does, and whatever state is loaded, the chipset asks its host only
 * for what is valid (fake_host.h aborts), its timers always lie ahead, and saving, loading and
 * saving again gives the same bytes.
 *
 * The input is a sequence of actions: a byte that chooses, then what the action needs.
 */
#include "chipset/chipset.h"

#include <errno.h>
#include <stdio.h>

#include "chipset/fake_host.h"
#include "state/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct input {
    const uint8_t *at;
    size_t left;
};

struct guest {
    struct fake_host fake;
    struct chipset *chipset;
    unsigned expiries; /* within one action */
};

enum {
    /* No action lets more time pass than this, and no timer is quicker than 100 us. */
    LONGEST_PASS_NS = 20000000,
    MOST_EXPIRIES = 2000,
};

static const uint16_t ports[] = {
    0x20,   0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40,  0x41,  0x42,  0x43,  0x61,  0x70,
    0x71,   0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x600, 0x602, 0x604,
    0x608,  0xcf8, 0xcf9, 0xcfc, 0xcfe, 0x92,  0x60,  0x64,  0xe0,  0xe4,  0xf4,  0x2000,
    0x200e, 0x510, 0x511, 0x80,  0x3f7, 0x5ff, 0x601, 0x603, 0x605, 0x607, 0x60b, 0x72,
};

static uint64_t take(struct input *in, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count && in->left > 0; i++, in->at++, in->left--)
        value = value << 8 | *in->at;
    return value;
}

static uint16_t take_port(struct input *in)
{
    uint8_t choice = (uint8_t)take(in, 1);
    if (choice == 0xff)
        return (uint16_t)take(in, 2);
    return ports[choice % (sizeof(ports) / sizeof(ports[0]))];
}

static uint64_t take_gpa(struct input *in)
{
    uint8_t choice = (uint8_t)take(in, 1);
    if (choice < 0x80)
        return CHIPSET_IOAPIC_GPA + (choice & 1) * UINT64_C(0x10) + (choice & 0x42);
    if (choice < 0xc0)
        return UINT64_C(0xff000000) + take(in, 2);
    return take(in, 8);
}

static void expired(void *device, unsigned timer)
{
    struct guest *g = device;
    if (++g->expiries > MOST_EXPIRIES)
        abort();
    chipset_timer_expired(g->chipset, timer);
}

static struct guest *create(struct mem *mem)
{
    struct guest *g = calloc(1, sizeof(*g));
    if (g == NULL)
        abort();
    fake_init(&g->fake);
    g->fake.device = g;
    g->fake.expired = expired;
    struct chipset_config config = {
        .host = g->fake.host,
        .mem = mem,
        .cpu_count = 4,
        .video_memory = 8 << 20,
        .debug_exit = true,
        .test_devices = true,
    };
    if (chipset_create(&config, &g->chipset) != 0)
        abort();
    return g;
}

static void destroy(struct guest *g)
{
    chipset_destroy(g->chipset);
    free(g);
}

static struct state_visitor *save(struct guest *g)
{
    struct state_visitor *v = NULL;
    if (state_save_create(&v) != 0 || chipset_visit_state(g->chipset, v) != 0)
        abort();
    return v;
}

static int load(struct guest *g, const uint8_t *bytes, size_t length)
{
    struct state_visitor *v = NULL;
    int error = state_load_create(bytes, length, &v);
    if (error == 0)
        error = chipset_visit_state(g->chipset, v);
    state_destroy(v);
    return error;
}

static void check_round_trip(struct guest *g, struct mem *mem)
{
    size_t length;
    size_t again_length;
    struct state_visitor *saved = save(g);
    const uint8_t *bytes = state_saved(saved, &length);
    struct guest *other = create(mem);
    other->fake.now = g->fake.now;
    other->fake.wall_s = g->fake.wall_s;
    if (load(other, bytes, length) != 0)
        abort();
    struct state_visitor *again = save(other);
    const uint8_t *again_bytes = state_saved(again, &again_length);
    if (length != again_length || memcmp(bytes, again_bytes, length) != 0)
        abort();
    state_destroy(again);
    state_destroy(saved);
    destroy(other);
}

static void load_damaged(struct guest *g, struct input *in)
{
    size_t length;
    struct state_visitor *saved = save(g);
    const uint8_t *bytes = state_saved(saved, &length);
    uint8_t *damaged = malloc(length);
    if (damaged == NULL)
        abort();
    memcpy(damaged, bytes, length);
    for (uint64_t n = take(in, 1) % 8 + 1; n > 0; n--) {
        size_t at = (size_t)take(in, 2) % length;
        damaged[at] = (uint8_t)take(in, 1);
    }
    mend_checksums(damaged, length);
    (void)load(g, damaged, length);
    free(damaged);
    state_destroy(saved);
}

static void access_bus(struct guest *g, struct input *in, unsigned kind)
{
    struct bus *bus = chipset_bus(g->chipset);
    unsigned size = 1u << take(in, 1) % 4;
    uint16_t port = kind < 2 ? take_port(in) : 0;
    uint64_t gpa = kind < 2 ? 0 : take_gpa(in);
    if (kind == 0)
        (void)bus_port_read(bus, port, size);
    else if (kind == 1)
        bus_port_write(bus, port, size, (uint32_t)take(in, size));
    else if (kind == 2)
        (void)bus_mmio_read(bus, gpa, size);
    else
        bus_mmio_write(bus, gpa, size, take(in, size));
}

static void send_serial(struct guest *g, struct input *in)
{
    uint8_t text[32] = {0};
    size_t length = (size_t)take(in, 1) % (sizeof(text) + 1);
    size_t room = chipset_serial_room(g->chipset);
    size_t taken = chipset_serial_input(g->chipset, text, length);
    if (taken != (length < room ? length : room))
        abort();
    if (chipset_serial_room(g->chipset) != room - taken)
        abort();
}

static void pass_time(struct guest *g, struct input *in)
{
    uint64_t ns = take(in, 4);
    if ((ns & 1) != 0) { /* the host was busy: everything is late */
        g->fake.now += ns * 1000;
        g->fake.wall_s += ns / 1000000;
        ns = 0;
    }
    fake_pass(&g->fake, ns % LONGEST_PASS_NS);
}

static void act(struct guest *g, struct mem *mem, struct input *in)
{
    uint8_t action = (uint8_t)take(in, 1);
    g->expiries = 0;
    switch (action % 16) {
    case 8:
        chipset_set_gsi(g->chipset, (unsigned)take(in, 1), (action & 16) != 0);
        break;
    case 9:
        send_serial(g, in);
        break;
    case 10:
        (void)chipset_acknowledge_extint(g->chipset);
        break;
    case 11:
        chipset_end_of_interrupt(g->chipset, (uint8_t)take(in, 1));
        break;
    case 12:
        if ((action & 16) != 0)
            (void)chipset_press_power_button(g->chipset);
        else
            chipset_reset(g->chipset);
        break;
    case 13:
        chipset_timer_expired(g->chipset, (unsigned)take(in, 1));
        break;
    case 14:
        load_damaged(g, in);
        break;
    case 15:
        if ((action & 0xf0) == 0)
            check_round_trip(g, mem);
        break;
    case 6:
    case 7:
        pass_time(g, in);
        break;
    default: /* 0 to 5: mostly writes to ports */
        access_bus(g, in, action % 16 < 4 ? action % 16u : 1);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static struct mem *mem;
    if (mem == NULL && mem_create(UINT64_C(64) << 20, UINT64_C(3) << 30, &mem) != 0)
        abort();
    struct input in = {bytes, length};
    struct guest *g = create(mem);
    for (unsigned i = 0; i < 500 && in.left > 0; i++)
        act(g, mem, &in);
    check_round_trip(g, mem);
    destroy(g);
    return 0;
}
