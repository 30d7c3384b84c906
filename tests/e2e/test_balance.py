"""One budget of memory for two guests: what one frees the other gets, and together they stay within it."""
import json
import re
import shutil
import signal
import subprocess
import time

import pytest

from test_balloon import APPEND
from test_hyperv import MIB, Debian

BUDGET, STARTUP, LEAST, MOST = 1024, 512, 256, 1024  # MiB
SECONDS = 120
FAILED, USAGE = 1, 2


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


@pytest.fixture(scope="module")
def memory(order):
    def ask(name):
        told = json.loads(order("memory", name, "--json"))
        return {key: value // MIB if key in ("assigned", "demand", "target") and value is not None else value
                for key, value in told.items()}
    return ask


@pytest.fixture(scope="module")
def guests(partita, debian_image, tmp_path_factory):
    found = {}
    for name in ("one", "two"):
        disk = tmp_path_factory.mktemp(name) / "root.vhdx"
        shutil.copy(debian_image, disk)
        found[name] = Debian(partita, "--disk", disk, "--net", "none", "--name", name, "-m", f"{STARTUP}M", "--memory-min",
                             f"{LEAST}M", "--memory-max", f"{MOST}M", "-a", APPEND)
        found[name].run("mount -t tmpfs -o size=900m none /mnt")
    yield found
    for guest in found.values():
        guest.child.terminate(force=True)


@pytest.fixture(scope="module")
def balancing(partita, guests, order, memory):
    for name in guests:  # within the budget from the start
        order("memory", name, "set", "--target", "400M")
    deadline = time.monotonic() + SECONDS
    while any(memory(name)["assigned"] > 500 or memory(name)["demand"] is None for name in guests):
        assert time.monotonic() < deadline, [memory(name) for name in guests]
        time.sleep(0.5)
    for name in guests:
        order("memory", name, "set", "--target", "auto")
    process = subprocess.Popen([partita, "balance", "--budget", f"{BUDGET}M"], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


def wait_within_budget(memory, good):
    """All that is seen on the way is within the budget."""
    deadline = time.monotonic() + SECONDS
    while True:
        told = {name: memory(name) for name in ("one", "two")}
        assert sum(one["assigned"] for one in told.values()) <= BUDGET, told
        if good(told["one"], told["two"]):
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def fill(guest):
    """Not so quickly that memory could not follow."""
    guest.run("for i in $(seq 20); do dd if=/dev/zero of=/mnt/full$i bs=1M count=25 2>/dev/null; sleep 1.2; done")


def test_who_needs_more_gets_it_from_who_needs_less(guests, balancing, memory):
    fill(guests["one"])
    wait_within_budget(memory, lambda one, two: one["assigned"] > 600 and one["assigned"] > two["assigned"] + 100)
    assert not memory("one")["automatic"] and not memory("two")["automatic"]


def test_and_back(guests, balancing, memory):
    guests["one"].run("rm /mnt/full*; echo 3 >/proc/sys/vm/drop_caches")
    fill(guests["two"])
    wait_within_budget(memory, lambda one, two: two["assigned"] > 600 and two["assigned"] > one["assigned"] + 100)


def test_one_that_is_let_go_meanwhile_is_taken_again(guests, balancing, memory, order):
    order("memory", "one", "set", "--target", "auto")
    wait_within_budget(memory, lambda one, two: not one["automatic"])


def test_at_the_end_each_decides_for_itself(guests, balancing, memory):
    assert balancing.poll() is None
    balancing.send_signal(signal.SIGINT)
    assert balancing.wait(timeout=30) == 0
    said = balancing.stdout.read()
    assert "one: " in said and "two: " in said and "demand" in said
    assert memory("one")["automatic"] and memory("two")["automatic"]


def test_once_is_for_who_comes_again(guests, memory, order):
    """As from a clock: each time shares anew what the last one shared, but not what a person has set."""
    order("memory", "two", "set", "--target", "300M")
    order("balance", "--budget", f"{BUDGET}M", "--once", "--quiet")
    assert not memory("one")["automatic"] and memory("one")["balanced"] and not memory("two")["balanced"]
    assert "as partita balance has it" in order("memory", "one")
    deadline = time.monotonic() + SECONDS
    while memory("one")["target"] > 400:
        order("balance", "--budget", "600M", "--once")
        assert time.monotonic() < deadline, memory("one")
        time.sleep(1)
    assert memory("two")["target"] == 300 and "as was set" in order("memory", "two")
    order("memory", "one", "set", "--target", "500M")
    order("balance", "--budget", "600M", "--once")
    assert memory("one")["target"] == 500 and not memory("one")["balanced"]
    for name in guests:
        order("memory", name, "set", "--target", "auto")


def test_what_a_person_sets_meanwhile_stays(guests, partita, memory, order):
    """Also at the end of one that has not looked since."""
    with subprocess.Popen([partita, "balance", "--budget", f"{BUDGET}M", "--every", "600", "--quiet"]) as process:
        deadline = time.monotonic() + SECONDS
        while not memory("one")["balanced"] or not memory("two")["balanced"]:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        order("memory", "one", "set", "--target", "400M")
        process.send_signal(signal.SIGINT)
    assert memory("one")["target"] == 400 and not memory("one")["automatic"]
    assert memory("two")["automatic"]
    order("memory", "one", "set", "--target", "auto")


def test_a_budget_that_cannot_be_kept_is_told(guests, partita):
    done = subprocess.run([partita, "balance", "--budget", "500M", "--once"], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0
    assert re.search(r"the budget of 500 MiB cannot be kept: 2 partitions have 512 MiB at least", done.stderr)


def test_wrong_words_are_refused(order):
    assert "--budget SIZE is wanted" in order("balance", code=USAGE)
    assert "--budget" in order("balance", "--budget", "much", code=USAGE)
    assert "--every" in order("balance", "--budget", "1G", "--every", "0", code=USAGE)
