/*
 * Invariant: what a frame or a request is made of stays within the bytes that came, however these
 * are cut; what was decoded encodes to the same again; and no path leads up or to the top.
 *
 * The first byte says in what pieces the rest comes.
 */
#include "agent/frame.h"

#include <stdlib.h>
#include <string.h>

#include "agent/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static struct frame_reader reader;
static struct exec_request request;
static uint8_t again[FRAME_MOST];

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_again(const struct frame *frame, int length)
{
    must(length >= 0 && (size_t)length == frame->length);
    must(memcmp(again, frame->payload, frame->length) == 0);
}

static void check_exec(const struct frame *frame)
{
    if (exec_decode(frame->payload, frame->length, &request) < 0)
        return;
    must(request.arguments[request.argument_count] == NULL);
    must(request.environment[request.environment_count] == NULL);
    check_again(frame, exec_encode(&request, again));
}

static void check_copy(const struct frame *frame)
{
    struct copy_request copy;

    if (copy_decode(frame->payload, frame->length, &copy) < 0)
        return;
    must(strchr(copy.name, '/') == NULL && copy.path[0] != '\0');
    check_again(frame, copy_encode(&copy, again));
}

static void check_entry(const struct frame *frame)
{
    struct entry entry;

    if (entry_decode(frame->payload, frame->length, &entry) < 0)
        return;
    must(entry.path[0] != '/' && strstr(entry.path, "//") == NULL);
    must(strcmp(entry.path, "..") != 0 && strncmp(entry.path, "../", 3) != 0);
    must(strstr(entry.path, "/../") == NULL);
    must((entry.kind == ENTRY_LINK) == (entry.target[0] != '\0'));
    check_again(frame, entry_encode(&entry, again));
}

static void check_others(const struct frame *frame)
{
    struct file_end end;
    char text[32];
    uint32_t code = 0;

    (void)file_end_decode(frame->payload, frame->length, &end);
    if (failure_decode(frame->payload, frame->length, &code, text, sizeof(text)) == 0)
        must(strlen(text) < sizeof(text));
}

static void check_frame(const struct frame *frame)
{
    must(frame->length <= FRAME_MOST && frame->payload >= reader.bytes &&
         frame->payload + frame->length <= reader.bytes + reader.end);
    check_exec(frame);
    check_copy(frame);
    check_entry(frame);
    check_others(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    size_t piece = length > 0 && bytes[0] > 0 ? bytes[0] : SIZE_MAX;
    struct frame frame;
    int found = 0;

    reader.start = reader.end = 0;
    for (size_t at = 1; at < length && found >= 0;) {
        size_t part = length - at < piece ? length - at : piece;
        at += frame_feed(&reader, bytes + at, part);
        while ((found = frame_next(&reader, &frame)) > 0)
            check_frame(&frame);
    }
    return 0;
}
