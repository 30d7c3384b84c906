#include "net/passt_end.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { MOST_PORT = 65535 };

/* "Failed to bind any port for '-t 2222:22', exiting"; later ones name the option in the same way.
 */
bool passt_end_parse(const char *line, struct passt_port *ret)
{
    const char *option = strstr(line, "'-");
    char *end = NULL;

    *ret = (struct passt_port){0};
    if (strstr(line, "ailed to bind") == NULL || option == NULL ||
        (option[2] != 't' && option[2] != 'u') || option[3] != ' ')
        return false;
    ret->udp = option[2] == 'u';
    const char *text = option + 4;
    const char *slash = strchr(text, '/');
    if (slash != NULL && (size_t)(slash - text) >= sizeof(ret->address))
        return false;
    if (slash != NULL) {
        memcpy(ret->address, text, (size_t)(slash - text));
        text = slash + 1;
    }
    unsigned long port = strtoul(text, &end, 10);
    ret->port = (unsigned)port;
    return *text >= '0' && *text <= '9' && *end == ':' && port > 0 && port <= MOST_PORT;
}

static int try_bind(const struct passt_port *port, const struct sockaddr *address, socklen_t length)
{
    const int on = 1;
    auto_close int fd =
        socket(address->sa_family, (port->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* as passt does */
    if (address->sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    return bind(fd, address, length) < 0 ? errno : 0;
}

/* What keeps it from being had, as errno has it; 0: nothing, by now. */
static int find_error(const struct passt_port *port)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port->port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = four.sin_port};
    bool any = port->address[0] == '\0';
    int error = 0;

    if (any || inet_pton(AF_INET, port->address, &four.sin_addr) == 1)
        error = try_bind(port, (const struct sockaddr *)&four, sizeof(four));
    if (error == 0 && (any || inet_pton(AF_INET6, port->address, &six.sin6_addr) == 1))
        error = try_bind(port, (const struct sockaddr *)&six, sizeof(six));
    return error;
}

void passt_end_tell(const char *line, struct reason *reason)
{
    struct passt_port port;
    int error = passt_end_parse(line, &port) ? find_error(&port) : 0;
    const char *kind = port.udp ? "UDP port" : "port";

    if (error == EADDRINUSE)
        reason_fill(reason, "%s %u of the host is in use", kind, port.port);
    else if (error == EACCES)
        reason_fill(reason, "%s %u of the host: only root may use it", kind, port.port);
    else if (error == EADDRNOTAVAIL)
        reason_fill(reason, "%s %u: the host has no address %s", kind, port.port, port.address);
    else
        reason_fill(reason, "passt has ended: %s", line);
}
