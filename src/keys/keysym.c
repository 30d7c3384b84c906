/* Keys by the names that X11 gives them. */
#include "keys/keys.h"

enum { LATIN_FIRST = 0x20, LATIN_LAST = 0x7e };

static const struct {
    uint16_t keysym;
    const char *name;
} keysyms[] = {
    {0xff08, "backspace"},   {0xff09, "tab"},       {0xff0d, "enter"},
    {0xff14, "scroll_lock"}, {0xff15, "sysrq"},     {0xff1b, "esc"},
    {0xff50, "home"},        {0xff51, "left"},      {0xff52, "up"},
    {0xff53, "right"},       {0xff54, "down"},      {0xff55, "pgup"},
    {0xff56, "pgdn"},        {0xff57, "end"},       {0xff61, "print"},
    {0xff63, "insert"},      {0xff67, "menu"},      {0xff7f, "num_lock"},
    {0xff8d, "kp_enter"},    {0xff95, "kp_7"},      {0xff96, "kp_4"},
    {0xff97, "kp_8"},        {0xff98, "kp_6"},      {0xff99, "kp_2"},
    {0xff9a, "kp_9"},        {0xff9b, "kp_3"},      {0xff9c, "kp_1"},
    {0xff9d, "kp_5"},        {0xff9e, "kp_0"},      {0xff9f, "kp_decimal"},
    {0xffaa, "kp_multiply"}, {0xffab, "kp_add"},    {0xffad, "kp_subtract"},
    {0xffae, "kp_decimal"},  {0xffaf, "kp_divide"}, {0xffb0, "kp_0"},
    {0xffb1, "kp_1"},        {0xffb2, "kp_2"},      {0xffb3, "kp_3"},
    {0xffb4, "kp_4"},        {0xffb5, "kp_5"},      {0xffb6, "kp_6"},
    {0xffb7, "kp_7"},        {0xffb8, "kp_8"},      {0xffb9, "kp_9"},
    {0xffbe, "f1"},          {0xffbf, "f2"},        {0xffc0, "f3"},
    {0xffc1, "f4"},          {0xffc2, "f5"},        {0xffc3, "f6"},
    {0xffc4, "f7"},          {0xffc5, "f8"},        {0xffc6, "f9"},
    {0xffc7, "f10"},         {0xffc8, "f11"},       {0xffc9, "f12"},
    {0xffe1, "shift"},       {0xffe2, "rshift"},    {0xffe3, "ctrl"},
    {0xffe4, "rctrl"},       {0xffe5, "caps_lock"}, {0xffe7, "meta"},
    {0xffe8, "meta_r"},      {0xffe9, "alt"},       {0xffea, "ralt"},
    {0xffeb, "meta"},        {0xffec, "meta_r"},    {0xffff, "delete"},
    {0xfe03, "ralt"},        {0xfe20, "tab"},
};

bool keys_of_keysym(uint32_t keysym, struct chord *ret)
{
    if (keysym >= LATIN_FIRST && keysym <= LATIN_LAST)
        return keys_of_character((char)keysym, ret);
    for (size_t i = 0; i < sizeof(keysyms) / sizeof(keysyms[0]); i++) {
        if (keysyms[i].keysym == keysym)
            return keys_parse_chord(keysyms[i].name, ret, NULL) == 0;
    }
    return false;
}
