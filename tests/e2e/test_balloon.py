"""Dynamic memory, with Debian's own hv_balloon: what it does not need the host has back, and it gets what it needs."""
import json
import re
import shutil
import time

import pexpect
import pytest

import images
from test_hyperv import MIB, PROMPT, QUICK, Debian
from test_integration import Host

NAME, FIXED = "balloon", "fixed"
STARTUP, LEAST, MOST = 1024, 256, 2048  # MiB
SECONDS = 120  # how long a guest may take to see what has happened
# The driver reports after a second, not after 45; Debian puts added memory to use only when told so.
APPEND = f"{QUICK} hv_balloon.pressure_report_delay=1 memhp_default_state=online"


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


class Partition(Host):
    def memory(self, name=NAME):
        """In MiB."""
        told = json.loads(self.do("memory", name, "--json"))
        return {key: value / MIB if key in ("assigned", "target", "demand", "balloon", "added", "resident", "available",
                                            "startup", "minimum", "maximum") and value is not None else value
                for key, value in told.items()}

    def wait_until(self, good, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            told = self.memory()
            if good(told):
                return told
            time.sleep(0.5)
        return pytest.fail(f"it did not come to that: {told}")

    def rest(self):
        """It has come to its target, or to what the guest keeps."""
        last, since = None, time.monotonic()
        def still(told):
            nonlocal last, since
            if told["assigned"] != last or told["state"] != "idle":
                last, since = told["assigned"], time.monotonic()
            return time.monotonic() - since > 6
        return self.wait_until(still)


@pytest.fixture(scope="module")
def host(partita):
    return Partition(partita)


@pytest.fixture(scope="module")
def guest(partita, host, debian_image, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disks") / "root.vhdx"
    shutil.copy(debian_image, disk)
    debian = Debian(partita, "--disk", disk, "--net", "none", "--name", NAME, "--memory-min", f"{LEAST}M", "--memory-max",
                    f"{MOST}M", "-a", APPEND, cpus=2)
    debian.run("mount -t tmpfs -o size=1900m none /mnt")
    yield debian
    debian.child.terminate(force=True)


@pytest.fixture(autouse=True)
def no_complaints(request):
    """Neither the guest's kernel nor the partition complains of what a test did."""
    yield
    if "guest" in request.fixturenames and request.getfixturevalue("guest").child.isalive():
        debian = request.getfixturevalue("guest")
        assert debian.run("dmesg -l warn,err,crit,alert,emerg | grep -iE 'balloon|hot.?add'") == ""
        assert debian.run("dmesg | grep -E 'Out of memory|oom|BUG:|WARNING:|Call Trace|Bad page'") == ""
        assert request.getfixturevalue("host").memory()["oddities"] == 0


def total_of(guest):
    """MiB of memory that the guest has."""
    return int(guest.run("sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo")) / 1024


def resident(guest):
    """MiB that the host's kernel counts for the process's shared memory: the guest's, and the engine's code."""
    with open(f"/proc/{guest.child.pid}/status", encoding="ascii") as status:
        return int(re.search(r"RssShmem:\s+(\d+)", status.read())[1]) / 1024


def fill(guest, count, seconds=900):
    """Files of 50 MiB in memory, one a second, and their sums."""
    guest.run(f"for i in $(seq {count}); do dd if=/dev/urandom of=/mnt/f$i bs=1M count=50 status=none; sleep 1; done; "
              "sha256sum /mnt/f* >/root/sums", timeout=seconds)


def unharmed(guest):
    return guest.run("sha256sum --quiet -c /root/sums && echo unharmed") == "unharmed"


def test_it_shrinks_to_its_demand(guest, host):
    host.wait_until(lambda told: told["reports"] > 0)
    told = host.rest()
    assert LEAST <= told["assigned"] < 480 and told["balloon"] == STARTUP - told["assigned"]
    assert told["version"] == "2.0" and told["can_balloon"] and told["can_add"] and told["added"] == 0
    assert told["demand"] < told["assigned"] < told["demand"] * 2
    assert total_of(guest) < 480
    assert resident(guest) < told["assigned"] and told["resident"] <= resident(guest)
    print(f"assigned {told['assigned']:.0f}, demand {told['demand']:.0f}, on the host {resident(guest):.0f} MiB")
    assert "Max. dynamic memory size: 2048 MB" in guest.run("dmesg | grep hv_balloon")
    shown = host.do("memory", NAME)
    assert re.search(r"^Assigned: +\d+ MiB, of 256 to 2048; 1024 at the start$", shown, re.M)
    assert re.search(r"^Demand: +\d+ MiB, \d+ % of what it has", shown, re.M)


def test_it_grows_under_pressure_beyond_its_startup_memory(guest, host):
    fill(guest, 30)
    told = host.memory()
    assert told["added"] == MOST - STARTUP and told["assigned"] > 1750
    assert total_of(guest) > 1650
    assert resident(guest) > 1500
    assert unharmed(guest)
    print(f"assigned {told['assigned']:.0f}, on the host {resident(guest):.0f} MiB")


def test_it_shrinks_again(guest, host):
    guest.run("rm /mnt/*; echo 3 >/proc/sys/vm/drop_caches")
    told = host.rest()
    assert told["assigned"] < 520 and resident(guest) < 400
    print(f"assigned {told['assigned']:.0f}, on the host {resident(guest):.0f} MiB")


def test_cycles_leave_the_guests_data_alone(guest, host):
    for _ in range(3):
        fill(guest, 9)
        most = host.memory()["assigned"]
        assert most > 750
        assert unharmed(guest)
        guest.run("rm /mnt/f[1-4]; sed -i /mnt.f[1-4]/d /root/sums")
        host.wait_until(lambda told, most=most: told["assigned"] < most - 100)
        assert unharmed(guest)
        guest.run("rm /mnt/*")
        host.wait_until(lambda told: told["assigned"] < 560)


def test_free_memory_goes_back_without_a_balloon(guest, host):
    """What the guest frees it reports as cold: the host has it back, though it stays the guest's."""
    host.do("memory", NAME, "set", "--target", "1G")
    host.wait_until(lambda told: told["assigned"] == 1024)
    guest.run("dd if=/dev/zero of=/mnt/f bs=1M count=500 status=none")
    assert resident(guest) > 600
    guest.run("rm /mnt/f")
    deadline = time.monotonic() + SECONDS
    while resident(guest) > 400 and time.monotonic() < deadline:
        time.sleep(1)
    assert resident(guest) <= 400 and host.memory()["assigned"] == 1024


def test_settings_change_while_it_runs(guest, host):
    host.do("memory", NAME, "set", "--target", "640M")
    host.wait_until(lambda told: told["assigned"] == 640 and not told["automatic"])
    assert re.search(r"^Memory: +640M \(1G at the start\)$", host.do("status", NAME), re.M)
    assert host.do("list").splitlines()[1].split()[:4] == [NAME, "running", "2", "640M"]
    facts = json.loads(host.do("status", NAME, "--json"))
    assert (facts["memory"], facts["assigned"]) == (STARTUP * MIB, 640 * MIB)
    host.do("memory", NAME, "set", "--target", "auto", "--min", "600M", "--buffer", "5", "--weight", "7")
    told = host.rest()
    assert told["assigned"] >= 600 and told["automatic"]
    assert (told["minimum"], told["buffer"], told["weight"]) == (600, 5, 7)
    host.do("memory", NAME, "set", "--buffer", "500")
    host.wait_until(lambda told: told["assigned"] > 900)
    assert "at most 2048 MiB" in host.refused("memory", NAME, "set", "--max", "4G")
    assert "above the maximum" in host.refused("memory", NAME, "set", "--min", "1G", "--max", "512M")
    assert "not within" in host.refused("memory", NAME, "set", "--target", "64M")
    assert host.memory()["minimum"] == 600
    host.do("memory", NAME, "set", "--buffer", "20", "--min", "256M")


def test_the_driver_may_go_and_come(guest, host):
    host.do("memory", NAME, "set", "--target", "2G")
    host.wait_until(lambda told: told["assigned"] == MOST)
    driver = "/sys/bus/vmbus/drivers/hv_balloon"
    device = guest.run(f"basename {driver}/*-*-*")
    guest.run(f"echo {device} >{driver}/unbind")
    host.wait_until(lambda told: told["state"] == "closed by the guest")
    guest.run(f"echo {device} >{driver}/bind")
    host.do("memory", NAME, "set", "--target", "auto")
    host.wait_until(lambda told: told["assigned"] < 1600)


def test_a_reset_begins_with_startup_memory(guest, host):
    guest.child.sendline("systemctl reboot")
    guest.child.expect("automatic login")
    guest.child.expect_exact(PROMPT)
    guest.run("bind 'set enable-bracketed-paste off'; dmesg -n 1; export TERM=dumb")
    assert host.memory()["added"] == 0
    assert total_of(guest) < STARTUP
    told = host.rest()
    assert told["assigned"] < 480 and told["reports"] > 0
    guest.run("mount -t tmpfs -o size=1900m none /mnt")
    fill(guest, 20)
    assert host.memory()["added"] >= 256 and unharmed(guest)
    assert guest.power_off() == 0


def test_fixed_memory_is_shown_and_stays(partita, host, image):
    child = pexpect.spawn(partita, ["run", "--name", FIXED, "-m", "64M", "-k", str(image(images.say("up") + images.HALT))])
    child.expect("up")
    assert host.do("memory", FIXED).startswith("Assigned:  64 MiB, fixed\n")
    assert host.memory(FIXED)["dynamic"] is False
    assert "memory is fixed" in host.refused("memory", FIXED, "set", "--min", "32M")
    child.terminate(force=True)


@pytest.mark.parametrize("words, why", [
    (["--memory-buffer", "50"], "--memory-min or --memory-max"),
    (["--memory-min", "1G"], "rise in this order"),
    (["--memory-max", "256M"], "rise in this order"),
    (["--memory-max", "1G", "--no-hyperv"], "without Hyper-V is fixed"),
    (["--memory-max", "1G", "--memory-buffer", "4"], "from 5 to 2000"),
    (["--memory-max", "1G", "--memory-weight", "0"], "from 1 to 10000"),
    (["--memory-max", "lots"], "a size is wanted"),
])
def test_options_that_make_no_sense(run, image, words, why):
    done = run("run", "-k", image(images.HALT), "-m", "512M", *words)
    assert done.returncode == 2 and why in done.stderr


@pytest.mark.parametrize("words, why", [
    (["set"], "set what?"), (["--min", "1G"], "follow NAME set"), (["get"], "set is wanted"),
    (["set", "--target", "some"], "a size is wanted"), (["set", "--weight", "x"], "from 1 to 10000"),
])
def test_orders_that_make_no_sense(run, words, why):
    done = run("memory", NAME, *words)
    assert done.returncode == 2 and why in done.stderr
