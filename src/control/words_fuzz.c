/* Any line: what is understood as a request or reply, encoded again, is understood as the same. */
#include "control/words.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_request(const char *line, size_t length)
{
    struct control_request first;
    struct control_request second;
    char *again = NULL;
    size_t again_length = 0;

    if (control_decode_request(line, length, &first, NULL) < 0)
        return;
    if (first.verb >= CONTROL_VERB_COUNT || (first.path[0] != '\0' && first.path[0] != '/'))
        abort();
    if (control_encode_request(&first, &again, &again_length) < 0)
        abort();
    if (again_length > CONTROL_MOST_REQUEST || again[again_length - 1] != '\n' ||
        strlen(again) != again_length)
        abort();
    if (control_decode_request(again, again_length - 1, &second, NULL) < 0 ||
        first.verb != second.verb || strcmp(first.path, second.path) != 0 ||
        first.placed != second.placed || first.controller != second.controller ||
        first.lun != second.lun || first.card != second.card || first.up != second.up ||
        first.read_only != second.read_only || first.dvd != second.dvd)
        abort();
    free(again);
}

static void check_reply(const char *line, size_t length)
{
    struct control_reply first;
    struct control_reply second;
    char *again = NULL;
    size_t again_length = 0;

    if (control_decode_reply(line, length, &first, NULL) == 0) {
        if (control_encode_reply(&first, &again, &again_length) < 0 ||
            control_decode_reply(again, again_length - 1, &second, NULL) < 0)
            abort();
        if (first.error != second.error || first.kind != second.kind ||
            first.status.disk_count != second.status.disk_count ||
            first.status.card_count != second.status.card_count ||
            first.status.memory != second.status.memory ||
            first.status.assigned != second.status.assigned ||
            !json_equal(first.result, second.result) != (first.result == NULL))
            abort();
        control_reply_release(&second);
        free(again);
    }
    control_reply_release(&first);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < CONTROL_MOST_REQUEST) {
        check_request((const char *)bytes, size);
        check_reply((const char *)bytes, size);
    }
    return 0;
}
