/* Both directions of a copy, and a sender that means ill. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/request.h"
#include "agent/tree.h"
#include "base/crc32c.h"

static char folder[64];
static int ends[2]; /* 0 sends, 1 receives */
static struct frame_reader readers[2];
static struct reason reason;

static int setup(void **state)
{
    (void)state;
    (void)strcpy(folder, "/tmp/partita-tree-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(mkdir("to", 0755), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    memset(&reason, 0, sizeof(reason));
    memset(readers, 0, sizeof(readers));
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(chdir("/"), 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void assert_file(const char *path, const char *wanted)
{
    char text[256] = "";
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    assert_true(length < sizeof(text));
    (void)fclose(file);
    assert_string_equal(text, wanted);
}

static bool is_there(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

/* ---- an honest sender ---- */

static void *send_path(void *path)
{
    struct tree_peer peer = {.fd = ends[0], .reader = &readers[0]};
    struct reason why = {""};
    long error = tree_send(&peer, path, &why);
    if (error < 0 && error != -EREMOTEIO)
        (void)frame_fail(ends[0], 1, why.text);
    return (void *)error; /* NOLINT(performance-no-int-to-ptr) */
}

static int receive(const char *path, const char *name)
{
    struct tree_peer peer = {.fd = ends[1], .reader = &readers[1]};
    const struct tree_target target = {.path = path, .name = name, .mode_mask = 0777};
    return tree_receive(&peer, &target, &reason);
}

static int copy(const char *from, const char *to, const char *name)
{
    pthread_t thread;
    union {
        const char *constant;
        char *plain;
    } path = {from};
    assert_int_equal(pthread_create(&thread, NULL, send_path, path.plain), 0);
    int error = receive(to, name);
    (void)pthread_join(thread, NULL);
    return error;
}

static void a_file_keeps_its_bytes_mode_and_time(void **state)
{
    const struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 1000000000, .tv_nsec = 7}};
    struct stat status;
    (void)state;
    write_file("a", "hello", 0600);
    assert_int_equal(chmod("a", 04751), 0);
    assert_int_equal(utimensat(AT_FDCWD, "a", times, 0), 0);
    assert_int_equal(copy("a", "to", "a"), 0);
    assert_file("to/a", "hello");
    assert_int_equal(stat("to/a", &status), 0);
    assert_int_equal(status.st_mode & 07777, 0751); /* masked */
    assert_int_equal(status.st_mtim.tv_sec, 1000000000);
    assert_int_equal(status.st_mtim.tv_nsec, 7);
}

static void a_file_takes_the_name_that_it_is_given(void **state)
{
    (void)state;
    write_file("a", "new", 0644);
    write_file("to/b", "old, and longer", 0644);
    assert_int_equal(copy("a", "to/b", "a"), 0);
    assert_file("to/b", "new");
    assert_int_equal(copy("a", "to/c", "a"), 0);
    assert_file("to/c", "new");
    assert_int_equal(copy("a", "to/none/c", "a"), -ENOENT);
}

static void a_folder_goes_along_with_what_is_in_it(void **state)
{
    char target[16] = "";
    (void)state;
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkdir("d/e", 0500), 0);
    assert_int_equal(chmod("d/e", 0700), 0);
    write_file("d/e/f", "deep", 0644);
    write_file("d/empty", "", 0644);
    assert_int_equal(symlink("../nowhere", "d/l"), 0);
    assert_int_equal(mkfifo("d/pipe", 0600), 0);
    assert_int_equal(copy("d", "to", "d"), 0);
    assert_file("to/d/e/f", "deep");
    assert_file("to/d/empty", "");
    assert_int_equal(readlink("to/d/l", target, sizeof(target) - 1), 10);
    assert_string_equal(target, "../nowhere");
    assert_false(is_there("to/d/pipe"));
    assert_int_equal(copy("d", "to", "d"), 0); /* over what is there */
    assert_int_equal(copy("d", "to", ""), 0);  /* its contents only */
    assert_file("to/e/f", "deep");
    assert_int_equal(copy("d", "new", "d"), 0);
    assert_file("new/e/f", "deep");
}

static void kinds_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    write_file("a", "a", 0644);
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(copy("d", "a", "d"), -ENOTDIR);
    assert_file("a", "a");
}

static void what_cannot_be_read_is_told(void **state)
{
    (void)state;
    assert_int_equal(copy("nothing", "to", "nothing"), -EREMOTEIO);
    assert_non_null(strstr(reason.text, "nothing: No such file"));
}

static void a_device_is_written_in_place(void **state)
{
    struct stat status;
    (void)state;
    write_file("a", "a", 0644);
    assert_int_equal(copy("a", "/dev/null", "a"), 0);
    assert_int_equal(stat("/dev/null", &status), 0);
    assert_true(S_ISCHR(status.st_mode));
}

