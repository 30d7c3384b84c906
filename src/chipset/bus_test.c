/* cmocka needs what it builds on before itself. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "chipset/bus.h"

#include <errno.h>

/* Remembers the last access; reads the offset, 0xa0 more, in every byte. */
struct probe {
    unsigned reads, writes;
    uint64_t offset, value;
    unsigned size;
};

static uint64_t probe_read(void *device, uint64_t offset, unsigned size)
{
    struct probe *probe = device;
    probe->reads++;
    probe->offset = offset;
    probe->size = size;
    return UINT64_C(0x0101010101010101) * (0xa0 + offset);
}

static void probe_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct probe *probe = device;
    probe->writes++;
    probe->offset = offset;
    probe->size = size;
    probe->value = value;
}

static const struct bus_ops probe_ops = {probe_read, probe_write};

static struct bus *create(void)
{
    struct bus *bus = NULL;
    assert_int_equal(bus_create(&bus), 0);
    return bus;
}

static void unclaimed_reads_ones_and_writes_nowhere(void **state)
{
    (void)state;
    struct bus *bus = create();
    assert_int_equal(bus_port_read(bus, 0x80, 1), 0xff);
    assert_int_equal(bus_port_read(bus, 0x80, 2), 0xffff);
    assert_int_equal(bus_port_read(bus, 0xffff, 4), 0xffffffff);
    assert_true(bus_mmio_read(bus, UINT64_MAX, 8) == UINT64_MAX);
    bus_port_write(bus, 0xffff, 4, 1);
    bus_mmio_write(bus, UINT64_MAX, 8, 1);
    bus_destroy(bus);
}

static void device_sees_offset_size_and_value(void **state)
{
    (void)state;
    struct bus *bus = create();
    struct probe probe = {0};
    assert_int_equal(bus_attach_ports(bus, 0x100, 8, &probe_ops, &probe), 0);
    assert_int_equal(bus_port_read(bus, 0x104, 4), 0xa4a4a4a4);
    assert_int_equal(probe.offset, 4);
    assert_int_equal(probe.size, 4);
    assert_int_equal(bus_port_read(bus, 0x107, 1), 0xa7);
    bus_port_write(bus, 0x102, 2, 0x12345678);
    assert_int_equal(probe.writes, 1);
    assert_int_equal(probe.offset, 2);
    assert_int_equal(probe.size, 2);
    assert_int_equal(probe.value, 0x5678);
    bus_destroy(bus);
}

static void access_across_two_devices_is_made_of_bytes(void **state)
{
    (void)state;
    struct bus *bus = create();
    struct probe low = {0};
    struct probe high = {0};
    assert_int_equal(bus_attach_ports(bus, 0x100, 2, &probe_ops, &low), 0);
    assert_int_equal(bus_attach_ports(bus, 0x103, 4, &probe_ops, &high), 0);
    /* 0x100 and 0x101 are the one's, 0x102 nobody's, 0x103 the other's. */
    assert_int_equal(bus_port_read(bus, 0x100, 4), 0xa0ffa1a0);
    assert_int_equal(low.size, 1);
    bus_port_write(bus, 0x100, 4, 0x44332211);
    assert_int_equal(low.writes, 2);
    assert_int_equal(low.value, 0x22);
    assert_int_equal(high.writes, 1);
    assert_int_equal(high.value, 0x44);
    assert_int_equal(high.offset, 0);
    bus_destroy(bus);
}

static void access_over_the_top_does_not_wrap(void **state)
{
    (void)state;
    struct bus *bus = create();
    struct probe bottom = {0};
    struct probe top = {0};
    assert_int_equal(bus_attach_ports(bus, 0, 4, &probe_ops, &bottom), 0);
    assert_int_equal(bus_attach_ports(bus, 0xfffe, 2, &probe_ops, &top), 0);
    assert_int_equal(bus_attach_mmio(bus, UINT64_MAX - 1, 2, &probe_ops, &top), 0);
    assert_int_equal(bus_attach_mmio(bus, 0, 16, &probe_ops, &bottom), 0);
    assert_int_equal(bus_port_read(bus, 0xffff, 4), 0xffffffa1);
    assert_true(bus_mmio_read(bus, UINT64_MAX - 1, 4) == 0xffffa1a0);
    bus_port_write(bus, 0xffff, 4, 0);
    bus_mmio_write(bus, UINT64_MAX, 8, 0);
    assert_int_equal(bottom.reads + bottom.writes, 0);
    assert_int_equal(top.writes, 2);
    bus_destroy(bus);
}

static void ranges_may_touch_but_not_overlap(void **state)
{
    (void)state;
    struct bus *bus = create();
    struct probe probe = {0};
    assert_int_equal(bus_attach_ports(bus, 0x20, 2, &probe_ops, &probe), 0);
    assert_int_equal(bus_attach_ports(bus, 0x22, 2, &probe_ops, &probe), 0);
    assert_int_equal(bus_attach_ports(bus, 0x1e, 2, &probe_ops, &probe), 0);
    assert_int_equal(bus_attach_ports(bus, 0x21, 1, &probe_ops, &probe), -EEXIST);
    assert_int_equal(bus_attach_ports(bus, 0x1d, 2, &probe_ops, &probe), -EEXIST);
    assert_int_equal(bus_attach_ports(bus, 0x10, 0x100, &probe_ops, &probe), -EEXIST);
    assert_int_equal(bus_attach_ports(bus, 0xffff, 2, &probe_ops, &probe), -EINVAL);
    assert_int_equal(bus_attach_ports(bus, 0x400, 0, &probe_ops, &probe), -EINVAL);
    assert_int_equal(bus_attach_mmio(bus, UINT64_MAX, 2, &probe_ops, &probe), -EINVAL);
    assert_int_equal(bus_attach_mmio(bus, 0, UINT64_MAX, &probe_ops, &probe), 0);
    assert_int_equal(bus_attach_mmio(bus, 0x1000, 1, &probe_ops, &probe), -EEXIST);
    bus_destroy(bus);
}

static void sizes_that_no_instruction_has_are_refused(void **state)
{
    (void)state;
    struct bus *bus = create();
    struct probe probe = {0};
    assert_int_equal(bus_attach_ports(bus, 0, 16, &probe_ops, &probe), 0);
    assert_int_equal(bus_attach_mmio(bus, 0, 16, &probe_ops, &probe), 0);
    assert_int_equal(bus_port_read(bus, 0, 3), UINT32_MAX);
    assert_int_equal(bus_port_read(bus, 0, 8), UINT32_MAX);
    assert_true(bus_mmio_read(bus, 0, 0) == UINT64_MAX);
    assert_true(bus_mmio_read(bus, 0, 16) == UINT64_MAX);
    bus_port_write(bus, 0, 0, 1);
    bus_mmio_write(bus, 0, 5, 1);
    assert_int_equal(probe.reads + probe.writes, 0);
    assert_true(bus_mmio_read(bus, 8, 8) == UINT64_C(0xa8a8a8a8a8a8a8a8));
    bus_destroy(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unclaimed_reads_ones_and_writes_nowhere),
        cmocka_unit_test(device_sees_offset_size_and_value),
        cmocka_unit_test(access_across_two_devices_is_made_of_bytes),
        cmocka_unit_test(access_over_the_top_does_not_wrap),
        cmocka_unit_test(ranges_may_touch_but_not_overlap),
        cmocka_unit_test(sizes_that_no_instruction_has_are_refused),
    };
    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
