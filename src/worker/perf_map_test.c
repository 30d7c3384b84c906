/* The file of names that perf reads. */
#include "worker/perf_map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/symbols.h"

#define ENTRY UINT64_C(0xffffffff81c00000)
#define SLIDE UINT64_C(0x1a000000)

static const char system_map[] = "ffffffff81000000 T start\n"
                                 "ffffffff81000200 t helper\n"
                                 "ffffffff81c00000 T entry_SYSCALL_64\n";

struct line {
    uint64_t start;
    size_t length;
    char name[256];
};

struct fixture {
    char folder[64], path[96];
    struct perf_map *map;
    struct symbols *symbols;
    struct line line[8];
    unsigned count;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct reason reason = {0};
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/partita-perf-map-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/map", f->folder);
    assert_int_equal(
        symbols_parse((const uint8_t *)system_map, sizeof(system_map) - 1, &f->symbols, &reason),
        0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    perf_map_destroy(f->map);
    symbols_destroy(f->symbols);
    (void)unlink(f->path);
    (void)rmdir(f->folder);
    free(f);
    return 0;
}

static void create(struct fixture *f, struct symbols *symbols)
{
    struct reason reason = {0};
    assert_int_equal(perf_map_create(f->path, symbols, &f->map, &reason), 0);
}

static void make(struct fixture *f, const struct engine_code *code)
{
    struct engine_code_watch watch = perf_map_watch(f->map);
    watch.made(watch.owner, code);
}

/* As perf does, tools/perf/util/symbol.c: two numbers, and the rest of the line is the name. */
static void parse(struct fixture *f)
{
    char text[256];
    FILE *file = fopen(f->path, "re");
    assert_non_null(file);
    f->count = 0;
    while (fgets(text, sizeof(text), file) != NULL) {
        struct line *line = &f->line[f->count++];
        assert_true(f->count <= sizeof(f->line) / sizeof(f->line[0]));
        char *at = text;
        line->start = strtoull(at, &at, 16);
        line->length = strtoul(at, &at, 16);
        assert_int_equal(at[0], ' ');
        at[strcspn(at, "\n")] = '\0';
        (void)snprintf(line->name, sizeof(line->name), "%s", at + 1);
    }
    (void)fclose(file);
}

static void lines_have_address_length_and_name(void **state)
{
    struct fixture *f = *state;
    create(f, f->symbols);
    make(f, &(struct engine_code){.host = 0x7f0000001000, .length = 0x321, .shared = true});
    make(f, &(struct engine_code){.host = 0x7f0000001400,
                                  .length = 0x80,
                                  .rip = 0xffffffff8100021c + SLIDE,
                                  .lstar = ENTRY + SLIDE});
    make(f,
         &(struct engine_code){.host = 0x7f0000001500, .length = 9, .rip = 0x401000, .user = true});
    parse(f); /* while the map is still open */
    assert_int_equal(f->count, 3);
    assert_int_equal(f->line[0].start, 0x7f0000001000);
    assert_int_equal(f->line[0].length, 0x321);
    assert_string_equal(f->line[0].name, "translator:routines");
    assert_int_equal(f->line[1].start, 0x7f0000001400);
    assert_int_equal(f->line[1].length, 0x80);
    assert_string_equal(f->line[1].name, "guest_kernel:helper+0x1c");
    assert_int_equal(f->line[2].length, 9);
    assert_string_equal(f->line[2].name, "guest_user:0x401000");
}

/* Else a function's name could stand where another runs. */
static void nothing_is_named_before_the_slide_is_known(void **state)
{
    struct fixture *f = *state;
    const uint64_t helper = UINT64_C(0xffffffff81000200);
    create(f, f->symbols);
    make(f, &(struct engine_code){.host = 1, .length = 1, .rip = helper});
    make(f, &(struct engine_code){.host = 2, .length = 1, .rip = helper, .lstar = ENTRY + 0x1000});
    make(f, &(struct engine_code){.host = 3, .length = 1, .rip = helper, .lstar = ENTRY});
    parse(f);
    assert_string_equal(f->line[0].name, "guest_kernel:0xffffffff81000200");
    assert_string_equal(f->line[1].name, "guest_kernel:0xffffffff81000200");
    assert_string_equal(f->line[2].name, "guest_kernel:helper+0x0");
}

/* Programs may lie where the kernel's symbols are said to be. */
static void symbols_name_the_kernel_only(void **state)
{
    struct fixture *f = *state;
    struct engine_code code = {
        .length = 1, .rip = 0xffffffff81000200, .lstar = ENTRY, .user = true};
    create(f, f->symbols);
    make(f, &code);
    perf_map_destroy(f->map);
    parse(f);
    assert_string_equal(f->line[0].name, "guest_user:0xffffffff81000200");
    code.user = false;
    create(f, NULL);
    make(f, &code);
    parse(f);
    assert_int_equal(f->count, 1);
    assert_string_equal(f->line[0].name, "guest_kernel:0xffffffff81000200");
}

static void names_of_what_was_forgotten_are_gone(void **state)
{
    struct fixture *f = *state;
    create(f, NULL);
    struct engine_code_watch watch = perf_map_watch(f->map);
    make(f, &(struct engine_code){.host = 0x1000, .length = 1, .rip = 1});
    make(f, &(struct engine_code){.host = 0x2000, .length = 1, .rip = 2});
    watch.emptied(watch.owner);
    parse(f);
    assert_int_equal(f->count, 0);
    make(f, &(struct engine_code){.host = 0x3000, .length = 1, .rip = 3});
    parse(f);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->line[0].start, 0x3000);
}

/* A link that somebody has laid in /tmp leads nowhere. */
static void old_file_is_replaced_and_never_followed(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    char target[128];
    (void)snprintf(target, sizeof(target), "%s/target", f->folder);
    assert_int_equal(symlink(target, f->path), 0);
    create(f, NULL);
    make(f, &(struct engine_code){.host = 1, .length = 1});
    assert_int_equal(lstat(target, &status), -1);
    assert_int_equal(lstat(f->path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void folder_that_is_not_there_is_told(void **state)
{
    struct fixture *f = *state;
    struct reason reason = {0};
    struct perf_map *map = NULL;
    assert_int_equal(perf_map_create("/nowhere/at/all", NULL, &map, &reason), -ENOENT);
    assert_null(map);
    assert_non_null(strstr(reason.text, "/nowhere/at/all"));
    perf_map_path(17, f->path);
    assert_string_equal(f->path, "/tmp/perf-17.map");
    f->path[0] = '\0';
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_have_address_length_and_name),
        TEST(nothing_is_named_before_the_slide_is_known),
        TEST(symbols_name_the_kernel_only),
        TEST(names_of_what_was_forgotten_are_gone),
        TEST(old_file_is_replaced_and_never_followed),
        TEST(folder_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