static void an_open_file_is_written_by_its_link(void **state)
{
    char path[64];
    struct stat status;
    (void)state;
    write_file("a", "new", 0644);
    write_file("out", "old and longer", 0644);
    int fd = open("out", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    assert_int_equal(copy("a", path, "a"), 0);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_nlink, 1);
    (void)close(fd);
    assert_file("out", "new");
}

/* ---- any sender ---- */

static void put_entry(enum entry_kind kind, const char *path, const char *target)
{
    static uint8_t payload[FRAME_MOST];
    const struct entry entry = {.kind = kind, .mode = 0644, .path = path, .target = target};
    int length = entry_encode(&entry, payload);
    assert_true(length > 0);
    assert_int_equal(frame_write(ends[0], FRAME_ENTRY, payload, (size_t)length), 0);
}

static void put_end(uint64_t length, uint32_t crc)
{
    const struct file_end end = {length, crc};
    uint8_t payload[FILE_END_SIZE];
    file_end_encode(&end, payload);
    assert_int_equal(frame_write(ends[0], FRAME_END, payload, sizeof(payload)), 0);
}

static void put_file(const char *path)
{
    put_entry(ENTRY_FILE, path, "");
    assert_int_equal(frame_write(ends[0], FRAME_DATA_BYTES, "evil", 4), 0);
    put_end(4, crc32c(0, "evil", 4));
}

static void nothing_is_written_through_a_link(void **state)
{
    (void)state;
    assert_int_equal(mkdir("victim", 0755), 0);
    put_entry(ENTRY_DIRECTORY, "", "");
    put_entry(ENTRY_LINK, "l", "../../victim");
    put_file("l/x");
    assert_true(receive("to", "d") < 0);
    assert_false(is_there("victim/x"));
}

static void a_link_is_replaced_and_not_followed(void **state)
{
    struct stat status;
    (void)state;
    write_file("victim", "victim", 0644);
    assert_int_equal(mkdir("to/d", 0755), 0);
    assert_int_equal(symlink("../../victim", "to/d/l"), 0);
    put_entry(ENTRY_DIRECTORY, "", "");
    put_file("l");
    assert_int_equal(frame_write(ends[0], FRAME_DONE, NULL, 0), 0);
    assert_int_equal(receive("to", "d"), 0);
    assert_file("victim", "victim");
    assert_int_equal(lstat("to/d/l", &status), 0);
    assert_true(S_ISREG(status.st_mode));
}

static void a_folder_is_not_made_in_place_of_a_link(void **state)
{
    (void)state;
    assert_int_equal(mkdir("victim", 0755), 0);
    assert_int_equal(mkdir("to/d", 0755), 0);
    assert_int_equal(symlink("../../victim", "to/d/l"), 0);
    put_entry(ENTRY_DIRECTORY, "", "");
    put_entry(ENTRY_DIRECTORY, "l", "");
    put_file("l/x");
    assert_true(receive("to", "d") < 0);
    assert_false(is_there("victim/x"));
}

static void a_wrong_checksum_or_length_leaves_nothing(void **state)
{
    (void)state;
    put_entry(ENTRY_FILE, "", "");
    assert_int_equal(frame_write(ends[0], FRAME_DATA_BYTES, "data", 4), 0);
    put_end(4, 1);
    assert_int_equal(receive("to", "a"), -EBADMSG);
    assert_int_equal(rmdir("to"), 0);
    assert_int_equal(mkdir("to", 0755), 0);
    put_entry(ENTRY_FILE, "", "");
    put_end(1, 0);
    assert_int_equal(receive("to", "a"), -EBADMSG);
    assert_int_equal(rmdir("to"), 0);
}

static void a_sender_that_goes_leaves_nothing(void **state)
{
    (void)state;
    put_entry(ENTRY_FILE, "", "");
    assert_int_equal(frame_write(ends[0], FRAME_DATA_BYTES, "data", 4), 0);
    (void)shutdown(ends[0], SHUT_WR);
    assert_int_equal(receive("to", "a"), -ECONNRESET);
    assert_int_equal(rmdir("to"), 0);
}

static void frames_out_of_place_are_refused(void **state)
{
    static const enum frame_type types[] = {FRAME_DATA_BYTES, FRAME_END, FRAME_DONE, FRAME_OUTPUT};
    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        memset(readers, 0, sizeof(readers));
        assert_int_equal(frame_write(ends[0], types[i], "123456789012", 12), 0);
        assert_int_equal(receive("to", "a"), -EPROTO);
    }
    put_entry(ENTRY_FILE, "below", ""); /* not the root first */
    assert_int_equal(receive("to", "a"), -EPROTO);
    put_entry(ENTRY_FILE, "", "");
    put_entry(ENTRY_FILE, "x", ""); /* within a file */
    assert_int_equal(receive("to", "a"), -EPROTO);
}

