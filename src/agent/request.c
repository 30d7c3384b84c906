#include "agent/request.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum {
    EXEC_FLAGS = 2,
    EXEC_ROWS = 4,
    EXEC_COLUMNS = 6,
    EXEC_ARGUMENTS = 8,
    EXEC_ENVIRONMENT = 10,
    EXEC_WORDS = 12, /* user, directory, arguments, environment */
    FLAG_TERMINAL = 1,
    FLAG_INPUT = 2,

    COPY_WORDS = 2,

    ENTRY_KIND = 0,
    ENTRY_MODE = 4,
    ENTRY_SIZE = 8,
    ENTRY_MODIFIED = 16,
    ENTRY_WORDS = 24,
    MODE_BITS = 07777,
};

/* ---- words ---- */

struct words {
    uint8_t *at;
    size_t room;
    bool full;
};

static void put_word(struct words *words, const char *word)
{
    size_t length = strlen(word) + 1;

    words->full |= length > words->room;
    if (words->full)
        return;
    memcpy(words->at, word, length);
    words->at += length;
    words->room -= length;
}

static int length_of(const struct words *words, const uint8_t *start)
{
    return words->full ? -E2BIG : (int)(words->at - start);
}

struct source {
    const char *at;
    size_t left;
};

/* NULL when there is no whole word any more. */
static const char *take_word(struct source *source)
{
    const char *word = source->at;
    size_t length = strnlen(word, source->left);

    if (length == source->left)
        return NULL;
    source->at += length + 1;
    source->left -= length + 1;
    return word;
}

static bool take_words(struct source *source, unsigned count, const char **ret)
{
    if (count > REQUEST_MOST_WORDS)
        return false;
    for (unsigned i = 0; i < count; i++) {
        ret[i] = take_word(source);
        if (ret[i] == NULL)
            return false;
    }
    ret[count] = NULL;
    return true;
}

/* ---- requests ---- */

int exec_encode(const struct exec_request *request, uint8_t *ret)
{
    struct words words = {ret + EXEC_WORDS, FRAME_MOST - EXEC_WORDS, false};

    put_le16(ret, AGENT_VERSION);
    put_le16(ret + EXEC_FLAGS,
             (request->terminal ? FLAG_TERMINAL : 0) | (request->input ? FLAG_INPUT : 0));
    put_le16(ret + EXEC_ROWS, request->rows);
    put_le16(ret + EXEC_COLUMNS, request->columns);
    put_le16(ret + EXEC_ARGUMENTS, (uint16_t)request->argument_count);
    put_le16(ret + EXEC_ENVIRONMENT, (uint16_t)request->environment_count);
    put_word(&words, request->user);
    put_word(&words, request->directory);
    for (unsigned i = 0; i < request->argument_count; i++)
        put_word(&words, request->arguments[i]);
    for (unsigned i = 0; i < request->environment_count; i++)
        put_word(&words, request->environment[i]);
    return length_of(&words, ret);
}

static int check_version(const uint8_t *payload, size_t length, size_t least)
{
    if (length < 2)
        return -EPROTO;
    if (get_le16(payload) != AGENT_VERSION)
        return -EPROTONOSUPPORT;
    return length < least ? -EPROTO : 0;
}

int exec_decode(const uint8_t *payload, size_t length, struct exec_request *ret)
{
    int error = check_version(payload, length, EXEC_WORDS);

    if (error < 0)
        return error;
    uint16_t flags = get_le16(payload + EXEC_FLAGS);
    struct source source = {(const char *)payload + EXEC_WORDS, length - EXEC_WORDS};
    ret->terminal = (flags & FLAG_TERMINAL) != 0;
    ret->input = (flags & FLAG_INPUT) != 0;
    ret->rows = get_le16(payload + EXEC_ROWS);
    ret->columns = get_le16(payload + EXEC_COLUMNS);
    ret->argument_count = get_le16(payload + EXEC_ARGUMENTS);
    ret->environment_count = get_le16(payload + EXEC_ENVIRONMENT);
    ret->user = take_word(&source);
    ret->directory = ret->user != NULL ? take_word(&source) : NULL;
    bool valid = ret->directory != NULL && flags <= (FLAG_TERMINAL | FLAG_INPUT) &&
                 take_words(&source, ret->argument_count, ret->arguments) &&
                 take_words(&source, ret->environment_count, ret->environment) && source.left == 0;
    return valid ? 0 : -EPROTO;
}

