"""memtest86+ finds 64 MiB of memory without an error, in one whole pass.

A pass takes minutes, so it begins with the session, beside the other tests (conftest.py).
"""
import os
import re

SECONDS = int(os.environ.get("PARTITA_MEMTEST_SECONDS", "1200"))


def screen_of(output, rows=25, columns=80):
    """What a terminal shows after these bytes; memtest86+ only moves the cursor and prints."""
    screen = [[" "] * columns for _ in range(rows)]
    row = column = 0
    for match in re.finditer(r"\x1b\[(\d*);?(\d*)[;\d]*([A-Za-z])|([\x20-\xff])|(\r)|(\n)", output):
        if match[3] == "H":
            row, column = int(match[1] or 1) - 1, int(match[2] or 1) - 1
        elif match[4] and row < rows and column < columns:
            screen[row][column] = match[4]
            column += 1
        elif match[5]:
            column = 0
        elif match[6]:
            row += 1
    return "\n".join("".join(line).rstrip() for line in screen)


def test_memtest_passes_over_64_mib(memtest):
    screen = memtest.wait_for(lambda output: re.search(r"Pass: +[1-9]", screen_of(output)), SECONDS)
    screen = screen_of(screen)
    assert re.search(r"Pass: +[1-9]", screen), screen
    assert re.search(r"Errors: 0\b", screen), screen
    assert re.search(r"Memory +: +6[34]MB", screen), screen
