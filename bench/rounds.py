"""What bench/run and bench/programs share: rounds of guests that say on their serial port what they do.

A guest's lines, and natively those of the program:

    @@INIT …                           it has booted
    @@BEGIN test rep units
    @@END test rep units ns cpu_ns sum
    @@SUM test units sum               where these take time: then they count, and not those of END
    @@DONE
"""
import json
import math
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
PARTITA = ROOT / "build/release/src/cli/partita"
PIN = max(os.sched_getaffinity(0))


def processor_seconds(pid):
    """What all threads of a process and of its children have used."""
    total = 0.0
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
            total += sum(processor_seconds(child) for child in (task / "children").read_text().split())
    except OSError:
        pass  # a thread ended while we looked
    return total


class Run:
    """One run of the kit: the marks that its lines leave, by the host's clocks."""

    def __init__(self):
        self.start = time.monotonic()
        self.pid = None
        self.open = {}
        self.tests = {}
        self.marks = {}
        self.done = False
        self.tail = b""

    def feed(self, data):
        *lines, self.tail = (self.tail + data).split(b"\n")
        for line in lines:
            text = line.decode("latin1").strip()
            if "Linux version" in text:
                self.marks.setdefault("kernel_wall", time.monotonic() - self.start)
            if "@@" in text:
                self.mark(text[text.index("@@"):].split())

    def mark(self, words):
        if words[0] == "@@INIT":
            self.marks["init_wall"] = time.monotonic() - self.start
            self.marks["init_cpu"] = processor_seconds(self.pid)
        elif words[0] == "@@BEGIN":
            self.open[words[1]] = time.monotonic(), processor_seconds(self.pid)
        elif words[0] == "@@END" and len(words) == 7:
            wall, cpu = self.open[words[1]]
            self.tests.setdefault(words[1], []).append({
                "units": int(words[3]), "sum": words[6], "guest_cpu": int(words[5]) / 1e9,
                "wall": time.monotonic() - wall, "cpu": processor_seconds(self.pid) - cpu})
        elif words[0] == "@@SUM":
            self.tests[words[1]][-1] |= {"units": int(words[2]), "sum": words[3]}
        elif words[0] == "@@DONE":
            self.done = True


def execute(argv, timeout, grace=5):
    """Run argv with its output on a terminal, so that lines are not held back, until @@DONE."""
    result = Run()
    master, slave = pty.openpty()
    process = subprocess.Popen(["taskset", "-c", str(PIN), *map(str, argv)], stdin=subprocess.DEVNULL,
                               stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    result.pid = process.pid
    end = time.monotonic() + timeout
    said = b""
    while time.monotonic() < end:
        if not select.select([master], [], [], 0.5)[0]:
            continue
        try:
            data = os.read(master, 65536)
        except OSError:
            break  # the other side is closed
        result.feed(data)
        said = (said + data)[-2000:]
        if result.done:
            end = min(end, time.monotonic() + grace)
    if process.poll() is None:
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    os.close(master)
    if not result.done:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: did not finish: {' '.join(map(str, argv))}\n{said.decode('latin1')}")
    return result


def best(runs, name):
    """The quickest repetition of a test, or None; natively the kit knows its own time best."""
    clock = "guest_cpu" if runs["engine"] == "native" else "cpu"
    entries = [entry for run in runs["rounds"] for entry in run["tests"].get(name, ())]
    return min(entries, key=lambda entry: entry[clock] / entry["units"]) | {"clock": clock} if entries else None


def seconds(entry, units=None):
    """What the test took; or would have taken for `units`, where the time is given and not the work."""
    return max(entry[entry["clock"]], 1e-6) * (units or entry["units"]) / entry["units"]


def ratio(a, b):
    return f"{a / b:.2f}" if a and b else "–"


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def test_table(measured):
    """A row for each test, and whether all its sums agree."""
    engines = [engine for engine in measured if engine != "native"]
    pair = "tcg" in measured and "partita" in measured
    yield (["test", "native ms"] + [f"{engine} / native" for engine in engines] +
           (["partita / tcg"] if pair else []) + ["sums"]), True
    columns = {}
    for name in measured["native"]["rounds"][0]["tests"]:
        entries = {engine: best(runs, name) for engine, runs in measured.items()}
        native = entries["native"]
        row = [name, f"{seconds(native) * 1e3:.1f}"]
        pairs = [(engine, engine, "native") for engine in engines]
        if pair:
            pairs.append(("pair", "partita", "tcg"))
        for column, over, under in pairs:
            if entries[over] and entries[under]:
                columns.setdefault(column, []).append(
                    seconds(entries[over], native["units"]) / seconds(entries[under], native["units"]))
                row.append(f"{columns[column][-1]:.2f}")
            else:
                row.append("–")
        same = all(entries.values()) and len({entry["sum"] for entry in entries.values()}) == 1
        yield row + ["same" if same else "DIFFER"], same
    means = [geomean(columns.get(column)) for column in engines + (["pair"] if pair else [])]
    yield ["**geomean**", ""] + [f"**{mean:.2f}**" if mean else "–" for mean in means] + [""], True


def boot_table(measured):
    engines = [engine for engine in measured if engine != "native"]
    yield ["boot to init"] + [f"{engine} s" for engine in engines] + ["partita / tcg"]
    for title, mark in (("wall clock", "init_wall"), ("processor time", "init_cpu")):
        least = {engine: min(run["marks"][mark] for run in measured[engine]["rounds"]) for engine in engines}
        yield ([title] + [f"{least[engine]:.2f}" for engine in engines] +
               [ratio(least.get("partita"), least.get("tcg"))])


def markdown(rows):
    rows = list(rows)
    rule = ["---"] + ["---:"] * (len(rows[0]) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def measure(options, argv, name="{}.json", prepare=lambda engine: None):
    """Engine -> what its rounds measured; engines take turns, so that both see the same host. `argv`
    has the command line of each, before which `prepare` is called."""
    engines = ["native", *options.engines.split(",")]
    measured = {engine: {"engine": engine, "scale": options.scale, "rounds": []} for engine in engines}
    for number in range(1, options.repeat + 1):
        for engine in engines:
            prepare(engine)
            start = time.monotonic()
            result = execute(argv[engine], options.timeout)
            measured[engine]["rounds"].append({"marks": result.marks, "tests": result.tests})
            print(f"round {number} of {options.repeat}: {engine}, {time.monotonic() - start:.0f} s",
                  file=sys.stderr, flush=True)
            (OUT / name.format(engine)).write_text(json.dumps(measured[engine], indent=1))
    return measured
