/* Registers by the PC16550D datasheet (National Semiconductor, June 1995) § 8. */
#include "chipset/uart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum uart_register {
    REGISTER_DATA, /* RBR, THR; DLL with DLAB */
    REGISTER_IER,  /* DLM with DLAB */
    REGISTER_IIR,  /* FCR when written */
    REGISTER_LCR,
    REGISTER_MCR,
    REGISTER_LSR,
    REGISTER_MSR,
    REGISTER_SCRATCH,
    REGISTER_COUNT,
};

enum {
    IER_RECEIVED = 0x01,
    IER_EMPTY = 0x02,
    IER_LINE_STATUS = 0x04,
    IER_MODEM_STATUS = 0x08,
    IER_WRITABLE = 0x0f,

    IIR_MODEM_STATUS = 0x00,
    IIR_NONE = 0x01,
    IIR_EMPTY = 0x02,
    IIR_RECEIVED = 0x04,
    IIR_LINE_STATUS = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFOS_ON = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_CLEAR_RECEIVE = 0x02,
    FCR_KEPT = 0xc9, /* enable, DMA mode, trigger level */

    LCR_WORD_LENGTH = 0x03,
    LCR_TWO_STOPS = 0x04,
    LCR_PARITY = 0x08,
    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_WRITABLE = 0x1f,

    LSR_READY = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_TRANSMITTER_EMPTY = 0x60, /* holding register and shift register */

    MSR_DELTAS = 0x0f,
    MSR_RING_ENDED = 0x04,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RING = 0x40,
    MSR_CARRIER = 0x80,
    MSR_CONNECTED = MSR_CTS | MSR_DSR | MSR_CARRIER,

    CLOCK_HZ = 115200, /* the crystal's 1.8432 MHz over 16 */
    TIMEOUT_CHARACTERS = 4,
};

struct uart_state {
    uint8_t ier, fcr, lcr, mcr, scratch;
    uint8_t msr;
    uint16_t divisor;
    bool overrun;
    bool empty_pending; /* the transmitter became empty and nobody has seen it */
    bool timeout_pending;
    uint64_t timeout_at; /* 0: no byte waits for it */
    uint8_t fifo[UART_FIFO_SIZE];
    uint8_t fifo_used;
    uint8_t last_received;
};

struct uart {
    const struct chipset_host *host;
    struct line line;
    struct uart_state state;
};

static size_t capacity(const struct uart_state *s)
{
    return (s->fcr & FCR_ENABLE) != 0 ? UART_FIFO_SIZE : 1;
}

static unsigned trigger_level(const struct uart_state *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return (s->fcr & FCR_ENABLE) != 0 ? level[s->fcr >> 6] : 1;
}

/* The pending interrupt of highest priority, § 8.6 table IV. */
static uint8_t pending_interrupt(const struct uart_state *s)
{
    if ((s->ier & IER_LINE_STATUS) != 0 && s->overrun)
        return IIR_LINE_STATUS;
    if ((s->ier & IER_RECEIVED) != 0 && s->fifo_used >= trigger_level(s))
        return IIR_RECEIVED;
    if ((s->ier & IER_RECEIVED) != 0 && s->timeout_pending)
        return IIR_TIMEOUT;
    if ((s->ier & IER_EMPTY) != 0 && s->empty_pending)
        return IIR_EMPTY;
    if ((s->ier & IER_MODEM_STATUS) != 0 && (s->msr & MSR_DELTAS) != 0)
        return IIR_MODEM_STATUS;
    return IIR_NONE;
}

static void update_line(const struct uart *uart)
{
    const struct uart_state *s = &uart->state;
    bool wired = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
    line_set(&uart->line, wired && pending_interrupt(s) != IIR_NONE);
}

/* Four times a character at the programmed speed, § 8.7 FIFO interrupt mode. */
static uint64_t timeout_ns(const struct uart_state *s)
{
    uint64_t bits = 1 + 5 + (s->lcr & LCR_WORD_LENGTH) + 1;
    bits += (s->lcr & LCR_TWO_STOPS) != 0 ? 1 : 0;
    bits += (s->lcr & LCR_PARITY) != 0 ? 1 : 0;
    uint64_t divisor = s->divisor != 0 ? s->divisor : 0x10000;
    return TIMEOUT_CHARACTERS * bits * divisor * NS_PER_SECOND / CLOCK_HZ;
}

/* A byte came in or was read: the time-out starts anew while bytes wait. */
static void restart_timeout(struct uart *uart)
{
    struct uart_state *s = &uart->state;
    s->timeout_pending = false;
    s->timeout_at = 0;
    if ((s->fcr & FCR_ENABLE) != 0 && s->fifo_used > 0)
        s->timeout_at = host_now(uart->host) + timeout_ns(s);
    uart->host->set_timer(uart->host->owner, CHIPSET_TIMER_UART, s->timeout_at);
}

