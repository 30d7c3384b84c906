#include "agent/users.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { MOST_FIELDS = 7, LINE_SIZE = 4096 };

/* "a:b:c" to its fields; how many. */
static unsigned split(char *line, char *ret[MOST_FIELDS])
{
    unsigned count = 0;

    line[strcspn(line, "\n")] = '\0';
    for (char *rest = line; rest != NULL && count < MOST_FIELDS;)
        ret[count++] = strsep(&rest, ":");
    return count;
}

static bool parse_number(const char *text, unsigned *ret)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);

    *ret = (unsigned)value;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && value < UINT32_MAX;
}

static FILE *open_list(const char *root, const char *path)
{
    char full[LINE_SIZE];

    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    return fopen(full, "re");
}

static void copy(char ret[USERS_TEXT], const char *text)
{
    (void)snprintf(ret, USERS_TEXT, "%s", text);
}

static bool take_user(char *const fields[MOST_FIELDS], struct user *ret)
{
    unsigned uid = 0;
    unsigned gid = 0;

    if (!parse_number(fields[2], &uid) || !parse_number(fields[3], &gid))
        return false;
    ret->uid = uid;
    ret->gid = gid;
    copy(ret->name, fields[0]);
    copy(ret->home, fields[5]);
    copy(ret->shell, fields[6]);
    return true;
}

static bool find_user(const char *name, const char *root, struct user *ret)
{
    char line[LINE_SIZE];
    char *fields[MOST_FIELDS];
    unsigned wanted = 0;
    bool by_number = parse_number(name, &wanted);
    auto_fclose FILE *file = open_list(root, "/etc/passwd");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (split(line, fields) < MOST_FIELDS)
            continue;
        unsigned uid = 0;
        bool same = strcmp(fields[0], name) == 0 ||
                    (by_number && parse_number(fields[2], &uid) && uid == wanted);
        if (same && take_user(fields, ret))
            return true;
    }
    ret->uid = wanted; /* a number needs no entry */
    ret->gid = wanted;
    copy(ret->name, name);
    return by_number;
}

static bool is_member(char *list, const char *name)
{
    for (char *rest = list; rest != NULL;) {
        if (strcmp(strsep(&rest, ","), name) == 0)
            return true;
    }
    return false;
}

static void find_groups(const char *root, struct user *user)
{
    char line[LINE_SIZE];
    char *fields[MOST_FIELDS];
    auto_fclose FILE *file = open_list(root, "/etc/group");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned gid = 0;
        if (split(line, fields) >= 4 && user->group_count < USERS_MOST_GROUPS &&
            parse_number(fields[2], &gid) && is_member(fields[3], user->name))
            user->groups[user->group_count++] = gid;
    }
}

static bool find_group(const char *name, const char *root, gid_t *ret)
{
    char line[LINE_SIZE];
    char *fields[MOST_FIELDS];
    auto_fclose FILE *file = open_list(root, "/etc/group");
    unsigned gid = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (split(line, fields) >= 3 && strcmp(fields[0], name) == 0 &&
            parse_number(fields[2], &gid)) {
            *ret = gid;
            return true;
        }
    }
    bool by_number = parse_number(name, &gid);
    if (by_number)
        *ret = gid;
    return by_number;
}

int users_find(const char *words, const char *root, struct user *ret, struct reason *reason)
{
    char name[USERS_TEXT];
    const char *group = strchr(words, ':');
    size_t length = group != NULL ? (size_t)(group - words) : strlen(words);

    *ret = (struct user){.home = "/", .shell = "/bin/sh"};
    if (length >= sizeof(name))
        return reason_set(reason, -ENOENT, "no user of such a long name");
    (void)snprintf(name, sizeof(name), "%.*s", (int)length, words);
    if (!find_user(length > 0 ? name : "0", root, ret))
        return reason_set(reason, -ENOENT, "no user '%s' in the guest", name);
    if (group == NULL)
        find_groups(root, ret);
    else if (!find_group(group + 1, root, &ret->gid))
        return reason_set(reason, -ENOENT, "no group '%s' in the guest", group + 1);
    if (ret->shell[0] == '\0')
        copy(ret->shell, "/bin/sh");
    return 0;
}
