#include "worker/disks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "disk/disk.h"

static char folder[] = "/tmp/partita-disks-XXXXXX";
static char image[64];
static struct worker_config config;
static struct disks *disks;
static struct reason why;
static struct loop *loop;

/* ---- a machine in whose place the test stands ---- */

static struct {
    bool holds_on; /* to disks: it lets go of them when the test says so */
    int error;     /* of the next call */
    struct machine_disk added;
    struct disk *inside; /* the disc of the only drive */
    struct disk *leaving;
    void (*removed)(void *owner, struct disk *disk);
    void *removed_owner;
} pc;

static int take_error(void)
{
    int error = pc.error;
    pc.error = 0;
    return error;
}

static void let_go(void)
{
    pc.removed(pc.removed_owner, pc.leaving);
}

int machine_add_disk(struct machine *machine, const struct machine_disk *disk,
                     struct reason *reason)
{
    int error = take_error();
    (void)machine;
    pc.added = *disk;
    pc.inside = disk->disk;
    return error < 0 ? reason_set(reason, error, "the machine refuses") : 0;
}

int machine_remove_disk(struct machine *machine, unsigned controller, unsigned lun,
                        void (*removed)(void *owner, struct disk *disk), void *owner)
{
    (void)machine;
    (void)controller;
    (void)lun;
    pc.leaving = pc.inside;
    pc.removed = removed;
    pc.removed_owner = owner;
    if (!pc.holds_on)
        let_go();
    return 0;
}

int machine_change_disc(struct machine *machine, const struct machine_disk *disc,
                        void (*released)(void *owner, struct disk *disk), void *owner)
{
    int error = take_error();
    if (error < 0)
        return error;
    if (pc.inside != NULL)
        (void)machine_remove_disk(machine, 0, 0, released, owner);
    pc.inside = disc->disk;
    return 0;
}

/* ---- orders ---- */

static unsigned ended;
static int end_error;
static char end_text[sizeof(why.text)];

static void note_end(void *owner, int error, const struct reason *said)
{
    assert_ptr_equal(owner, &ended);
    ended++;
    end_error = error;
    (void)snprintf(end_text, sizeof(end_text), "%s", said->text);
}

static const struct disks_answer answer = {note_end, &ended};

static void stop_loop(void *owner)
{
    loop_stop(owner);
}

static void run_loop(void)
{
    struct loop_timer *timer = NULL;
    assert_int_equal(loop_timer_create(loop, stop_loop, loop, &timer), 0);
    loop_timer_set(timer, clock_monotonic_ns() + NS_PER_SECOND / 50);
    assert_int_equal(loop_run(loop), 0);
    loop_timer_destroy(timer);
}

static int attach(const char *path, bool dvd)
{
    const struct worker_disk disk = {.path = path, .dvd = dvd};
    unsigned controller;
    unsigned lun;
    return disks_attach(disks, &disk, &controller, &lun, &why);
}

/* Whether another could write to the file: it is not in use. */
static bool is_free(const char *path)
{
    struct disk *disk = NULL;
    if (disk_open(path, DISK_WRITABLE, &disk, NULL) < 0)
        return false;
    assert_int_equal(disk_close(disk), 0);
    return true;
}

/* ---- the file ---- */

static int make_image(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(image, sizeof(image), "%s/image", folder);
    FILE *file = fopen(image, "w");
    return file == NULL || ftruncate(fileno(file), 1 << 20) != 0 || fclose(file) != 0;
}

static int remove_image(void **state)
{
    (void)state;
    return unlink(image) | rmdir(folder);
}

static int set_up(void **state)
{
    (void)state;
    memset(&config, 0, sizeof(config));
    memset(&pc, 0, sizeof(pc));
    disks = NULL;
    ended = 0;
    return loop_create(&loop);
}

static int set_up_running(void **state)
{
    int error = set_up(state);
    return error == 0 ? disks_open(&config, loop, &disks, &why) : error;
}

static int tear_down(void **state)
{
    int error = disks_close(disks, NULL);
    (void)state;
    loop_destroy(loop);
    return error;
}

static struct worker_disk *add(const char *path)
{
    struct worker_disk *disk = &config.disks[config.disk_count++];
    disk->path = path;
    disk->dvd = path == NULL;
    return disk;
}

static void place(struct worker_disk *disk, unsigned controller, unsigned lun)
{
    disk->placed = true;
    disk->controller = controller;
    disk->lun = lun;
}