int copy_encode(const struct copy_request *request, uint8_t *ret)
{
    struct words words = {ret + COPY_WORDS, FRAME_MOST - COPY_WORDS, false};

    put_le16(ret, AGENT_VERSION);
    put_word(&words, request->path);
    put_word(&words, request->name);
    return length_of(&words, ret);
}

int copy_decode(const uint8_t *payload, size_t length, struct copy_request *ret)
{
    int error = check_version(payload, length, COPY_WORDS);

    if (error < 0)
        return error;
    struct source source = {(const char *)payload + COPY_WORDS, length - COPY_WORDS};
    ret->path = take_word(&source);
    ret->name = ret->path != NULL ? take_word(&source) : NULL;
    bool valid = ret->name != NULL && source.left == 0 && ret->path[0] != '\0' &&
                 strlen(ret->path) < REQUEST_MOST_PATH && strchr(ret->name, '/') == NULL &&
                 strcmp(ret->name, ".") != 0 && strcmp(ret->name, "..") != 0;
    return valid ? 0 : -EPROTO;
}

/* ---- entries of a tree ---- */

/* "" or "a/b/c": never up, never from the top. */
static bool stays_below(const char *path)
{
    if (strlen(path) >= REQUEST_MOST_PATH)
        return false;
    if (*path == '\0')
        return true;
    for (;;) {
        size_t length = strcspn(path, "/");
        if (length == 0 || (length == 1 && path[0] == '.') ||
            (length == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (path[length] == '\0')
            return true;
        path += length + 1;
    }
}

int entry_encode(const struct entry *entry, uint8_t *ret)
{
    struct words words = {ret + ENTRY_WORDS, FRAME_MOST - ENTRY_WORDS, false};

    put_le32(ret + ENTRY_KIND, (uint32_t)entry->kind);
    put_le32(ret + ENTRY_MODE, entry->mode);
    put_le64(ret + ENTRY_SIZE, entry->size);
    put_le64(ret + ENTRY_MODIFIED, entry->modified_ns);
    put_word(&words, entry->path);
    put_word(&words, entry->target);
    return length_of(&words, ret);
}

int entry_decode(const uint8_t *payload, size_t length, struct entry *ret)
{
    if (length < ENTRY_WORDS)
        return -EPROTO;
    struct source source = {(const char *)payload + ENTRY_WORDS, length - ENTRY_WORDS};
    uint32_t kind = get_le32(payload + ENTRY_KIND);
    *ret = (struct entry){.kind = (enum entry_kind)kind,
                          .mode = get_le32(payload + ENTRY_MODE),
                          .size = get_le64(payload + ENTRY_SIZE),
                          .modified_ns = get_le64(payload + ENTRY_MODIFIED)};
    ret->path = take_word(&source);
    ret->target = ret->path != NULL ? take_word(&source) : NULL;
    bool valid = ret->target != NULL && source.left == 0 && kind >= ENTRY_FILE &&
                 kind <= ENTRY_LINK && ret->mode <= MODE_BITS && stays_below(ret->path) &&
                 strlen(ret->target) < REQUEST_MOST_PATH &&
                 (kind == ENTRY_LINK) == (ret->target[0] != '\0');
    return valid ? 0 : -EPROTO;
}

void file_end_encode(const struct file_end *end, uint8_t ret[FILE_END_SIZE])
{
    put_le64(ret, end->length);
    put_le32(ret + 8, end->crc);
}

int file_end_decode(const uint8_t *payload, size_t length, struct file_end *ret)
{
    if (length != FILE_END_SIZE)
        return -EPROTO;
    *ret = (struct file_end){.length = get_le64(payload), .crc = get_le32(payload + 8)};
    return 0;
}

int failure_decode(const uint8_t *payload, size_t length, uint32_t *ret_code, char *ret_text,
                   size_t room)
{
    size_t count = 0;

    if (length < 4)
        return -EPROTO;
    *ret_code = get_le32(payload);
    for (size_t i = 4; i < length && count + 1 < room; i++)
        ret_text[count++] = (char)(payload[i] >= ' ' && payload[i] != 0x7f ? payload[i] : '?');
    ret_text[count] = '\0';
    return 0;
}
