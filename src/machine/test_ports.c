/*
 * A port by which a bare-metal test image makes the host's side of SynIC: interrupts at a SINT, and
 * connections whose messages and events come back to the guest. Never there unless asked for. One
 * word of 32 bits says all: SINT, VP, order and connection id, a byte each.
 */
#include <errno.h>
#include <stdlib.h>

#include "machine/machine_private.h"

enum { PORT = 0x3000, PORT_SIZE = 4, CONNECTION_COUNT = 256 };

enum order {
    ORDER_RAISE = 3,
    ORDER_CONNECT_MESSAGES,
    ORDER_DISCONNECT_MESSAGES,
    ORDER_CONNECT_EVENTS,
    ORDER_DISCONNECT_EVENTS,
};

/* What came in by `id` goes to a SINT of a VP. */
struct connection {
    struct hv *hv;
    uint8_t id, vp, sint;
    bool connected;
};

struct test_ports {
    struct hv *hv;
    struct connection connection[CONNECTION_COUNT];
};

static enum hv_status send_back(void *owner, const struct hv_message *message)
{
    const struct connection *c = owner;

    switch (hv_post_message(c->hv, c->vp, c->sint, message)) {
    case 0:
        return HV_STATUS_SUCCESS;
    case -ENOBUFS:
        return HV_STATUS_INSUFFICIENT_BUFFERS;
    default:
        return HV_STATUS_INVALID_PARAMETER;
    }
}

/* The flag that is set is the connection's id. */
static enum hv_status signal_back(void *owner, uint16_t flag)
{
    const struct connection *c = owner;

    (void)flag;
    return hv_signal_event(c->hv, c->vp, c->sint, c->id) == 0 ? HV_STATUS_SUCCESS
                                                              : HV_STATUS_INVALID_SYNIC_STATE;
}

static void disconnect(struct connection *c)
{
    if (c->connected)
        hv_port_disconnect(c->hv, c->id);
    c->connected = false;
}

/* An id that is taken, by VMBus or by itself, stays as it is. */
static void make_connection(struct test_ports *ports, const struct connection *wish, bool events)
{
    struct connection *c = &ports->connection[wish->id];
    const struct hv_port port = {
        .message = events ? NULL : send_back, .event = events ? signal_back : NULL, .owner = c};

    if (c->connected)
        return;
    *c = *wish;
    c->connected = hv_port_connect(c->hv, c->id, &port) == 0;
}

static void write_order(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct test_ports *ports = device;
    const struct connection wish = {.hv = ports->hv,
                                    .sint = (uint8_t)value,
                                    .vp = (uint8_t)(value >> 8),
                                    .id = (uint8_t)(value >> 24)};

    if (offset != 0 || size != PORT_SIZE)
        return;
    switch ((value >> 16) & 0xff) {
    case ORDER_RAISE:
        hv_raise_sint(ports->hv, wish.vp, wish.sint);
        break;
    case ORDER_CONNECT_MESSAGES:
    case ORDER_CONNECT_EVENTS:
        make_connection(ports, &wish, ((value >> 16) & 0xff) == ORDER_CONNECT_EVENTS);
        break;
    case ORDER_DISCONNECT_MESSAGES:
    case ORDER_DISCONNECT_EVENTS:
        disconnect(&ports->connection[wish.id]);
        break;
    default: /* routes need not be made */
        break;
    }
}

static uint64_t read_nothing(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

int machine_create_test_ports(struct machine *machine, struct reason *reason)
{
    static const struct bus_ops ops = {read_nothing, write_order};

    if (!machine->config.test_devices || machine->hv == NULL)
        return 0;
    machine->test_ports = calloc(1, sizeof(*machine->test_ports));
    if (machine->test_ports == NULL)
        return reason_set(reason, -ENOMEM, "no memory for the test devices");
    machine->test_ports->hv = machine->hv;
    struct chipset *chipset = machine_enter_chipset(machine);
    int error = bus_attach_ports(chipset_bus(chipset), PORT, PORT_SIZE, &ops, machine->test_ports);
    machine_leave_chipset(machine, false);
    return error == 0 ? 0 : reason_set(reason, error, "the test devices have no port");
}

void machine_reset_test_ports(struct machine *machine)
{
    for (unsigned i = 0; machine->test_ports != NULL && i < CONNECTION_COUNT; i++)
        disconnect(&machine->test_ports->connection[i]);
}

void machine_destroy_test_ports(struct machine *machine)
{
    machine_reset_test_ports(machine);
    free(machine->test_ports);
    machine->test_ports = NULL;
}