static void assert_place(size_t index, unsigned controller, unsigned lun)
{
    size_t count = 0;
    const struct machine_disk *places = disks_places(disks, &count);
    assert_true(index < count);
    assert_int_equal(places[index].controller, controller);
    assert_int_equal(places[index].lun, lun);
}

static void ignore(struct disk_request *request, int error)
{
    (void)request;
    assert_int_equal(error, 0);
}

static void disks_without_a_place_go_around_the_others(void **state)
{
    (void)state;
    (void)add(NULL);
    place(add(NULL), 0, 0);
    place(add(NULL), 2, 5);
    (void)add(NULL);
    assert_int_equal(disks_open(&config, loop, &disks, &why), 0);
    assert_place(0, 0, 1);
    assert_place(1, 0, 0);
    assert_place(2, 2, 5);
    assert_place(3, 0, 2);
}

static void there_are_four_controllers_of_64(void **state)
{
    (void)state;
    for (int i = 0; i < WORKER_MAX_DISKS; i++)
        (void)add(NULL);
    assert_int_equal(disks_open(&config, loop, &disks, &why), 0);
    assert_place(63, 0, 63);
    assert_place(64, 1, 0);
    assert_place(255, 3, 63);
}

static void a_place_is_given_once(void **state)
{
    (void)state;
    place(add(image), 1, 1);
    place(add(image), 1, 1);
    assert_int_equal(disks_open(&config, loop, &disks, &why), -EEXIST);
    assert_non_null(strstr(why.text, "1:1"));
    place(&config.disks[1], 4, 0);
    assert_int_equal(disks_open(&config, loop, &disks, &why), -EINVAL);
    place(&config.disks[1], 0, 64);
    assert_int_equal(disks_open(&config, loop, &disks, &why), -EINVAL);
}

static void images_are_writable_unless_asked(void **state)
{
    size_t count = 0;
    (void)state;
    add(image)->read_only = true;
    add(image)->read_only = true;
    assert_int_equal(disks_open(&config, loop, &disks, &why), 0);
    const struct machine_disk *places = disks_places(disks, &count);
    assert_int_equal(count, 2);
    assert_true(disk_geometry(places[1].disk)->read_only);
    assert_int_equal(disks_close(disks, &why), 0);
    disks = NULL;
    config.disks[0].read_only = false;
    assert_int_equal(disks_open(&config, loop, &disks, &why), -EBUSY);
    config.disk_count = 1;
    assert_int_equal(disks_open(&config, loop, &disks, &why), 0);
    assert_false(disk_geometry(disks_places(disks, &count)->disk)->read_only);
}

static void what_is_told_is_what_is_there_by_place(void **state)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    uint8_t bytes[4096];
    const struct iovec piece = {bytes, sizeof(bytes)};
    struct disk_request request = {
        .op = DISK_READ, .length = sizeof(bytes), .iov = &piece, .iov_count = 1, .done = ignore};
    size_t count = 0;
    (void)state;
    place(add(image), 1, 2);
    (void)add(NULL);
    assert_int_equal(disks_open(&config, loop, &disks, &why), 0);
    disk_submit(disks_places(disks, &count)->disk, &request);
    assert_int_equal(disks_describe(disks, &reply.status), 0);
    assert_int_equal(reply.status.disk_count, 2);
    const struct control_disk *told = reply.status.disks;
    assert_string_equal(told[1].path, image);
    assert_int_equal(told[1].controller, 1);
    assert_int_equal(told[1].lun, 2);
    assert_int_equal(told[1].capacity, 1 << 20);
    assert_int_equal(told[1].reads, 1);
    assert_int_equal(told[1].read_bytes, sizeof(bytes));
    assert_int_equal(told[1].writes, 0);
    assert_false(told[1].read_only);
    assert_null(told[0].path);
    assert_true(told[0].dvd);
    control_reply_release(&reply);
}

static void a_file_is_told_by_its_whole_path(void **state)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    (void)state;
    assert_int_equal(chdir(folder), 0);
    (void)add(strrchr(image, '/') + 1);
    assert_int_equal(disks_open(&config, loop, &disks, &why), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(disks_describe(disks, &reply.status), 0);
    assert_string_equal(reply.status.disks[0].path, image);
    control_reply_release(&reply);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    (void)add(image);
    (void)add("/nowhere/disk");
    assert_true(disks_open(&config, loop, &disks, &why) < 0);
    assert_non_null(strstr(why.text, "/nowhere/disk"));
}

