#include "chipset/test_devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum {
    ECHO_PORT = 0xe0,
    FLUSH_PORT = 0xe4,
    LINES_PORT = 0x2000,
    FW_CFG_PORT = 0x510,

    /* Keys of fw_cfg; all numbers are little-endian. */
    KEY_RAM_SIZE = 0x03,
    KEY_CPU_COUNT = 0x05,
    KEY_MAX_CPUS = 0x0f,

    MEMORY_SIZE = 64 * 1024,
    ECHO_SIZE = 4,
};
#define MEMORY_GPA UINT64_C(0xff000000)

struct test_devices {
    struct test_devices_config config;
    uint8_t echo[ECHO_SIZE];
    uint16_t key;
    uint8_t item[8];
    uint8_t item_length, item_position;
    uint8_t memory[MEMORY_SIZE];
};

static uint64_t read_nothing(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0;
}

static uint64_t load_bytes(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, bytes, size);
    return value;
}

static uint64_t read_echo(void *device, uint64_t offset, unsigned size)
{
    const struct test_devices *d = device;
    return load_bytes(d->echo + offset, size);
}

static void write_echo(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct test_devices *d = device;
    memcpy(d->echo + offset, &value, size);
}

static uint64_t read_memory(void *device, uint64_t offset, unsigned size)
{
    const struct test_devices *d = device;
    return load_bytes(d->memory + offset, size);
}

static void write_memory(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct test_devices *d = device;
    memcpy(d->memory + offset, &value, size);
}

/* Asks that a page be dropped from the host's tables; its content stays, so nothing is to be seen.
 */
static void write_flush(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    (void)device;
    (void)offset;
    (void)size;
    (void)value;
}

static void write_line(void *device, unsigned offset, uint8_t value)
{
    const struct test_devices *d = device;
    struct line line = d->config.lines;
    line.pin += offset;
    line_set(&line, value != 0);
}

static void write_lines(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    write_bytewise(device, offset, size, value, write_line);
}

static void select_item(struct test_devices *d, uint16_t key)
{
    d->key = key;
    d->item_position = d->item_length = 0;
    switch (key) {
    case KEY_RAM_SIZE:
        put_le64(d->item, d->config.memory_size);
        d->item_length = sizeof(uint64_t);
        break;
    case KEY_CPU_COUNT:
    case KEY_MAX_CPUS:
        put_le16(d->item, d->config.cpu_count);
        d->item_length = sizeof(uint16_t);
        break;
    default:
        break;
    }
}

static uint64_t read_fw_cfg(void *device, uint64_t offset, unsigned size)
{
    struct test_devices *d = device;
    if (offset != 1 || size != 1)
        return 0;
    return d->item_position < d->item_length ? d->item[d->item_position++] : 0;
}

static void write_fw_cfg(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0 && size == 2)
        select_item(device, (uint16_t)value);
}

int test_devices_attach(struct test_devices *devices, struct bus *bus)
{
    static const struct bus_ops echo = {read_echo, write_echo};
    static const struct bus_ops flush = {read_nothing, write_flush};
    static const struct bus_ops lines = {read_nothing, write_lines};
    static const struct bus_ops fw_cfg = {read_fw_cfg, write_fw_cfg};
    static const struct bus_ops memory = {read_memory, write_memory};
    static const struct {
        uint16_t port, count;
        const struct bus_ops *ops;
    } ranges[] = {
        {ECHO_PORT, ECHO_SIZE, &echo},
        {FLUSH_PORT, 4, &flush},
        {LINES_PORT, CHIPSET_GSI_COUNT, &lines},
        {FW_CFG_PORT, 2, &fw_cfg},
    };
    int error = bus_attach_mmio(bus, MEMORY_GPA, MEMORY_SIZE, &memory, devices);
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]) && error == 0; i++)
        error = bus_attach_ports(bus, ranges[i].port, ranges[i].count, ranges[i].ops, devices);
    return error;
}

void test_devices_reset(struct test_devices *d)
{
    memset(d->echo, 0, sizeof(d->echo));
    memset(d->memory, 0, sizeof(d->memory));
    select_item(d, 0);
}

int test_devices_create(const struct test_devices_config *config, struct test_devices **ret)
{
    struct test_devices *devices = calloc(1, sizeof(*devices));
    if (devices == NULL)
        return -ENOMEM;
    devices->config = *config;
    *ret = devices;
    return 0;
}

void test_devices_destroy(struct test_devices *devices)
{
    free(devices);
}

int test_devices_visit_state(struct test_devices *d, struct state_visitor *v)
{
    uint16_t key = d->key;
    uint8_t position = d->item_position;
    state_begin(v, "test-devices", 1);
    state_bytes(v, "echo", d->echo, sizeof(d->echo));
    state_bytes(v, "memory", d->memory, sizeof(d->memory));
    state_u16(v, "fw-cfg-key", &key);
    state_u8(v, "fw-cfg-position", &position);
    if (position > sizeof(d->item))
        state_fail(v, -EINVAL);
    int error = state_end(v);
    if (error == 0) {
        select_item(d, key);
        d->item_position = position;
    }
    return error;
}
