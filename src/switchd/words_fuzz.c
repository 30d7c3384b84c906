/* Any JSON: what is taken as settings, a rule or a configuration is written and taken again as the
 * same. */
#include "switchd/words.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_same(json_t *first, json_t *second)
{
    if (first == NULL || second == NULL || !json_equal(first, second))
        abort();
    json_decref(first);
    json_decref(second);
}

static void check_settings(json_t *object)
{
    struct port_settings first;
    struct port_settings second;

    hub_default_settings(&first);
    hub_default_settings(&second);
    if (words_take_settings(object, &first, NULL) < 0)
        return;
    json_t *written = words_settings(&first);
    if (words_take_settings(written, &second, NULL) < 0)
        abort();
    check_same(written, words_settings(&second));
}

static void check_rule(json_t *object)
{
    struct acl_rule first;
    struct acl_rule second;

    if (words_take_rule(object, &first, NULL) < 0)
        return;
    json_t *written = words_rule(&first);
    if (words_take_rule(written, &second, NULL) < 0)
        abort();
    check_same(written, words_rule(&second));
}

static void check_config(json_t *object)
{
    struct hub_config first = {0};
    struct hub_config second = {0};

    if (words_take_config(object, &first, NULL) < 0 || first.name[0] == '\0')
        return;
    json_t *written = words_config(&first);
    if (words_take_config(written, &second, NULL) < 0)
        abort();
    check_same(written, words_config(&second));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    json_error_t error;
    json_t *object = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &error);

    if (object == NULL)
        return 0;
    check_settings(object);
    check_rule(object);
    check_config(object);
    json_decref(object);
    return 0;
}