static void attached_disk_finds_a_place_and_is_told_of(void **state)
{
    struct worker_disk disk = {.path = image, .read_only = true};
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    unsigned controller = 9;
    unsigned lun = 9;
    (void)state;
    assert_int_equal(attach(image, true), 0);
    assert_true(pc.added.dvd);
    assert_int_equal(disks_attach(disks, &disk, &controller, &lun, &why), 0);
    assert_int_equal(controller, 0);
    assert_int_equal(lun, 1);
    assert_true(disk_geometry(pc.added.disk)->read_only);
    disk.placed = true;
    disk.controller = 3;
    disk.lun = 63;
    assert_int_equal(disks_attach(disks, &disk, &controller, &lun, &why), 0);
    assert_int_equal(pc.added.controller, 3);
    assert_int_equal(disks_describe(disks, &reply.status), 0);
    assert_int_equal(reply.status.disk_count, 3);
    assert_string_equal(reply.status.disks[2].path, image);
    assert_int_equal(reply.status.disks[2].lun, 63);
    control_reply_release(&reply);
}

static void refused_attach_leaves_nothing_behind(void **state)
{
    struct worker_disk disk = {.path = image, .placed = true, .controller = 4};
    unsigned place;
    (void)state;
    assert_int_equal(disks_attach(disks, &disk, &place, &place, &why), -EINVAL);
    assert_non_null(strstr(why.text, "4:0"));
    assert_int_equal(attach("/nowhere/disk", false), -ENOENT);
    pc.error = -ENOMEM;
    assert_int_equal(attach(image, false), -ENOMEM);
    assert_string_equal(why.text, "the machine refuses");
    assert_true(is_free(image));
    assert_int_equal(attach(image, false), 0);
    assert_int_equal(pc.added.lun, 0);
    assert_int_equal(attach(image, false), -EBUSY);
    disk.controller = 0;
    assert_int_equal(disks_attach(disks, &disk, &place, &place, &why), -EEXIST);
}

static void detach_ends_when_the_file_is_closed(void **state)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    (void)state;
    assert_int_equal(attach(image, false), 0);
    pc.holds_on = true;
    disks_detach(disks, 0, 0, &answer);
    run_loop();
    assert_int_equal(ended, 0);
    assert_false(is_free(image));
    assert_int_equal(disks_describe(disks, &reply.status), 0);
    assert_int_equal(reply.status.disk_count, 0);
    control_reply_release(&reply);
    let_go();
    assert_false(is_free(image)); /* the machine is still at it */
    run_loop();
    assert_int_equal(ended, 1);
    assert_int_equal(end_error, 0);
    assert_true(is_free(image));
    assert_int_equal(attach(image, false), 0);
}

static void place_is_taken_until_it_is_left(void **state)
{
    struct worker_disk disk = {.path = NULL, .dvd = true, .placed = true};
    unsigned place;
    (void)state;
    assert_int_equal(attach(image, false), 0);
    pc.holds_on = true;
    disks_detach(disks, 0, 0, &answer);
    assert_int_equal(disks_attach(disks, &disk, &place, &place, &why), -EEXIST);
    disks_detach(disks, 0, 0, &answer);
    assert_int_equal(ended, 1);
    assert_int_equal(end_error, -ENOENT);
    let_go();
    run_loop();
    assert_int_equal(ended, 2);
    assert_int_equal(end_error, 0);
    assert_int_equal(disks_attach(disks, &disk, &place, &place, &why), 0);
}

static void detach_of_nothing_is_refused(void **state)
{
    (void)state;
    disks_detach(disks, 0, 1, &answer);
    assert_int_equal(end_error, -ENOENT);
    assert_string_equal(end_text, "no disk at 0:1");
    disks_detach(disks, 4, 0, &answer);
    disks_detach(disks, 0, 64, &answer);
    assert_int_equal(ended, 3);
    assert_int_equal(end_error, -ENOENT);
}

static void patience_with_a_detach_has_an_end(void **state)
{
    (void)state;
    assert_int_equal(attach(image, false), 0);
    pc.holds_on = true;
    disks_set_patience(disks, 1);
    disks_detach(disks, 0, 0, &answer);
    run_loop();
    assert_int_equal(ended, 1);
    assert_int_equal(end_error, -EBUSY);
    assert_non_null(strstr(end_text, "still in use after 1 ms"));
    let_go();
    run_loop();
    assert_int_equal(ended, 1);
    assert_true(is_free(image));
}

