/*
 * What bare-metal test images (kvm-unit-tests) expect beside a PC. Never there unless asked for.
 */
#ifndef CHIPSET_TEST_DEVICES_H
#define CHIPSET_TEST_DEVICES_H

#include "chipset/device.h"

struct test_devices;

struct test_devices_config {
    struct line lines; /* its pin is the first of CHIPSET_GSI_COUNT */
    uint64_t memory_size;
    uint16_t cpu_count;
};

int test_devices_create(const struct test_devices_config *config, struct test_devices **ret);
void test_devices_destroy(struct test_devices *devices);
void test_devices_reset(struct test_devices *devices);
int test_devices_visit_state(struct test_devices *devices, struct state_visitor *visitor);
int test_devices_attach(struct test_devices *devices, struct bus *bus);

#endif
