/* For tests: a machine with Hyper-V on the fake engine, whose image nobody runs. After <cmocka.h>.
 */
#ifndef MACHINE_MACHINE_FIXTURE_H
#define MACHINE_MACHINE_FIXTURE_H

#include <string.h>

#include "base/bytes.h"
#include "machine/machine_private.h"
#include "tests/harness/fake_engine.h"

static struct {
    struct machine *machine;
    struct loop *loop;
    struct machine_crash crash;
    char crash_text[64];
} fixture;

static uint8_t fixture_image[64];

static void fixture_stopped(void *owner)
{
    (void)owner;
    loop_stop(fixture.loop);
}

static void fixture_output(void *owner, const uint8_t *bytes, size_t length)
{
    (void)owner;
    (void)bytes;
    (void)length;
}

static void fixture_crashed(void *owner, const struct machine_crash *crash)
{
    (void)owner;
    fixture.crash = *crash;
    if (crash->text_length < sizeof(fixture.crash_text))
        memcpy(fixture.crash_text, crash->text, crash->text_length);
}

/* A multiboot 1 image, Multiboot 1 § 3.1. */
static inline void fixture_make_image(void)
{
    const uint32_t flags = 1 << 16;
    const uint32_t words[] = {
        0x1badb002, flags, -(0x1badb002 + flags), 0x100000, 0x100000, 0x100040, 0x100040, 0x100020};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        put_le32(fixture_image + i * 4, words[i]);
}

static inline struct machine_config fixture_config(unsigned vcpus)
{
    return (struct machine_config){
        .engine = &fake_engine,
        .vcpu_count = vcpus,
        .memory_size = UINT64_C(16) << 20,
        .hyperv = true,
        .boot.kernel = {.name = "image", .bytes = fixture_image, .length = sizeof(fixture_image)},
        .boot.command_line = "",
        .loop = fixture.loop,
        .serial_output = fixture_output,
        .stopped = fixture_stopped,
        .crashed = fixture_crashed,
    };
}

static inline int fixture_setup(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    fixture_make_image();
    return loop_create(&fixture.loop);
}

static inline int fixture_teardown(void **state)
{
    (void)state;
    machine_destroy(fixture.machine);
    loop_destroy(fixture.loop);
    return 0;
}

#endif