static void a_receiver_that_fails_is_heard(void **state)
{
    struct tree_peer peer = {.fd = ends[0], .reader = &readers[0]};
    (void)state;
    write_file("a", "a", 0644);
    assert_int_equal(frame_fail(ends[1], 1, "disk full"), 0);
    assert_int_equal(tree_send(&peer, "a", &reason), -EREMOTEIO);
    assert_string_equal(reason.text, "disk full");
}

/* It would be followed by the next copy to the same place. */
static void a_link_in_place_of_what_was_asked_for_is_refused(void **state)
{
    uint8_t bytes[FRAME_MOST];
    const struct entry link = {.kind = ENTRY_LINK, .path = "", .target = "/tmp"};
    (void)state;

    int length = entry_encode(&link, bytes);
    assert_true(length > 0);
    assert_int_equal(frame_write(ends[0], FRAME_ENTRY, bytes, (size_t)length), 0);
    assert_int_equal(frame_write(ends[0], FRAME_DONE, NULL, 0), 0);
    assert_int_equal(receive("to", "data"), -EPROTO);
    assert_false(is_there("to/data"));
}

/* Whoever has laid it there. */
static void a_folder_does_not_go_where_a_link_of_its_name_leads(void **state)
{
    (void)state;
    assert_int_equal(mkdir("from", 0755), 0);
    write_file("from/a", "a", 0644);
    assert_int_equal(mkdir("victim", 0755), 0);
    assert_int_equal(symlink("../victim", "to/from"), 0);
    assert_true(copy("from", "to", "from") < 0);
    assert_false(is_there("victim/a"));
}

static void a_folder_goes_where_the_user_says_though_that_is_a_link(void **state)
{
    (void)state;
    assert_int_equal(mkdir("from", 0755), 0);
    write_file("from/a", "a", 0644);
    assert_int_equal(mkdir("victim", 0755), 0);
    assert_int_equal(symlink("../victim", "to/from"), 0);
    assert_int_equal(copy("from", "to/from", ""), 0);
    assert_file("victim/a", "a");
}

/* ---- into a stream ---- */

static int receive_stream(const char *path)
{
    struct tree_peer peer = {.fd = ends[1], .reader = &readers[1]};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd > 0);
    const struct tree_target target = {.path = "stream", .stream = fd};
    int error = tree_receive(&peer, &target, &reason);
    (void)close(fd);
    return error;
}

static void a_file_goes_into_a_stream(void **state)
{
    (void)state;
    put_file("");
    assert_int_equal(frame_write(ends[0], FRAME_DONE, NULL, 0), 0);
    assert_int_equal(receive_stream("out"), 0);
    assert_file("out", "evil");
}

static void only_one_file_goes_into_a_stream(void **state)
{
    (void)state;
    put_entry(ENTRY_DIRECTORY, "", "");
    assert_int_equal(receive_stream("out"), -EISDIR);
    put_file("");
    put_file("x");
    assert_int_equal(receive_stream("out"), -EISDIR);
    assert_file("out", "evil");
}

static void a_stream_is_told_of_a_wrong_checksum(void **state)
{
    (void)state;
    put_entry(ENTRY_FILE, "", "");
    assert_int_equal(frame_write(ends[0], FRAME_DATA_BYTES, "data", 4), 0);
    put_end(4, 1);
    assert_int_equal(receive_stream("out"), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_keeps_its_bytes_mode_and_time),
        TEST(a_file_takes_the_name_that_it_is_given),
        TEST(a_folder_goes_along_with_what_is_in_it),
        TEST(kinds_that_do_not_fit_are_refused),
        TEST(what_cannot_be_read_is_told),
        TEST(a_device_is_written_in_place),
        TEST(an_open_file_is_written_by_its_link),
        TEST(nothing_is_written_through_a_link),
        TEST(a_link_is_replaced_and_not_followed),
        TEST(a_folder_is_not_made_in_place_of_a_link),
        TEST(a_wrong_checksum_or_length_leaves_nothing),
        TEST(a_sender_that_goes_leaves_nothing),
        TEST(frames_out_of_place_are_refused),
        TEST(a_receiver_that_fails_is_heard),
        TEST(a_link_in_place_of_what_was_asked_for_is_refused),
        TEST(a_folder_does_not_go_where_a_link_of_its_name_leads),
        TEST(a_folder_goes_where_the_user_says_though_that_is_a_link),
        TEST(a_file_goes_into_a_stream),
        TEST(only_one_file_goes_into_a_stream),
        TEST(a_stream_is_told_of_a_wrong_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
