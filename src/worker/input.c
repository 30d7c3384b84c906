/* The verbs of keyboard and mouse (verbs.h). */
#include <errno.h>
#include <string.h>

#include "keys/keys.h"
#include "vsp/keyboard.h"
#include "vsp/mouse.h"
#include "worker/verbs.h"

enum { MOST_STROKES = MESSENGER_MOST_WAITING, MOST_STEPS = 60 };

struct strokes {
    struct keystroke stroke[MOST_STROKES];
    size_t count;
};

/* All down in order, and up again from the last. False: there is no room. */
static bool add_chord(struct strokes *to, const struct chord *chord)
{
    if (to->count + 2 * chord->count > MOST_STROKES)
        return false;
    for (size_t i = 0; i < 2 * chord->count; i++) {
        bool up = i >= chord->count;
        const struct key *key = &chord->keys[up ? 2 * chord->count - 1 - i : i];
        to->stroke[to->count++] = (struct keystroke){.code = key->code, .up = up, .e0 = key->e0};
    }
    return true;
}

static void answer(struct serve_call *call, const char *device, int error)
{
    switch (error) {
    case 0:
        serve_confirm(call);
        return;
    case -ENOTCONN:
        serve_refuse(call, error, "the guest has no driver for its %s yet", device);
        return;
    default:
        serve_refuse(call, -EAGAIN, "the guest does not take what its %s has said before", device);
        return;
    }
}

static void send_strokes(const struct verbs *verbs, const struct strokes *strokes,
                         struct serve_call *call)
{
    struct keyboard *keyboard = machine_keyboard(verbs->machine);

    if (keyboard == NULL)
        serve_refuse(call, -EOPNOTSUPP, "the partition was started without --input");
    else
        answer(call, "keyboard", keyboard_send(keyboard, strokes->stroke, strokes->count));
}

/* One chord after the other; 0, or a negative errno and a reason. */
static int read_chords(const char *text, struct strokes *ret, struct reason *reason)
{
    char words[sizeof(((struct control_request *)NULL)->keys)];
    char *rest = NULL;

    ret->count = 0;
    memcpy(words, text, strlen(text) + 1);
    for (const char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        struct chord chord;
        int error = keys_parse_chord(word, &chord, reason);
        if (error < 0)
            return error;
        if (!add_chord(ret, &chord))
            return reason_set(reason, -E2BIG, "too many keys");
    }
    return 0;
}

void perform_keys(void *owner, const struct control_request *request, struct serve_call *call)
{
    static struct strokes strokes; /* the loop is one thread */
    struct reason reason = {""};

    if (read_chords(request->keys, &strokes, &reason) < 0)
        serve_refuse(call, -EINVAL, "%s", reason.text);
    else
        send_strokes(owner, &strokes, call);
}

void perform_type(void *owner, const struct control_request *request, struct serve_call *call)
{
    static struct strokes strokes;

    strokes.count = 0;
    for (const char *at = request->text; *at != '\0'; at++) {
        struct chord chord;
        if (!keys_of_character(*at, &chord)) {
            serve_refuse(call, -EINVAL, "no key of a US keyboard makes character %u of the text",
                         (unsigned)(at - request->text) + 1);
            return;
        }
        if (!add_chord(&strokes, &chord)) {
            serve_refuse(call, -E2BIG, "more than %u characters at once",
                         (unsigned)(at - request->text));
            return;
        }
    }
    send_strokes(owner, &strokes, call);
}

/* ---- mouse ---- */

struct reports {
    struct mouse_report report[MOST_STEPS + 3];
    size_t count;
};

static void add_steps(struct reports *to, const struct mouse_report *still, unsigned steps,
                      int8_t way)
{
    for (unsigned i = 0; i < steps; i++) {
        to->report[to->count] = *still;
        to->report[to->count++].wheel = way;
    }
}

/* A move, then a click, then the wheel. */
static void make_reports(const struct control_request *request, struct mouse_report last,
                         struct reports *ret)
{
    ret->count = 0;
    if (request->moves) {
        last.x = (uint16_t)request->x;
        last.y = (uint16_t)request->y;
        ret->report[ret->count++] = last;
    }
    if (request->button != 0) {
        ret->report[ret->count] = last;
        ret->report[ret->count++].buttons |= (uint8_t)(1u << (request->button - 1));
        ret->report[ret->count++] = last;
    }
    add_steps(ret, &last, request->wheel_up, 1);
    add_steps(ret, &last, request->wheel_down, -1);
}

void perform_pointer(void *owner, const struct control_request *request, struct serve_call *call)
{
    const struct verbs *verbs = owner;
    struct mouse *mouse = machine_mouse(verbs->machine);
    struct reports reports;

    if (mouse == NULL) {
        serve_refuse(call, -EOPNOTSUPP, "the partition was started without --input");
    } else if (request->x > MOUSE_MOST_POSITION || request->y > MOUSE_MOST_POSITION) {
        serve_refuse(call, -EINVAL, "a position is at most %d", MOUSE_MOST_POSITION);
    } else if (request->button > 5) {
        serve_refuse(call, -EINVAL, "a mouse has the buttons 1 to 5");
    } else if (request->wheel_up > MOST_STEPS ||
               request->wheel_down > MOST_STEPS - request->wheel_up) {
        serve_refuse(call, -EINVAL, "at most %d steps of the wheel at once", MOST_STEPS);
    } else {
        make_reports(request, mouse_last(mouse), &reports);
        answer(call, "mouse", mouse_send(mouse, reports.report, reports.count));
    }
}
