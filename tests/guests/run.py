#!/usr/bin/python3
"""Runs a bare-metal test image on an engine and relays its TAP output.

run.py [--engine partita|qemu] [--program PATH] [--cpus N] [--args TEXT] [--timeout S] IMAGE

The image prints its results over the serial port and ends through the debug-exit port, whose
value v makes the exit code (v << 1) | 1. To the results of the image the runner adds one of its
own: that the machine ended as it should (with --expect-crash: by a shutdown after a triple fault).
QEMU's TCG is here to test the tests; what it is known to do against the SDM is in
tcg_deviations.py, and such a failure is reported as an expected one (TODO).
"""
import argparse
import os
import re
import select
import signal
import subprocess
import sys
import time

import tcg_deviations

RESULT = re.compile(r"(not )?ok (\d+)( - )?(.*)")
GUEST_SUCCESS, GUEST_FAILURE = 1, 3
CRASH_STATUS = {"partita": 10, "qemu": 0} # how each says that the guest shut down


def command_of(args):
    words = f"cpus={args.cpus} {args.args}"
    if args.engine == "qemu":
        left_out = tcg_deviations.LEFT_OUT.get(os.path.basename(args.image), {})
        if left_out:
            words += " without=" + ",".join(left_out)
        return [args.program or "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp",
                str(args.cpus), "-m", "256", "-display", "none", "-serial", "stdio", "-no-reboot",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", args.image, "-append",
                words.strip()]
    return [args.program or "partita", "run", "--engine", "soft", "--kernel", args.image,
            "--append", words.strip(), "--cpus", str(args.cpus), "--memory", "256M", "--serial",
            "stdio", "--debug-exit", "--test-devices", "--translate", args.translate]


class Relay:
    """Passes lines of TAP on, holds back the plan, and turns all else into comments."""

    def __init__(self, engine, image):
        rows = tcg_deviations.DEVIATIONS.get(image, []) if engine == "qemu" else []
        self.deviations = [(re.compile(pattern), reason) for pattern, reason in rows]
        self.count = 0
        self.plan = None
        self.bailed = False

    def say(self, text):
        print(text, flush=True)

    def line(self, text):
        result = RESULT.match(text)
        plan = re.fullmatch(r"1\.\.(\d+)", text)
        if result:
            self.count += 1
            self.say(text + self.excuse(result))
        elif plan:
            self.plan = int(plan[1])
        elif text.startswith("Bail out!"):
            self.bailed = True
            self.say("# " + text)
        elif text:
            self.say(text if text.startswith("#") else "# " + text)

    def excuse(self, result):
        if not result[1]:
            return ""
        for pattern, reason in self.deviations:
            if pattern.search(result[4]):
                return f" # TODO TCG deviates: {reason}"
        return ""

    def own(self, good, what):
        self.count += 1
        self.say(f"{'ok' if good else 'not ok'} {self.count} - {what}")


def relay_output(process, relay, deadline):
    """Returns False when the time ran out."""
    rest = b""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for text in lines:
            relay.line(text.decode("ascii", "replace").rstrip("\r"))
    if rest:
        relay.line(rest.decode("ascii", "replace"))
    return True


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def judge(args, relay, status):
    if args.expect_crash:
        crashed = status == CRASH_STATUS[args.engine] and not relay.bailed
        relay.own(crashed, f"the machine shut down after the triple fault (status {status})")
        return crashed
    ended = status in (GUEST_SUCCESS, GUEST_FAILURE) and not relay.bailed
    planned = relay.plan == relay.count
    relay.own(ended and planned,
              f"the image ran to its end (status {status}, {relay.count} results, "
              f"plan {relay.plan})")
    return ended and planned


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("partita", "qemu"), default="partita")
    parser.add_argument("--program", help="the engine's executable")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--args", default="", help="command line of the image")
    parser.add_argument("--timeout", type=float, default=100)
    parser.add_argument("--translate", default="hot", help="hot, always, never, lockstep or lockstep:SEED")
    parser.add_argument("--expect-crash", action="store_true")
    parser.add_argument("image")
    args = parser.parse_args()

    relay = Relay(args.engine, os.path.basename(args.image))
    with subprocess.Popen(command_of(args), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as process:
        if relay_output(process, relay, time.monotonic() + args.timeout):
            status = process.wait()
        else:
            stop(process)
            status = None
            relay.say(f"# no end within {args.timeout} s")
    good = judge(args, relay, status)
    relay.say(f"1..{relay.count}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
