/* The file of switches: {"version": 1, "switches": [{"config", "ports": [...]}]}. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "switchd/registry.h"
#include "switchd/words.h"

enum { VERSION = 1 };

/* ---- where ---- */

static int find_folder(char *ret, size_t size, struct reason *reason)
{
    /* One thread, at the start of the process. */
    const char *own = getenv("PARTITA_STATE_DIR"); /* NOLINT(concurrency-mt-unsafe) */
    const char *state = getenv("XDG_STATE_HOME");  /* NOLINT(concurrency-mt-unsafe) */
    const char *home = getenv("HOME");             /* NOLINT(concurrency-mt-unsafe) */
    int length = -1;

    if (own != NULL && *own == '/')
        length = snprintf(ret, size, "%s", own);
    else if (geteuid() == 0)
        length = snprintf(ret, size, "/var/lib/partita");
    else if (state != NULL && *state == '/')
        length = snprintf(ret, size, "%s/partita", state);
    else if (home != NULL && *home == '/')
        length = snprintf(ret, size, "%s/.local/state/partita", home);
    if (length < 0 || (size_t)length >= size)
        return reason_set(reason, -ENOENT, "no folder to keep switches in: set PARTITA_STATE_DIR");
    return 0;
}

int store_find(char ret[REGISTRY_PATH], struct reason *reason)
{
    char folder[REGISTRY_PATH];
    int error = find_folder(folder, sizeof(folder), reason);

    if (error < 0)
        return error;
    int length = snprintf(ret, REGISTRY_PATH, "%s/switches.json", folder);
    return length < 0 || length >= REGISTRY_PATH
               ? reason_set(reason, -ENAMETOOLONG, "the folder of switches has too long a name")
               : 0;
}

static void make_folders(const char *path)
{
    char part[REGISTRY_PATH];

    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *at = strchr(part + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(part, 0700);
        *at = '/';
    }
}

bool store_has_switches(void)
{
    char path[REGISTRY_PATH];

    if (store_find(path, NULL) < 0)
        return false;
    json_t *root = json_load_file(path, 0, NULL);
    bool ret = json_array_size(json_object_get(root, "switches")) > 0;
    json_decref(root);
    return ret;
}

/* ---- loading ---- */

static int load_rules(struct hub_port *port, const json_t *rules, struct reason *reason)
{
    size_t index = 0;
    json_t *item = NULL;

    json_array_foreach(rules, index, item)
    {
        struct acl_rule rule;
        int error = words_take_rule(item, &rule, reason);
        if (error == 0)
            error = acl_add(&port->hub->core.port[port->index].acl, &rule);
        if (error < 0)
            return error;
    }
    return 0;
}

static int load_port(struct hub *hub, const json_t *item, struct reason *reason)
{
    struct port_settings settings;
    struct hub_port *port = NULL;
    char partition[HUB_NAME_SIZE] = "";
    unsigned card = 0;
    const char *name = json_string_value(json_object_get(item, "port"));

    hub_default_settings(&settings);
    int error = name == NULL ? -EINVAL : words_take_port(name, partition, &card, reason);
    if (error == 0)
        error = words_take_settings(json_object_get(item, "settings"), &settings, reason);
    if (error == 0)
        error = hub_add_port(hub, partition, card, &settings, &port);
    return error < 0 || port == NULL ? error
                                     : load_rules(port, json_object_get(item, "rules"), reason);
}

static int load_switch(struct registry *registry, const json_t *item, struct reason *reason)
{
    struct hub_config config = {0};
    size_t index = 0;
    const json_t *port = NULL;
    int error = words_take_config(json_object_get(item, "config"), &config, reason);

    if (error == 0 && config.name[0] == '\0')
        error = -EINVAL;
    if (error == 0)
        error = registry_add(registry, &config, NULL, reason);
    if (error < 0)
        return error;
    struct hub *hub = registry_find(registry, config.name);
    json_array_foreach(json_object_get(item, "ports"), index, port)
    {
        error = load_port(hub, port, reason);
        if (error < 0)
            return error;
    }
    return 0;
}

static int load_all(struct registry *registry, const json_t *root, struct reason *reason)
{
    const json_t *array = json_object_get(root, "switches");
    size_t index = 0;
    const json_t *item = NULL;
    struct reason why = {"it is not such a file"};
    int error = 0;

    if (json_integer_value(json_object_get(root, "version")) != VERSION || !json_is_array(array))
        error = -EINVAL;
    json_array_foreach(array, index, item)
    {
        if (error == 0)
            error = load_switch(registry, item, &why);
    }
    return error < 0 ? reason_set(reason, error, "%.100s: %.140s", registry->path, why.text) : 0;
}

int store_load(struct registry *registry, struct reason *reason)
{
    json_error_t error;

    if (access(registry->path, F_OK) < 0 && errno == ENOENT)
        return 0;
    json_t *root = json_load_file(registry->path, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return reason_set(reason, -EINVAL, "%.120s: %.120s", registry->path, error.text);
    int code = load_all(registry, root, reason);
    json_decref(root);
    return code;
}

/* ---- saving ---- */

static json_t *port_json(const struct hub *hub, const struct hub_port *port)
{
    const struct acl *acl = &hub->core.port[port->index].acl;
    json_t *rules = json_array();

    for (unsigned i = 0; i < acl->count; i++)
        (void)json_array_append_new(rules, words_rule(&acl->rule[i]));
    return json_pack("{s:o, s:o, s:o}", "port", json_sprintf("%s:%u", port->partition, port->card),
                     "settings", words_settings(&port->settings), "rules", rules);
}

static json_t *switch_json(const struct hub *hub)
{
    json_t *ports = json_array();

    for (unsigned i = 0; i < HUB_MOST_PORTS; i++) {
        if (hub->ports[i].used)
            (void)json_array_append_new(ports, port_json(hub, &hub->ports[i]));
    }
    return json_pack("{s:o, s:o}", "config", words_config(&hub->config), "ports", ports);
}

static json_t *all_json(const struct registry *registry)
{
    json_t *array = json_array();

    for (const struct hub *hub = registry->hubs; hub != NULL; hub = hub->next)
        (void)json_array_append_new(array, switch_json(hub));
    return json_pack("{s:i, s:o}", "version", VERSION, "switches", array);
}

/* The new file is durable before it takes the old one's place. */
static int replace(const char *path, const char *text)
{
    char other[REGISTRY_PATH];
    size_t length = strlen(text);

    if (snprintf(other, sizeof(other), "%s.new", path) >= (int)sizeof(other))
        return -ENAMETOOLONG;
    auto_close int fd = open(other, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, length);
    if (written != (ssize_t)length)
        return written < 0 ? -errno : -ENOSPC;
    return fsync(fd) < 0 || rename(other, path) < 0 ? -errno : 0;
}

int store_save(const struct registry *registry, struct reason *reason)
{
    json_t *root = all_json(registry);
    auto_free char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;

    json_decref(root);
    if (text == NULL)
        return reason_set(reason, -ENOMEM, "out of memory");
    make_folders(registry->path);
    int error = replace(registry->path, text);
    return error < 0
               ? reason_set(reason, error, "%.120s: %s", registry->path, strerrordesc_np(-error))
               : 0;
}
