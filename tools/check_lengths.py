#!/usr/bin/python3
"""Fail when a function is longer than 100 lines or a C file longer than 800.

Files that are one long table are listed with the reason in tools/tables.txt and are exempt. A
function is measured from its signature to its closing brace, as universal-ctags finds them.
"""
import json
import pathlib
import statistics
import subprocess
import sys

MOST_FUNCTION, MOST_FILE = 100, 800


def functions(paths):
    """(path, name, lines) of every function defined in these files."""
    command = ["ctags", "--languages=C", "--langmap=C:.c.h", "--kinds-C=f", "--fields=+ne",
               "--output-format=json", "-f", "-", *map(str, paths)]
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
    for tag in map(json.loads, output.splitlines()):
        yield tag["path"], tag["name"], tag.get("end", tag["line"]) - tag["line"] + 1


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    listed = [line.split(":")[0].strip() for line in (root / "tools/tables.txt").read_text().splitlines()
              if line.strip() and not line.startswith("#")]
    tables = {root / name for name in listed}
    long_files, long_functions = [], []
    stale = [f"tools/tables.txt: {path.relative_to(root)} does not exist" for path in tables if not path.exists()]
    paths = sorted(path for folder in ("src", "tests") for path in (root / folder).rglob("*.[ch]")
                   if path not in tables)
    for path in paths:
        lines = len(path.read_text().splitlines())
        if lines > MOST_FILE:
            long_files.append(f"{path.relative_to(root)}: {lines} lines, {MOST_FILE} are the most")
    lengths = []
    for path, name, lines in functions(paths):
        lengths.append(lines)
        if lines > MOST_FUNCTION:
            long_functions.append(f"{pathlib.Path(path).relative_to(root)}: {name} has {lines} lines, "
                                  f"{MOST_FUNCTION} are the most")
    lengths.sort()
    print(f"# {len(paths)} files; {len(lengths)} functions: median {statistics.median(lengths):.0f}, "
          f"95 % within {lengths[len(lengths) * 95 // 100]}, longest {lengths[-1]} lines")
    rules = {"files": long_files + stale, "functions": long_functions}
    for number, (rule, bad) in enumerate(rules.items(), 1):
        for line in bad:
            print("#", line)
        print(f"{'not ok' if bad else 'ok'} {number} - length of {rule}")
    print(f"1..{len(rules)}")
    return int(any(rules.values()))


if __name__ == "__main__":
    sys.exit(main())
