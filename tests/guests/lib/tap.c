/* See tap.h. The debug-exit port ends the process with (value << 1) | 1. */
#include "tap.h"

#include <stdarg.h>

#include "cpu.h"

enum { SERIAL = 0x3f8, LSR = 5, LSR_THRE = 0x20, DEBUG_EXIT = 0xf4 };

static char command_line[512]; /* a copy: the loader's lies in memory that tests write to */
static unsigned checks;
static unsigned failures;

/* --- serial --- */

void serial_start(void)
{
    out8(SERIAL + 1, 0);    /* polled: no interrupts */
    out8(SERIAL + 3, 0x80); /* divisor latch */
    out8(SERIAL + 0, 1);
    out8(SERIAL + 1, 0);
    out8(SERIAL + 3, 3); /* 8 data bits, no parity, 1 stop bit */
    out8(SERIAL + 2, 7); /* FIFOs on and empty */
}

static void put(char c)
{
    while (!(in8(SERIAL + LSR) & LSR_THRE))
        relax();
    out8(SERIAL, (uint8_t)c);
}

static void put_text(const char *text)
{
    for (; *text; text++)
        put(*text);
}

static void put_hex(uint64_t value)
{
    unsigned shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        put("0123456789abcdef"[value >> shift & 15]);
        if (!shift)
            return;
    }
}

/* Decimal by subtraction: a 32-bit image has no 64-bit division routine. */
static void put_decimal(uint64_t value)
{
    uint64_t power = 1;
    unsigned digits = 1;
    while (digits < 20 && value >= power * 10) {
        power *= 10;
        digits++;
    }
    while (digits--) {
        char digit = '0';
        uint64_t unit = 1;
        for (unsigned i = 0; i < digits; i++)
            unit *= 10;
        for (; value >= unit; value -= unit)
            digit++;
        put(digit);
    }
}

static void put_signed(int64_t value)
{
    if (value < 0)
        put('-');
    put_decimal(value < 0 ? -(uint64_t)value : (uint64_t)value);
}

static void put_number(char conversion, uint64_t value, bool is_long)
{
    if (conversion == 'd')
        put_signed(is_long ? (int64_t)value : (int32_t)value);
    else if (conversion == 'u')
        put_decimal(is_long ? value : (uint32_t)value);
    else
        put_hex(is_long ? value : (uint32_t)value);
}

static uint64_t next_number(va_list *arguments, unsigned longs)
{
    if (longs >= 2)
        return va_arg(*arguments, unsigned long long);
    if (longs)
        return va_arg(*arguments, unsigned long);
    return va_arg(*arguments, unsigned);
}

static void print_list(const char *format, va_list *arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        unsigned longs = 0;
        while (*++format == 'l')
            longs++;
        if (*format == 's')
            put_text(va_arg(*arguments, const char *));
        else if (*format == '%')
            put('%');
        else
            put_number(*format, next_number(arguments, longs),
                       longs * sizeof(long) >= 8 || longs > 1);
    }
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_list(format, &arguments);
    va_end(arguments);
}

/* --- results --- */

static void result(bool good, const char *format, va_list *arguments)
{
    checks++;
    failures += !good;
    print("%s %u - ", good ? "ok" : "not ok", checks);
    print_list(format, arguments);
}

bool check(bool good, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    result(good, format, &arguments);
    put('\n');
    va_end(arguments);
    return good;
}

bool check_equal(uint64_t is, uint64_t should, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    result(is == should, format, &arguments);
    put('\n');
    if (is != should)
        print("#   is 0x%llx, should be 0x%llx\n", (unsigned long long)is,
              (unsigned long long)should);
    va_end(arguments);
    return is == should;
}

void skip(const char *what, const char *why)
{
    checks++;
    print("ok %u - %s # SKIP %s\n", checks, what, why);
}

void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_text("# ");
    print_list(format, &arguments);
    put('\n');
    va_end(arguments);
}

static void __attribute__((noreturn)) end_machine(uint8_t code)
{
    out8(DEBUG_EXIT, code);
    for (;;)
        asm volatile("cli; hlt");
}

void finish(void)
{
    print("1..%u\n", checks);
    end_machine(failures ? 1 : 0);
}

void bail_out(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_text("Bail out! ");
    print_list(format, &arguments);
    put('\n');
    va_end(arguments);
    end_machine(1);
}

void run_groups(const struct test_group *groups, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (option_given("only") && !option_lists("only", groups[i].name))
            continue;
        if (option_lists("without", groups[i].name)) {
            skip(groups[i].name, "left out on the command line");
            continue;
        }
        note("group %s", groups[i].name);
        groups[i].run();
    }
}

/* --- command line --- */

void command_line_start(const char *line)
{
    size_t i = 0;
    for (; line[i] && i < sizeof(command_line) - 1; i++)
        command_line[i] = line[i];
    command_line[i] = 0;
}

/* The text behind "name=" where it begins a word, or NULL. */
static const char *option_text(const char *name)
{
    bool at_word = true;
    for (const char *at = command_line; *at; at++) {
        size_t i = 0;
        while (at_word && name[i] && at[i] == name[i])
            i++;
        if (at_word && !name[i] && at[i] == '=')
            return at + i + 1;
        at_word = *at == ' ';
    }
    return NULL;
}

bool option_given(const char *name)
{
    return option_text(name) != NULL;
}

word option_number(const char *name, word otherwise)
{
    const char *text = option_text(name);
    word number = 0;
    if (!text || *text < '0' || *text > '9')
        return otherwise;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (word)(*text - '0');
    return number;
}

bool option_lists(const char *name, const char *word_in_list)
{
    const char *text = option_text(name);
    while (text && *text && *text != ' ') {
        size_t i = 0;
        while (word_in_list[i] && text[i] == word_in_list[i])
            i++;
        if (!word_in_list[i] && (text[i] == ',' || text[i] == ' ' || !text[i]))
            return true;
        while (*text && *text != ' ' && *text != ',')
            text++;
        text += *text == ',';
    }
    return false;
}
