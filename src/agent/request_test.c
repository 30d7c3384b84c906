#include "agent/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint8_t payload[FRAME_MOST];
static struct exec_request out;

static int encode(const struct exec_request *request)
{
    memset(payload, 0xa5, sizeof(payload));
    return exec_encode(request, payload);
}

static void an_exec_comes_out_as_it_went_in(void **state)
{
    const struct exec_request in = {.terminal = true,
                                    .rows = 40,
                                    .columns = 300,
                                    .user = "web:www",
                                    .directory = "/srv",
                                    .argument_count = 3,
                                    .arguments = {"ls", "", "-l"},
                                    .environment_count = 1,
                                    .environment = {"A=b"}};
    (void)state;
    int length = encode(&in);
    assert_true(length > 0);
    assert_int_equal(exec_decode(payload, (size_t)length, &out), 0);
    assert_true(out.terminal && !out.input);
    assert_int_equal(out.rows, 40);
    assert_int_equal(out.columns, 300);
    assert_string_equal(out.user, "web:www");
    assert_string_equal(out.directory, "/srv");
    assert_int_equal(out.argument_count, 3);
    assert_string_equal(out.arguments[1], "");
    assert_string_equal(out.arguments[2], "-l");
    assert_null(out.arguments[3]);
    assert_string_equal(out.environment[0], "A=b");
    assert_null(out.environment[1]);
}

static void an_exec_that_was_cut_is_refused(void **state)
{
    const struct exec_request in = {
        .user = "u", .directory = "d", .argument_count = 1, .arguments = {"x"}};
    (void)state;
    int length = encode(&in);
    for (int cut = 0; cut < length; cut++)
        assert_true(exec_decode(payload, (size_t)cut, &out) < 0);
    assert_int_equal(exec_decode(payload, (size_t)length + 1, &out), -EPROTO);
}

static void more_words_than_there_are_is_refused(void **state)
{
    const struct exec_request in = {.user = "", .directory = ""};
    (void)state;
    int length = encode(&in);
    payload[8] = 0xff;
    payload[9] = 0xff;
    assert_int_equal(exec_decode(payload, (size_t)length, &out), -EPROTO);
}

static void another_version_is_told_apart(void **state)
{
    static const uint8_t other[] = {AGENT_VERSION + 1, 0};
    struct copy_request copy;
    (void)state;
    assert_int_equal(exec_decode(other, 2, &out), -EPROTONOSUPPORT);
    assert_int_equal(copy_decode(other, 2, &copy), -EPROTONOSUPPORT);
}

static void what_is_too_long_is_not_encoded(void **state)
{
    static char longest[FRAME_MOST + 1];
    const struct exec_request in = {.user = longest, .directory = ""};
    (void)state;
    memset(longest, 'x', FRAME_MOST);
    assert_int_equal(exec_encode(&in, payload), -E2BIG);
}

static int decode_path(const char *path, enum entry_kind kind, const char *target)
{
    const struct entry in = {.kind = kind, .mode = 0644, .path = path, .target = target};
    struct entry entry;
    int length = entry_encode(&in, payload);
    return entry_decode(payload, (size_t)length, &entry);
}

static void paths_stay_below_their_root(void **state)
{
    static const char *const wrong[] = {"/",    "/etc", "..",  "../x", "a/..", "a/../b",
                                        "a//b", "a/",   "./a", ".",    "a/.",  "a/./b"};
    static const char *const right[] = {"", "a", "a/b", "...", "..a", "a/..b/c", ".a"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(decode_path(wrong[i], ENTRY_FILE, ""), -EPROTO);
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
        assert_int_equal(decode_path(right[i], ENTRY_FILE, ""), 0);
}

static void only_links_have_a_target(void **state)
{
    (void)state;
    assert_int_equal(decode_path("a", ENTRY_LINK, "/etc"), 0);
    assert_int_equal(decode_path("a", ENTRY_LINK, ""), -EPROTO);
    assert_int_equal(decode_path("a", ENTRY_FILE, "b"), -EPROTO);
    assert_int_equal(decode_path("a", (enum entry_kind)4, ""), -EPROTO);
    assert_int_equal(decode_path("a", (enum entry_kind)0, ""), -EPROTO);
}

static void names_of_copies_are_plain(void **state)
{
    static const char *const wrong[] = {"a/b", "/", "..", "."};
    struct copy_request copy;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct copy_request in = {"/tmp", wrong[i]};
        int length = copy_encode(&in, payload);
        assert_int_equal(copy_decode(payload, (size_t)length, &copy), -EPROTO);
    }
    const struct copy_request nowhere = {"", "a"};
    int length = copy_encode(&nowhere, payload);
    assert_int_equal(copy_decode(payload, (size_t)length, &copy), -EPROTO);
}

static void a_failure_is_printable(void **state)
{
    static const uint8_t bytes[] = {9, 0, 0, 0, 'a', 0x1b, '[', 'm', 0, '\n', 'b'};
    char text[8];
    uint32_t code = 0;
    (void)state;
    assert_int_equal(failure_decode(bytes, sizeof(bytes), &code, text, sizeof(text)), 0);
    assert_int_equal(code, 9);
    assert_string_equal(text, "a?[m??b");
    assert_int_equal(failure_decode(bytes, sizeof(bytes), &code, text, 3), 0);
    assert_string_equal(text, "a?");
    assert_int_equal(failure_decode(bytes, 3, &code, text, sizeof(text)), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exec_comes_out_as_it_went_in),
        cmocka_unit_test(an_exec_that_was_cut_is_refused),
        cmocka_unit_test(more_words_than_there_are_is_refused),
        cmocka_unit_test(another_version_is_told_apart),
        cmocka_unit_test(what_is_too_long_is_not_encoded),
        cmocka_unit_test(paths_stay_below_their_root),
        cmocka_unit_test(only_links_have_a_target),
        cmocka_unit_test(names_of_copies_are_plain),
        cmocka_unit_test(a_failure_is_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
