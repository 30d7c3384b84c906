/* Connection ids of the parent's ports: what HvPostMessage and HvSignalEvent lead to. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/hv_private.h"

/* Where `id` is, or where it would have to be. */
static size_t place_of(const struct hv *hv, uint32_t id)
{
    size_t low = 0;
    size_t high = hv->connection_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (hv->connections[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct hv *hv, size_t place, uint32_t id)
{
    return place < hv->connection_count && hv->connections[place].id == id;
}

static int insert(struct hv *hv, size_t place, const struct hv_connection *connection)
{
    size_t count = hv->connection_count;
    struct hv_connection *grown =
        reallocarray(hv->connections, count + 1, sizeof(*hv->connections));

    if (grown == NULL)
        return -ENOMEM;
    memmove(grown + place + 1, grown + place, (count - place) * sizeof(*grown));
    grown[place] = *connection;
    hv->connections = grown;
    hv->connection_count = count + 1;
    return 0;
}

int hv_port_connect(struct hv *hv, uint32_t connection_id, const struct hv_port *port)
{
    const struct hv_connection connection = {connection_id, *port};

    (void)pthread_rwlock_wrlock(&hv->port_lock);
    size_t place = place_of(hv, connection_id);
    int error = is_at(hv, place, connection_id) ? -EEXIST : insert(hv, place, &connection);
    (void)pthread_rwlock_unlock(&hv->port_lock);
    return error;
}

void hv_port_disconnect(struct hv *hv, uint32_t connection_id)
{
    (void)pthread_rwlock_wrlock(&hv->port_lock);
    size_t place = place_of(hv, connection_id);
    if (is_at(hv, place, connection_id)) {
        hv->connection_count--;
        memmove(hv->connections + place, hv->connections + place + 1,
                (hv->connection_count - place) * sizeof(*hv->connections));
    }
    (void)pthread_rwlock_unlock(&hv->port_lock);
}

enum hv_status port_message(struct hv *hv, uint32_t connection, const struct hv_message *message)
{
    enum hv_status status = HV_STATUS_INVALID_CONNECTION_ID;

    (void)pthread_rwlock_rdlock(&hv->port_lock);
    size_t place = place_of(hv, connection);
    if (is_at(hv, place, connection) && hv->connections[place].port.message != NULL) {
        const struct hv_port *port = &hv->connections[place].port;
        status = port->message(port->owner, message);
    }
    (void)pthread_rwlock_unlock(&hv->port_lock);
    return status;
}

enum hv_status port_event(struct hv *hv, uint32_t connection, uint16_t flag)
{
    enum hv_status status = HV_STATUS_INVALID_CONNECTION_ID;

    (void)pthread_rwlock_rdlock(&hv->port_lock);
    size_t place = place_of(hv, connection);
    if (is_at(hv, place, connection) && hv->connections[place].port.event != NULL) {
        const struct hv_port *port = &hv->connections[place].port;
        status = port->event(port->owner, flag);
    }
    (void)pthread_rwlock_unlock(&hv->port_lock);
    return status;
}
