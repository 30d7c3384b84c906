#include "keys/keys.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { SHIFT = 0x2a };

static const struct {
    const char *name;
    struct key key;
} named[] = {
    {"esc", {0x01, false}},         {"escape", {0x01, false}},
    {"minus", {0x0c, false}},       {"equal", {0x0d, false}},
    {"backspace", {0x0e, false}},   {"tab", {0x0f, false}},
    {"bracketleft", {0x1a, false}}, {"bracketright", {0x1b, false}},
    {"enter", {0x1c, false}},       {"return", {0x1c, false}},
    {"ret", {0x1c, false}},         {"ctrl", {0x1d, false}},
    {"lctrl", {0x1d, false}},       {"rctrl", {0x1d, true}},
    {"semicolon", {0x27, false}},   {"apostrophe", {0x28, false}},
    {"grave", {0x29, false}},       {"shift", {0x2a, false}},
    {"lshift", {0x2a, false}},      {"backslash", {0x2b, false}},
    {"comma", {0x33, false}},       {"dot", {0x34, false}},
    {"slash", {0x35, false}},       {"rshift", {0x36, false}},
    {"kp_multiply", {0x37, false}}, {"print", {0x37, true}},
    {"sysrq", {0x37, true}},        {"alt", {0x38, false}},
    {"lalt", {0x38, false}},        {"ralt", {0x38, true}},
    {"altgr", {0x38, true}},        {"space", {0x39, false}},
    {"spc", {0x39, false}},         {"caps_lock", {0x3a, false}},
    {"f1", {0x3b, false}},          {"f2", {0x3c, false}},
    {"f3", {0x3d, false}},          {"f4", {0x3e, false}},
    {"f5", {0x3f, false}},          {"f6", {0x40, false}},
    {"f7", {0x41, false}},          {"f8", {0x42, false}},
    {"f9", {0x43, false}},          {"f10", {0x44, false}},
    {"f11", {0x57, false}},         {"f12", {0x58, false}},
    {"num_lock", {0x45, false}},    {"scroll_lock", {0x46, false}},
    {"home", {0x47, true}},         {"up", {0x48, true}},
    {"pgup", {0x49, true}},         {"pageup", {0x49, true}},
    {"left", {0x4b, true}},         {"right", {0x4d, true}},
    {"end", {0x4f, true}},          {"down", {0x50, true}},
    {"pgdn", {0x51, true}},         {"pagedown", {0x51, true}},
    {"insert", {0x52, true}},       {"delete", {0x53, true}},
    {"del", {0x53, true}},          {"meta_l", {0x5b, true}},
    {"meta", {0x5b, true}},         {"super", {0x5b, true}},
    {"win", {0x5b, true}},          {"meta_r", {0x5c, true}},
    {"menu", {0x5d, true}},         {"compose", {0x5d, true}},
    {"kp_7", {0x47, false}},        {"kp_8", {0x48, false}},
    {"kp_9", {0x49, false}},        {"kp_subtract", {0x4a, false}},
    {"kp_4", {0x4b, false}},        {"kp_5", {0x4c, false}},
    {"kp_6", {0x4d, false}},        {"kp_add", {0x4e, false}},
    {"kp_1", {0x4f, false}},        {"kp_2", {0x50, false}},
    {"kp_3", {0x51, false}},        {"kp_0", {0x52, false}},
    {"kp_decimal", {0x53, false}},  {"kp_enter", {0x1c, true}},
    {"kp_divide", {0x35, true}},
};

/* The rows of a US keyboard: each key without and with shift, one code after the other. */
static const struct {
    uint8_t first;
    const char *plain, *shifted;
} rows[] = {
    {0x02, "1234567890-=", "!@#$%^&*()_+"},
    {0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
    {0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
    {0x39, " ", ""},
    {0x1c, "\n", ""},
    {0x0e, "\b\t", ""},
    {0x01, "\033", ""},
};

bool keys_of_character(char character, struct chord *ret)
{
    if (character == '\0')
        return false;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *plain = strchr(rows[i].plain, character);
        const char *shifted = strchr(rows[i].shifted, character);
        if (plain == NULL && shifted == NULL)
            continue;
        size_t place =
            plain != NULL ? (size_t)(plain - rows[i].plain) : (size_t)(shifted - rows[i].shifted);
        *ret = (struct chord){.count = 0};
        if (plain == NULL)
            ret->keys[ret->count++] = (struct key){SHIFT, false};
        ret->keys[ret->count++] = (struct key){(uint8_t)(rows[i].first + place), false};
        return true;
    }
    return false;
}

/* A name, or the character that the key makes without shift. */
static bool find_key(const char *name, size_t length, struct key *ret)
{
    struct chord chord;

    if (length == 1 && keys_of_character(name[0], &chord) && chord.count == 1) {
        *ret = chord.keys[0];
        return true;
    }
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        if (strlen(named[i].name) == length && strncasecmp(named[i].name, name, length) == 0) {
            *ret = named[i].key;
            return true;
        }
    }
    return false;
}

int keys_parse_chord(const char *text, struct chord *ret, struct reason *reason)
{
    *ret = (struct chord){.count = 0};
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, "-+");
        if (ret->count == KEYS_MOST_CHORD)
            return reason_set(reason, -EINVAL, "'%.64s': more than %d keys", text, KEYS_MOST_CHORD);
        if (!find_key(at, length, &ret->keys[ret->count++]))
            return reason_set(reason, -EINVAL, "'%.*s': no such key", (int)(length & 63), at);
        at += length;
        if (*at == '\0')
            return 0;
    }
}