static void order_that_waits_ends_with_the_partition(void **state)
{
    (void)state;
    assert_int_equal(attach(image, false), 0);
    pc.holds_on = true;
    disks_detach(disks, 0, 0, &answer);
    assert_int_equal(disks_close(disks, &why), 0);
    disks = NULL;
    assert_int_equal(ended, 0);
    assert_true(is_free(image));
}

static void disc_comes_and_goes(void **state)
{
    struct control_reply reply = {.kind = CONTROL_REPLY_STATUS};
    (void)state;
    assert_int_equal(attach(NULL, true), 0);
    disks_change_disc(disks, 0, 0, NULL, &answer);
    assert_int_equal(end_error, -ENOENT);
    assert_non_null(strstr(end_text, "no disc is in the drive at 0:0"));
    disks_change_disc(disks, 0, 0, image, &answer);
    assert_int_equal(ended, 2);
    assert_int_equal(end_error, 0);
    assert_false(is_free(image));
    assert_int_equal(disks_describe(disks, &reply.status), 0);
    assert_string_equal(reply.status.disks[0].path, image);
    control_reply_release(&reply);
    pc.holds_on = true;
    disks_change_disc(disks, 0, 0, NULL, &answer);
    run_loop();
    assert_int_equal(ended, 2);
    let_go();
    run_loop();
    assert_int_equal(ended, 3);
    assert_int_equal(end_error, 0);
    assert_true(is_free(image));
}

static void disc_is_replaced_by_another(void **state)
{
    (void)state;
    assert_int_equal(attach(image, true), 0);
    const struct disk *old = pc.inside;
    disks_change_disc(disks, 0, 0, image, &answer);
    run_loop();
    assert_int_equal(ended, 1);
    assert_int_equal(end_error, 0);
    assert_ptr_not_equal(pc.inside, old);
    assert_false(is_free(image));
}

static void refused_disc_leaves_the_old_one(void **state)
{
    (void)state;
    assert_int_equal(attach(image, true), 0);
    const struct disk *old = pc.inside;
    disks_change_disc(disks, 0, 0, "/nowhere/disc", &answer);
    assert_int_equal(end_error, -ENOENT);
    assert_non_null(strstr(end_text, "/nowhere/disc"));
    pc.error = -EBUSY;
    disks_change_disc(disks, 0, 0, image, &answer);
    assert_int_equal(end_error, -EBUSY);
    disks_change_disc(disks, 0, 7, image, &answer);
    assert_int_equal(end_error, -ENOENT);
    assert_int_equal(ended, 3);
    assert_ptr_equal(pc.inside, old);
}

static void disks_take_no_disc(void **state)
{
    (void)state;
    assert_int_equal(attach(image, false), 0);
    disks_change_disc(disks, 0, 0, NULL, &answer);
    assert_int_equal(end_error, -ENOTSUP);
    assert_int_equal(ended, 1);
}

#define RUNNING_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_running, tear_down)
#define DISKS_TEST(name)   cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISKS_TEST(disks_without_a_place_go_around_the_others),
        DISKS_TEST(there_are_four_controllers_of_64),
        DISKS_TEST(a_place_is_given_once),
        DISKS_TEST(images_are_writable_unless_asked),
        DISKS_TEST(what_is_told_is_what_is_there_by_place),
        DISKS_TEST(a_file_is_told_by_its_whole_path),
        DISKS_TEST(a_missing_file_is_named),
        RUNNING_TEST(attached_disk_finds_a_place_and_is_told_of),
        RUNNING_TEST(refused_attach_leaves_nothing_behind),
        RUNNING_TEST(detach_ends_when_the_file_is_closed),
        RUNNING_TEST(place_is_taken_until_it_is_left),
        RUNNING_TEST(detach_of_nothing_is_refused),
        RUNNING_TEST(patience_with_a_detach_has_an_end),
        RUNNING_TEST(order_that_waits_ends_with_the_partition),
        RUNNING_TEST(disc_comes_and_goes),
        RUNNING_TEST(disc_is_replaced_by_another),
        RUNNING_TEST(refused_disc_leaves_the_old_one),
        RUNNING_TEST(disks_take_no_disc),
    };
    return cmocka_run_group_tests(tests, make_image, remove_image);
}
