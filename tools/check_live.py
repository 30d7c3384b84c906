#!/usr/bin/python3
"""Fail when live code of the software engine calls what may use vector registers.

usage: check_live.py LIBRARY
src/engine/soft/cpu.h, rule 2: while the guest's vector state is in the host's registers, nothing may
be called that the compiler or the C library made with vector instructions. Copies and fills that a
compiler turns into calls are the way this breaks unseen.
"""
import re
import subprocess
import sys

FORBIDDEN = re.compile(r"(__asan_)?(mem(cpy|move|set|cmp|chr)|bcmp|str\w+)(_chk)?$|__(mem|str)\w+_chk$")


def calls(library):
    """(object, function called), of everything that is undefined in it."""
    member = library
    listing = subprocess.run(["nm", "--undefined-only", library], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    for line in listing.splitlines():
        if line.endswith(":"):
            member = line[:-1]
        elif line.split():
            yield member, line.split()[-1]


def main():
    bad = sorted({call for call in calls(sys.argv[1]) if FORBIDDEN.match(call[1])})
    print("1..1")
    for member, name in bad:
        print(f"# {member} calls {name}")
    print(f"{'not ' if bad else ''}ok 1 - live code calls no copying or filling of the C library")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
