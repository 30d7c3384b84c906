#include "switchd/uplink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/packet.h"
#include "net/tap.h"
#include "switchd/nat.h"

int uplink_internal_name(const struct hub_config *config, char ret[IFNAMSIZ], struct reason *reason)
{
    bool own = config->interface[0] != '\0';
    int length =
        snprintf(ret, IFNAMSIZ, "%s%s", own ? "" : "pt-", own ? config->interface : config->name);

    if (length < 0 || length >= IFNAMSIZ)
        return reason_set(reason, -ENAMETOOLONG,
                          "pt-%s is too long for a network device: name one by --interface",
                          config->name);
    return 0;
}

static int open_tap(const char *name, int *ret, struct reason *reason)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return reason_set(reason, -errno, "/dev/net/tun: %s",
                          errno == EACCES ? "only root may use it" : strerrordesc_np(errno));
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        int error = errno;
        return reason_set(reason, -error, "network device %s: %s", name,
                          error == EPERM ? "only root makes one" : strerrordesc_np(error));
    }
    *ret = take_fd(&fd);
    return 0;
}

static int set_up(const char *name, struct reason *reason)
{
    struct ifreq request = {0};
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(request.ifr_name, name, strlen(name));
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return reason_set(reason, -errno, "network device %s: %s", name, strerrordesc_np(errno));
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return reason_set(reason, -errno, "network device %s: %s", name, strerrordesc_np(errno));
    return 0;
}

/* It lasts, with the host's addresses on it, when this process does not. */
static int open_internal(struct hub *hub, struct net_port **ret, struct reason *reason)
{
    char name[IFNAMSIZ] = "";
    auto_close int fd = -1;
    int error = uplink_internal_name(&hub->config, name, reason);

    hub->found_device = hub->found_device || if_nametoindex(name) != 0;
    if (error == 0)
        error = open_tap(name, &fd, reason);
    if (error == 0 && ioctl(fd, TUNSETPERSIST, 1) < 0)
        error = reason_set(reason, -errno, "network device %s cannot be kept", name);
    if (error == 0)
        error = set_up(name, reason);
    return error < 0 ? error : tap_create(hub->loop, NULL, take_fd(&fd), ret, reason);
}

/* A bridge of the host gets a port of its own, which goes with this process. */
static int open_bridge(struct hub *hub, unsigned bridge, struct net_port **ret,
                       struct reason *reason)
{
    struct ifreq request = {0};
    char name[IFNAMSIZ] = "";
    auto_close int fd = -1;
    auto_close int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)snprintf(name, sizeof(name), "ptb%u-%%d", bridge % 10000);
    int error = open_tap(name, &fd, reason);
    if (error < 0)
        return error;
    if (ioctl(fd, TUNGETIFF, &request) < 0)
        return reason_set(reason, -errno, "network device %s: %s", name, strerrordesc_np(errno));
    memcpy(name, request.ifr_name, sizeof(name));
    error = set_up(name, reason);
    if (error < 0)
        return error;
    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, hub->config.interface, strlen(hub->config.interface));
    request.ifr_ifindex = (int)if_nametoindex(name);
    if (control < 0 || ioctl(control, SIOCBRADDIF, &request) < 0)
        return reason_set(reason, -errno, "bridge %s: %s", hub->config.interface,
                          strerrordesc_np(errno));
    memcpy(hub->bridge_port, name, sizeof(hub->bridge_port));
    return tap_create(hub->loop, NULL, take_fd(&fd), ret, reason);
}

bool uplink_is_lost(const struct hub *hub)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/sys/class/net/%.16s/brport", hub->bridge_port);
    return hub->bridge_port[0] != '\0' && access(path, F_OK) < 0;
}

/* Any other interface gives its frames to a packet socket. */
static int open_external(struct hub *hub, struct net_port **ret, struct reason *reason)
{
    char path[64];
    const char *interface = hub->config.interface;

    (void)snprintf(path, sizeof(path), "/sys/class/net/%.16s/bridge", interface);
    return access(path, F_OK) == 0 ? open_bridge(hub, if_nametoindex(interface), ret, reason)
                                   : packet_create(hub->loop, interface, ret, reason);
}

static int open_nat(struct hub *hub, struct net_port **ret, struct reason *reason)
{
    const char *forwards[HUB_MOST_FORWARDS];

    for (unsigned i = 0; i < hub->config.forward_count; i++)
        forwards[i] = hub->config.forwards[i];
    return nat_create(hub->loop, forwards, hub->config.forward_count, ret, reason);
}

int uplink_open(struct hub *hub, struct reason *reason)
{
    struct net_port *line = NULL;
    int error = 0;

    hub->bridge_port[0] = '\0';
    switch (hub->config.kind) {
    case HUB_PRIVATE:
        return 0;
    case HUB_INTERNAL:
        error = open_internal(hub, &line, reason);
        break;
    case HUB_EXTERNAL:
        error = open_external(hub, &line, reason);
        break;
    case HUB_NAT:
        error = open_nat(hub, &line, reason);
        break;
    case HUB_KINDS:
        error = -EINVAL;
        break;
    }
    if (error < 0)
        return error;
    error = hub_plug_uplink(hub, line);
    if (error < 0 && line != NULL)
        line->ops->destroy(line);
    return error;
}

void uplink_forget(const struct hub *hub)
{
    char name[IFNAMSIZ] = "";
    auto_close int fd = -1;

    if (hub->config.kind == HUB_INTERNAL && uplink_internal_name(&hub->config, name, NULL) == 0 &&
        open_tap(name, &fd, NULL) == 0)
        (void)ioctl(fd, TUNSETPERSIST, 0);
}