/* The line is driven by whoever looked: the timer may be later than an access. */
static void check_timeout(struct uart *uart)
{
    struct uart_state *s = &uart->state;
    if (s->timeout_at == 0 || host_now(uart->host) < s->timeout_at)
        return;
    s->timeout_at = 0;
    s->timeout_pending = true;
}

void uart_timer_expired(struct uart *uart)
{
    check_timeout(uart);
    update_line(uart);
}

static void receive(struct uart *uart, uint8_t byte)
{
    struct uart_state *s = &uart->state;
    if (s->fifo_used < capacity(s)) {
        s->fifo[s->fifo_used++] = byte;
    } else {
        s->overrun = true;
        if ((s->fcr & FCR_ENABLE) == 0)
            s->fifo[0] = byte; /* without FIFO the new byte destroys the old, § 8.4 */
    }
    restart_timeout(uart);
}

size_t uart_room(const struct uart *uart)
{
    const struct uart_state *s = &uart->state;
    /* In loopback the receiver does not hear the outside, which therefore waits. */
    return (s->mcr & MCR_LOOP) != 0 ? 0 : capacity(s) - s->fifo_used;
}

size_t uart_input(struct uart *uart, const uint8_t *bytes, size_t length)
{
    size_t room = uart_room(uart);
    size_t count = length < room ? length : room;
    for (size_t i = 0; i < count; i++)
        receive(uart, bytes[i]);
    update_line(uart);
    return count;
}

static uint8_t read_data(struct uart *uart)
{
    struct uart_state *s = &uart->state;
    if (s->fifo_used > 0) {
        s->last_received = s->fifo[0];
        s->fifo_used--;
        memmove(s->fifo, s->fifo + 1, s->fifo_used);
        restart_timeout(uart);
    }
    return s->last_received;
}

static void write_data(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->state;
    s->empty_pending = false;
    update_line(uart); /* so that the line has an edge for the next "empty" */
    if ((s->mcr & MCR_LOOP) != 0)
        receive(uart, value);
    else
        uart->host->serial_output(uart->host->owner, &value, 1);
    s->empty_pending = true;
}

static uint8_t read_iir(struct uart *uart)
{
    struct uart_state *s = &uart->state;
    uint8_t pending = pending_interrupt(s);
    if (pending == IIR_EMPTY)
        s->empty_pending = false;
    return pending | ((s->fcr & FCR_ENABLE) != 0 ? IIR_FIFOS_ON : 0);
}

static uint8_t read_lsr(struct uart *uart)
{
    struct uart_state *s = &uart->state;
    uint8_t value = LSR_TRANSMITTER_EMPTY;
    if (s->fifo_used > 0)
        value |= LSR_READY;
    if (s->overrun)
        value |= LSR_OVERRUN;
    s->overrun = false;
    return value;
}

static uint8_t read_msr(struct uart *uart)
{
    uint8_t value = uart->state.msr;
    uart->state.msr &= (uint8_t)~MSR_DELTAS;
    return value;
}

static void write_ier(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->state;
    uint8_t enabled = value & (uint8_t)~s->ier;
    s->ier = value & IER_WRITABLE;
    if ((enabled & IER_EMPTY) != 0)
        s->empty_pending = true;
}

static void write_fcr(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->state;
    bool switched = ((s->fcr ^ value) & FCR_ENABLE) != 0;
    /* The other bits are not programmed unless the enable bit is written with them, § 8.5. */
    s->fcr = (value & FCR_ENABLE) != 0 ? value & FCR_KEPT : 0;
    if (switched || (value & (FCR_ENABLE | FCR_CLEAR_RECEIVE)) == (FCR_ENABLE | FCR_CLEAR_RECEIVE))
        s->fifo_used = 0;
    restart_timeout(uart);
}

/* The modem inputs; in loopback they are the outputs, § 8.8. */
static uint8_t modem_inputs(uint8_t mcr)
{
    if ((mcr & MCR_LOOP) == 0)
        return MSR_CONNECTED;
    return (uint8_t)(((mcr & MCR_DTR) != 0 ? MSR_DSR : 0) | ((mcr & MCR_RTS) != 0 ? MSR_CTS : 0) |
                     ((mcr & MCR_OUT1) != 0 ? MSR_RING : 0) |
                     ((mcr & MCR_OUT2) != 0 ? MSR_CARRIER : 0));
}

static void write_mcr(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->state;
    s->mcr = value & MCR_WRITABLE;
    uint8_t inputs = modem_inputs(s->mcr);
    uint8_t changed = (inputs ^ s->msr) & (uint8_t)~MSR_DELTAS;
    if ((inputs & MSR_RING) != 0) /* only the end of a ring is told */
        changed &= (uint8_t)~MSR_RING;
    s->msr = (uint8_t)(inputs | (s->msr & MSR_DELTAS) | changed >> 4);
}

