#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/words.h"

static void status_survives_the_way(void **state)
{
    char path[] = "/srv/a.img";
    struct control_disk disks[2] = {
        {.path = path,
         .controller = 1,
         .lun = 2,
         .capacity = UINT64_C(1) << 46,
         .reads = 3,
         .written_bytes = UINT64_C(1) << 40},
        {.dvd = true, .read_only = true},
    };
    struct control_reply reply = {
        .kind = CONTROL_REPLY_STATUS,
        .status = {.state = "running",
                   .engine = "soft",
                   .pid = 7,
                   .uptime_ns = 8,
                   .memory = 9,
                   .assigned = 10,
                   .cpus = 4,
                   .vmbus = "5.3",
                   .channels = 6,
                   .disks = disks,
                   .disk_count = 2},
    };
    struct control_reply back;
    char *line = NULL;
    size_t length = 0;
    (void)state;

    assert_int_equal(control_encode_reply(&reply, &line, &length), 0);
    assert_int_equal(control_decode_reply(line, length - 1, &back, NULL), 0);
    assert_int_equal(back.kind, CONTROL_REPLY_STATUS);
    assert_string_equal(back.status.state, "running");
    assert_string_equal(back.status.vmbus, "5.3");
    assert_int_equal(back.status.memory, 9);
    assert_int_equal(back.status.assigned, 10);
    assert_int_equal(back.status.cpus, 4);
    assert_int_equal(back.status.disk_count, 2);
    assert_string_equal(back.status.disks[0].path, path);
    assert_int_equal(back.status.disks[0].written_bytes, UINT64_C(1) << 40);
    assert_null(back.status.disks[1].path);
    assert_true(back.status.disks[1].dvd);
    control_reply_release(&back);
    control_reply_release(&back);
    free(line);
}

static void memory_of_an_older_worker_is_what_it_has(void **state)
{
    static const char line[] =
        "{\"ok\":true,\"status\":{\"state\":\"running\",\"engine\":\"soft\",\"pid\":1,"
        "\"uptime_ns\":2,\"memory\":3,\"cpus\":4,\"vmbus\":\"\",\"channels\":0,\"disks\":[]}}";
    struct control_reply back;
    (void)state;

    assert_int_equal(control_decode_reply(line, strlen(line), &back, NULL), 0);
    assert_int_equal(back.status.assigned, 3);
    control_reply_release(&back);
}

static void cards_survive_the_way(void **state)
{
    struct control_reply reply = {
        .kind = CONTROL_REPLY_STATUS,
        .status = {.cards = {{.kind = "tap",
                              .mac = "00:15:5d:01:02:03",
                              .id = "{4b7d21c6-0e93-4a58-b1d4-506172740000}",
                              .link = true,
                              .mtu = 9000,
                              .channels = 4,
                              .sent_bytes = UINT64_C(1) << 40,
                              .received_dropped = 5},
                             {.kind = "nat", .mac = "00:15:5d:01:02:04", .used = true}},
                   .card_count = 2},
    };
    struct control_reply back;
    char *line = NULL;
    size_t length = 0;
    (void)state;

    assert_int_equal(control_encode_reply(&reply, &line, &length), 0);
    assert_int_equal(control_decode_reply(line, length - 1, &back, NULL), 0);
    assert_int_equal(back.status.card_count, 2);
    assert_memory_equal(&back.status.cards[0], &reply.status.cards[0], sizeof(reply.status.cards));
    control_reply_release(&back);
    free(line);
}

static void refusal_survives_the_way(void **state)
{
    static const int errors[] = {-EINVAL, -ENOENT, -EEXIST, -EBUSY, -EOPNOTSUPP};
    (void)state;

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct control_reply reply = {.error = errors[i], .reason = {"it is so"}};
        struct control_reply back;
        char *line = NULL;
        size_t length = 0;
        assert_int_equal(control_encode_reply(&reply, &line, &length), 0);
        assert_int_equal(control_decode_reply(line, length - 1, &back, NULL), 0);
        assert_int_equal(back.error, errors[i]);
        assert_string_equal(back.reason.text, "it is so");
        free(line);
    }
}

static void reply_that_is_not_understood_is_refused(void **state)
{
    static const char *const lines[] = {
        "true",
        "{}",
        "{\"ok\":1}",
        "{\"ok\":false}",
        "{\"ok\":true,\"status\":{}}",
        "{\"ok\":true,\"controller\":1}",
        "{\"ok\":true,\"status\":[]}",
    };
    (void)state;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct control_reply reply;
        assert_int_equal(control_decode_reply(lines[i], strlen(lines[i]), &reply, NULL), -EINVAL);
        control_reply_release(&reply);
    }
}

static void number_below_zero_is_refused(void **state)
{
    static const char line[] =
        "{\"ok\":true,\"status\":{\"state\":\"\",\"engine\":\"\",\"pid\":-1,\"uptime_ns\":0,"
        "\"memory\":0,\"cpus\":0,\"vmbus\":\"\",\"channels\":0,\"disks\":[]}}";
    struct control_reply reply;
    (void)state;

    assert_int_equal(control_decode_reply(line, strlen(line), &reply, NULL), -EINVAL);
    control_reply_release(&reply);
}

static void result_survives_the_way(void **state)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_RESULT,
                                  .result = json_pack("[i, s]", 3, "x")};
    struct control_reply back;
    char *line = NULL;
    size_t length = 0;
    (void)state;

    assert_int_equal(control_encode_reply(&reply, &line, &length), 0);
    assert_int_equal(control_decode_reply(line, length - 1, &back, NULL), 0);
    assert_int_equal(back.kind, CONTROL_REPLY_RESULT);
    assert_true(json_equal(back.result, reply.result));
    control_reply_release(&reply);
    control_reply_release(&back);
    control_reply_release(&back);
    free(line);
}

/* What a partition says is shown on a terminal. */
static void texts_of_a_reply_are_printable(void **state)
{
    static const char line[] = "{\"ok\":false,\"code\":\"odd\",\"error\":\"a\\u001b[2Jb\"}";
    struct control_reply reply;
    (void)state;

    assert_int_equal(control_decode_reply(line, strlen(line), &reply, NULL), 0);
    assert_int_equal(reply.error, -EIO);
    assert_string_equal(reply.reason.text, "a?[2Jb");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_survives_the_way),
        cmocka_unit_test(memory_of_an_older_worker_is_what_it_has),
        cmocka_unit_test(cards_survive_the_way),
        cmocka_unit_test(refusal_survives_the_way),
        cmocka_unit_test(reply_that_is_not_understood_is_refused),
        cmocka_unit_test(number_below_zero_is_refused),
        cmocka_unit_test(result_survives_the_way),
        cmocka_unit_test(texts_of_a_reply_are_printable),
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
