"""What the programs work on; the same bytes every time."""

SYLLABLES = ["ka", "lo", "mi", "ter", "an", "des", "un", "gra", "vi", "sol", "the", "pre", "ing", "ou", "ble", "st"]


class Random:
    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return (self.state >> 33) * limit >> 31


def text(size):
    """Sentences of words, of which few are frequent and many rare."""
    random = Random(1)
    words = ["".join(SYLLABLES[random.below(16)] for _ in range(1 + random.below(4))) for _ in range(8000)]
    said, length = [], 0
    while length < size:
        sentence = []
        for i in range(4 + random.below(14)):
            bound = 1 + random.below(len(words))
            word = words[random.below(bound) * random.below(bound) // bound]
            sentence.append(word.capitalize() if i == 0 else word)
            if random.below(9) == 0:
                sentence[-1] += ","
        said.append(" ".join(sentence) + (".\n" if random.below(4) == 0 else ". "))
        length += len(said[-1])
    return "".join(said)[:size]


FUNCTION = """
struct record_{n} {{ int key, count; double weight; struct record_{n} *next; char name[{size}]; }};
static struct record_{n} *table_{n}[{buckets}];

int work_{n}(const char *name, int key, double weight)
{{
    unsigned hash = {seed}u;
    for (const char *at = name; *at != 0; at++)
        hash = hash * 31 + (unsigned char)*at;
    struct record_{n} **place = &table_{n}[hash % {buckets}];
    while (*place != 0 && (*place)->key != key)
        place = &(*place)->next;
    if (*place == 0) {{
        *place = calloc(1, sizeof(**place));
        if (*place == 0)
            return -1;
        (*place)->key = key;
        snprintf((*place)->name, sizeof((*place)->name), "%s-%d", name, key);
    }}
    switch ((key ^ hash) % 5) {{
    case 0: (*place)->count += {a}; break;
    case 1: (*place)->weight = (*place)->weight * 0.5 + weight; break;
    case 2: for (int i = 0; i < {b}; i++) (*place)->count ^= i << (i & 7); break;
    case 3: (*place)->count = {call}; break;
    default: memmove((*place)->name, (*place)->name + 1, strlen((*place)->name)); break;
    }}
    return (*place)->count + (int)(*place)->weight;
}}
"""


def program(functions):
    """A C file."""
    random = Random(2)
    parts = ["#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"]
    for n in range(functions):
        call = f"work_{random.below(n)}(name, key / 3, weight)" if n else "key"
        parts.append(FUNCTION.format(n=n, size=16 + random.below(48), buckets=16 + random.below(200),
                                     seed=random.below(100000), a=random.below(99), b=3 + random.below(9), call=call))
    return "".join(parts)
