#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/words.h"

static struct control_request decoded(const char *line)
{
    struct control_request request;
    struct reason reason = {""};

    assert_int_equal(control_decode_request(line, strlen(line), &request, &reason), 0);
    return request;
}

static void requests_are_decoded(void **state)
{
    (void)state;
    struct control_request request = decoded("{\"verb\":\"attach\",\"path\":\"/a \\u00e4\","
                                             "\"controller\":1,\"lun\":2,\"dvd\":true}");
    assert_int_equal(request.verb, CONTROL_ATTACH);
    assert_string_equal(request.path, "/a \xc3\xa4");
    assert_true(request.placed);
    assert_int_equal(request.controller, 1);
    assert_int_equal(request.lun, 2);
    assert_true(request.dvd);
    assert_false(request.read_only);
    request = decoded("{\"verb\":\"attach\",\"path\":\"/a\",\"read_only\":true}");
    assert_false(request.placed);
    assert_true(request.read_only);
    request = decoded("{\"verb\":\"attach\",\"dvd\":true}");
    assert_string_equal(request.path, "");
    request = decoded("{\"verb\":\"detach\",\"controller\":3,\"lun\":63}");
    assert_int_equal(request.lun, 63);
    assert_int_equal(decoded("{\"verb\":\"power-button\"}").verb, CONTROL_POWER_BUTTON);
}

static void request_that_is_not_exactly_right_is_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "[]",
        "{",
        "{}",
        "{\"verb\":1}",
        "{\"verb\":\"explode\"}",
        "{\"verb\":\"stop\"} {}",
        "{\"verb\":\"stop\",\"verb\":\"status\"}",
        "{\"verb\":\"stop\",\"force\":true}",
        "{\"verb\":\"attach\"}",
        "{\"verb\":\"attach\",\"dvd\":false}",
        "{\"verb\":\"insert\",\"controller\":0,\"lun\":1}",
        "{\"verb\":\"attach\",\"path\":\"relative\"}",
        "{\"verb\":\"attach\",\"path\":\"/a\\u0000b\"}",
        "{\"verb\":\"attach\",\"path\":\"/a\",\"lun\":1}",
        "{\"verb\":\"attach\",\"path\":\"/a\",\"readonly\":true}",
        "{\"verb\":\"attach\",\"path\":\"/a\",\"read_only\":1}",
        "{\"verb\":\"attach\",\"path\":\"/\xff\"}",
        "{\"verb\":\"detach\",\"controller\":0}",
        "{\"verb\":\"detach\",\"controller\":-1,\"lun\":0}",
        "{\"verb\":\"detach\",\"controller\":4294967296,\"lun\":0}",
        "{\"verb\":\"detach\",\"controller\":99999999999999999999,\"lun\":0}",
        "{\"verb\":\"detach\",\"controller\":1.0,\"lun\":0}",
    };
    (void)state;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct control_request request;
        struct reason reason = {""};
        if (control_decode_request(lines[i], strlen(lines[i]), &request, &reason) != -EINVAL)
            fail_msg("accepted: %s", lines[i]);
        assert_int_not_equal(reason.text[0], '\0');
    }
}

static void path_that_is_too_long_is_refused(void **state)
{
    static char line[CONTROL_PATH_SIZE + 64] = "{\"verb\":\"attach\",\"path\":\"/";
    struct control_request request;
    (void)state;

    size_t start = strlen(line);
    memset(line + start, 'a', CONTROL_PATH_SIZE - 1);
    memcpy(line + start + CONTROL_PATH_SIZE - 1, "\"}", 3);
    assert_int_equal(control_decode_request(line, strlen(line), &request, NULL), -EINVAL);
    memmove(line + start, line + start + 1, strlen(line + start));
    assert_int_equal(control_decode_request(line, strlen(line), &request, NULL), 0);
}

static void every_request_survives_the_way(void **state)
{
    (void)state;
    for (unsigned verb = 0; verb < CONTROL_VERB_COUNT; verb++) {
        struct control_request request = {.verb = verb,
                                          .path = "/x\n\"",
                                          .placed = true,
                                          .controller = 2,
                                          .lun = 5,
                                          .read_only = true};
        struct control_request back;
        char *line = NULL;
        size_t length = 0;
        assert_int_equal(control_encode_request(&request, &line, &length), 0);
        assert_ptr_equal(memchr(line, '\n', length), line + length - 1);
        assert_int_equal(control_decode_request(line, length - 1, &back, NULL), 0);
        assert_int_equal(back.verb, verb);
        if (back.placed)
            assert_int_equal(back.lun, 5);
        if (back.path[0] != '\0')
            assert_string_equal(back.path, "/x\n\"");
        free(line);
    }
}

static void a_cable_is_named_by_its_card(void **state)
{
    struct control_request request = decoded("{\"verb\":\"link\",\"card\":3,\"up\":true}");
    (void)state;
    assert_int_equal(request.verb, CONTROL_LINK);
    assert_int_equal(request.card, 3);
    assert_true(request.up);
    assert_int_equal(control_decode_request("{\"verb\":\"link\",\"card\":3}", 24, &request, NULL),
                     -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_decoded),
        cmocka_unit_test(request_that_is_not_exactly_right_is_refused),
        cmocka_unit_test(path_that_is_too_long_is_refused),
        cmocka_unit_test(every_request_survives_the_way),
        cmocka_unit_test(a_cable_is_named_by_its_card),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
