/*
 * 16550A serial port, COM1 at 0x3f8.
 *
 * 1. Output goes to the host at once: the transmitter is always empty.
 * 2. Input is taken as far as the receive FIFO has room; nothing from outside overruns it.
 * 3. The line follows the PC's wiring: OUT2 gates it, and loopback turns OUT2 off.
 */
#ifndef CHIPSET_UART_H
#define CHIPSET_UART_H

#include "chipset/device.h"

enum { UART_COM1_PORT = 0x3f8, UART_FIFO_SIZE = 16 };

struct uart;

/* `host` must outlive the device; its clock, serial_output and CHIPSET_TIMER_UART are used. */
int uart_create(const struct chipset_host *host, const struct line *line, struct uart **ret);
void uart_destroy(struct uart *uart);
void uart_reset(struct uart *uart);
int uart_visit_state(struct uart *uart, struct state_visitor *visitor);
int uart_attach(struct uart *uart, struct bus *bus, uint16_t port);
void uart_timer_expired(struct uart *uart);

/* How many of the bytes it took. */
size_t uart_input(struct uart *uart, const uint8_t *bytes, size_t length);
size_t uart_room(const struct uart *uart);

#endif
