#include "net/passt_end.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void the_port_is_found_in_the_option(void **state)
{
    struct passt_port port;
    (void)state;
    assert_true(passt_end_parse("Failed to bind any port for '-t 2222:22', exiting", &port));
    assert_false(port.udp);
    assert_int_equal(port.port, 2222);
    assert_string_equal(port.address, "");
    assert_true(passt_end_parse(
        "Failed to bind port 53 (Address in use) for option '-u 127.0.0.1/53:5353', exiting",
        &port));
    assert_true(port.udp);
    assert_int_equal(port.port, 53);
    assert_string_equal(port.address, "127.0.0.1");
}

static void other_lines_are_not_about_a_port(void **state)
{
    static const char *const lines[] = {
        "",
        "No interfaces with usable IPv6 routes",
        "Failed to bind any port for '-",
        "Failed to bind any port for '-t",
        "Failed to bind any port for '-t ",
        "Failed to bind any port for '-t /",
        "Failed to bind any port for '-t 2222', exiting",
        "Failed to bind any port for '-t 0:22', exiting",
        "Failed to bind any port for '-t 65536:22', exiting",
        "Failed to bind any port for '-T 2222:22', exiting",
        "Failed to bind any port for '-t 11111111111111111111111111111111111111111111111111/1:2'",
        "Port 2222 in '-t 2222:22' is not valid",
    };
    struct passt_port port;
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_false(passt_end_parse(lines[i], &port));
}

/* A port that listens; its number. */
static unsigned listen_somewhere(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(*ret_fd >= 0);
    assert_int_equal(bind(*ret_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(*ret_fd, 1), 0);
    assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

static void what_keeps_a_port_is_told(void **state)
{
    struct reason reason;
    char line[128];
    char wanted[128];
    int fd = -1;
    unsigned port = listen_somewhere(&fd);
    (void)state;
    (void)snprintf(wanted, sizeof(wanted), "port %u of the host is in use", port);
    (void)snprintf(line, sizeof(line), "Failed to bind any port for '-t %u:22', exiting", port);
    passt_end_tell(line, &reason);
    assert_string_equal(reason.text, wanted);
    (void)snprintf(line, sizeof(line), "Failed to bind any port for '-t 127.0.0.1/%u:22', exiting",
                   port);
    passt_end_tell(line, &reason);
    assert_string_equal(reason.text, wanted);
    (void)close(fd);
    passt_end_tell(line, &reason); /* it is free by now */
    assert_non_null(strstr(reason.text, "passt has ended: Failed to bind"));
    passt_end_tell("Failed to bind any port for '-u 192.0.2.77/9999:2', exiting", &reason);
    assert_string_equal(reason.text, "UDP port 9999: the host has no address 192.0.2.77");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_port_is_found_in_the_option),
        cmocka_unit_test(other_lines_are_not_about_a_port),
        cmocka_unit_test(what_keeps_a_port_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