static uint8_t read_register(void *device, unsigned offset)
{
    struct uart *uart = device;
    struct uart_state *s = &uart->state;
    bool dlab = (s->lcr & LCR_DLAB) != 0;
    uint8_t value = 0;
    check_timeout(uart);
    switch ((enum uart_register)offset) {
    case REGISTER_DATA:
        value = dlab ? (uint8_t)s->divisor : read_data(uart);
        break;
    case REGISTER_IER:
        value = dlab ? (uint8_t)(s->divisor >> 8) : s->ier;
        break;
    case REGISTER_IIR:
        value = read_iir(uart);
        break;
    case REGISTER_LCR:
        value = s->lcr;
        break;
    case REGISTER_MCR:
        value = s->mcr;
        break;
    case REGISTER_LSR:
        value = read_lsr(uart);
        break;
    case REGISTER_MSR:
        value = read_msr(uart);
        break;
    case REGISTER_SCRATCH:
    case REGISTER_COUNT:
        value = s->scratch;
        break;
    }
    update_line(uart);
    return value;
}

static void write_dlab_register(struct uart *uart, unsigned offset, uint8_t value)
{
    unsigned divisor = uart->state.divisor;
    if (offset == REGISTER_DATA)
        divisor = (divisor & 0xff00) | value;
    else
        divisor = (divisor & 0x00ff) | (unsigned)value << 8;
    uart->state.divisor = (uint16_t)divisor;
}

static void write_register(void *device, unsigned offset, uint8_t value)
{
    struct uart *uart = device;
    struct uart_state *s = &uart->state;
    check_timeout(uart);
    if ((s->lcr & LCR_DLAB) != 0 && offset <= REGISTER_IER) {
        write_dlab_register(uart, offset, value);
        return;
    }
    switch ((enum uart_register)offset) {
    case REGISTER_DATA:
        write_data(uart, value);
        break;
    case REGISTER_IER:
        write_ier(uart, value);
        break;
    case REGISTER_IIR:
        write_fcr(uart, value);
        break;
    case REGISTER_LCR:
        s->lcr = value;
        break;
    case REGISTER_MCR:
        write_mcr(uart, value);
        break;
    case REGISTER_LSR:
    case REGISTER_MSR:
        break; /* only the chip's maker writes them, § 8.4 */
    case REGISTER_SCRATCH:
    case REGISTER_COUNT:
        s->scratch = value;
        break;
    }
    update_line(uart);
}

static uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
    return read_bytewise(device, offset, size, read_register);
}

static void uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_register);
}

int uart_attach(struct uart *uart, struct bus *bus, uint16_t port)
{
    static const struct bus_ops ops = {uart_read, uart_write};
    return bus_attach_ports(bus, port, REGISTER_COUNT, &ops, uart);
}

void uart_reset(struct uart *uart)
{
    uart->state = (struct uart_state){.msr = MSR_CONNECTED, .divisor = 1};
    restart_timeout(uart);
    update_line(uart);
}

int uart_create(const struct chipset_host *host, const struct line *line, struct uart **ret)
{
    struct uart *uart = calloc(1, sizeof(*uart));
    if (uart == NULL)
        return -ENOMEM;
    uart->host = host;
    uart->line = *line;
    uart_reset(uart);
    *ret = uart;
    return 0;
}

void uart_destroy(struct uart *uart)
{
    free(uart);
}

static void visit_timeout(struct uart *uart, struct state_visitor *v, struct uart_state *s)
{
    uint64_t now = host_now(uart->host);
    bool waits = s->timeout_at != 0;
    uint64_t left = waits && s->timeout_at > now ? s->timeout_at - now : 0;
    state_bool(v, "timeout-waits", &waits);
    state_u64(v, "timeout-left", &left);
    /* Four of the longest characters at the lowest speed take 27 seconds. */
    if (left > UINT64_C(30) * NS_PER_SECOND)
        state_fail(v, -EINVAL);
    s->timeout_at = waits ? now + left : 0;
}

int uart_visit_state(struct uart *uart, struct state_visitor *v)
{
    struct uart_state s = uart->state;
    state_begin(v, "uart", 1);
    state_u8(v, "ier", &s.ier);
    state_u8(v, "fcr", &s.fcr);
    state_u8(v, "lcr", &s.lcr);
    state_u8(v, "mcr", &s.mcr);
    state_u8(v, "scratch", &s.scratch);
    state_u8(v, "msr", &s.msr);
    state_u16(v, "divisor", &s.divisor);
    state_bool(v, "overrun", &s.overrun);
    state_bool(v, "empty-pending", &s.empty_pending);
    state_bool(v, "timeout-pending", &s.timeout_pending);
    visit_timeout(uart, v, &s);
    state_bytes(v, "fifo", s.fifo, sizeof(s.fifo));
    state_u8(v, "fifo-used", &s.fifo_used);
    state_u8(v, "last-received", &s.last_received);
    if ((s.ier & ~IER_WRITABLE) != 0 || (s.mcr & ~MCR_WRITABLE) != 0 || (s.fcr & ~FCR_KEPT) != 0 ||
        s.fifo_used > capacity(&s))
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error != 0)
        return error;
    uart->state = s;
    uart->host->set_timer(uart->host->owner, CHIPSET_TIMER_UART, s.timeout_at);
    return 0;
}
