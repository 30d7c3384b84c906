/* The screen of a machine, and the memory that it lies in. */
#include "base/clock.h"
#include "machine/machine_private.h"

enum { BYTES_A_PIXEL = 4, LEAST_MEMORY = 4 << 20, MIB = 1 << 20 };

bool machine_video_fits(unsigned width, unsigned height)
{
    return width >= VIDEO_LEAST_WIDTH && width <= VIDEO_MOST_SIDE && height >= VIDEO_LEAST_HEIGHT &&
           height <= VIDEO_MOST_SIDE &&
           (uint64_t)width * height * BYTES_A_PIXEL <= CHIPSET_VIDEO_MOST;
}

/* A power of two, as the BAR of a PCI device has it. */
uint64_t machine_video_memory(const struct machine_config *config)
{
    uint64_t size = LEAST_MEMORY;

    if (config->video_width == 0)
        return 0;
    while (size < (uint64_t)config->video_width * config->video_height * BYTES_A_PIXEL)
        size *= 2;
    return size;
}

int machine_create_video(struct machine *machine, struct reason *reason)
{
    const struct ic_host host = {
        .vmbus = machine->vmbus, .loop = machine->config.loop, .now = clock_monotonic_ns};
    const struct video_config config = {
        .width = machine->config.video_width,
        .height = machine->config.video_height,
        .megabytes = (unsigned)(machine_video_memory(&machine->config) / MIB),
        .mem = machine->mem,
    };

    if (config.width == 0)
        return 0;
    int error = video_create(&host, &config, &machine->video);
    return error < 0 ? reason_set(reason, error, "the screen cannot be made") : 0;
}

void machine_destroy_video(struct machine *machine)
{
    video_destroy(machine->video);
    machine->video = NULL;
}

struct video *machine_video(struct machine *machine)
{
    return machine->video;
}
