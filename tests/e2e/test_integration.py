"""Integration services, with Debian's own drivers and daemons in the guest."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pexpect
import pytest

from test_hyperv import MIB, PROMPT, Debian, quick

NAME = "ic"
FAILED, USAGE, NO_PARTITION = 1, 2, 5
SERVICES = ["heartbeat", "shutdown", "timesync", "kvp", "vss", "fcopy"]
VERSIONS = {"heartbeat": "3.0", "shutdown": "3.2", "timesync": "4.0", "kvp": "4.0", "vss": "5.0", "fcopy": "1.1"}
GUEST_SECONDS = 120  # how long a guest may take to see what has happened
PAUSE_SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def sockets(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path_factory.mktemp("sockets")))
        yield


class Host:
    """Orders to the partition of a guest."""

    def __init__(self, partita):
        self.partita = partita

    def order(self, *words, timeout=300):
        return subprocess.run([self.partita, *map(str, words)], capture_output=True, text=True, timeout=timeout,
                              check=False)

    def do(self, *words, **more):
        done = self.order(*words, **more)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    def refused(self, *words):
        done = self.order(*words)
        assert done.returncode == FAILED, (words, done)
        return done.stderr

    def services(self, name=NAME):
        return {service["service"]: service for service in json.loads(self.do("integration", name, "--json"))}

    def wait_for(self, service, state, name=NAME, seconds=GUEST_SECONDS):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            told = self.services(name)[service]
            if told["state"] in state.split("|"):
                return told
            time.sleep(0.5)
        return pytest.fail(f"{service} is not {state}: {told}")


@pytest.fixture(scope="module")
def host(partita):
    return Host(partita)


@pytest.fixture(scope="module")
def guest(partita, host, debian_image, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disks") / "root.vhdx"
    shutil.copy(debian_image, disk)
    debian = Debian(partita, "--disk", disk, "--name", NAME, "--integration", "all", cpus=2)
    for service in SERVICES:
        host.wait_for(service, "running")
    yield debian
    debian.child.terminate(force=True)


@pytest.fixture(autouse=True)
def no_complaints(request):
    """The guest's kernel does not complain of what a test did."""
    yield
    if "guest" in request.fixturenames and request.getfixturevalue("guest").child.isalive():
        said = request.getfixturevalue("guest").run("dmesg | grep -E 'WARNING|BUG:|Call Trace|hung task|hv_utils.*fail'")
        assert said == ""


def test_each_service_runs_with_the_newest_version(guest, host):
    assert guest.run("pgrep -x hv_kvp_daemon; pgrep -x hv_vss_daemon; pgrep -x hv_fcopy_daemon").count("\n") == 2
    told = host.services()
    assert list(told) == SERVICES
    for name, service in told.items():
        assert service["enabled"] and service["state"] == "running" and service["advice"] == ""
        assert service["version"] == service["newest"] == VERSIONS[name]
        assert service["framework"] == "3.0" and service["oddities"] == 0
    assert told["heartbeat"]["contact_ns"] < 15e9 and told["heartbeat"]["answers"] > 0
    shown = host.do("integration", NAME)
    assert re.search(r"^heartbeat +yes +running +3\.0 +3\.0 +\d+\.\d s ago$", shown, re.M)
    assert re.search(r"^Heart: +running$", host.do("status", NAME), re.M)
    assert "Heartbeat IC version 3.0" in guest.run("dmesg | grep 'IC version'")


# ---- key-value exchange ----

def test_the_guest_tells_of_itself(guest, host):
    pairs = {pair["key"]: pair["value"] for pair in json.loads(host.do("kvp", NAME, "list", "--pool", "auto", "--json"))}
    assert pairs["OSBuildNumber"] == guest.run("uname -r") and pairs["OSName"] == "Debian GNU/Linux"
    assert host.do("kvp", NAME, "get", "ProcessorArchitecture", "-p", "auto") == "x86_64\n"


def test_a_key_is_looked_for_in_all_pools(guest, host):
    assert host.do("kvp", NAME, "get", "ProcessorArchitecture") == "x86_64\n"
    assert "no such key" in host.refused("kvp", NAME, "get", "ProcessorArchitecture", "--pool", "external")
    assert "no such key" in host.refused("kvp", NAME, "get", "nothing")
    host.do("kvp", NAME, "set", "role", "guest's", "--pool", "guest")
    assert host.do("kvp", NAME, "get", "role") == "guest's\n"
    host.do("kvp", NAME, "set", "role", "host's")
    assert host.do("kvp", NAME, "get", "role") == "host's\n"
    host.do("kvp", NAME, "delete", "role", "--pool", "guest")
    host.do("kvp", NAME, "delete", "role")
    assert "no such key" in host.refused("kvp", NAME, "get", "role")
    assert host.order("kvp", "nobody", "get", "role").returncode == NO_PARTITION


@pytest.mark.parametrize("pool,file", [("external", 0), ("guest", 1)])
def test_pairs_are_set_read_and_deleted(guest, host, pool, file):
    host.do("kvp", NAME, "set", "role", "früh = spät", "--pool", pool)
    host.do("kvp", NAME, "set", "long", "x" * 1022, "--pool", pool)
    assert "früh".encode().decode("latin-1") in guest.run(f"strings -e S /var/lib/hyperv/.kvp_pool_{file} || "
                                                          f"tr -d '\\0' </var/lib/hyperv/.kvp_pool_{file}")
    assert host.do("kvp", NAME, "get", "role", "--pool", pool) == "früh = spät\n"
    assert host.do("kvp", NAME, "get", "long", "--pool", pool) == "x" * 1022 + "\n"
    host.do("kvp", NAME, "delete", "role", "--pool", pool)
    assert "no such key" in host.refused("kvp", NAME, "get", "role", "--pool", pool)
    assert f"{pool:15}long=xxx" in host.do("kvp", NAME, "list")
    host.do("kvp", NAME, "delete", "long", "--pool", pool)
    assert "at most 255" in host.refused("kvp", NAME, "set", "k" * 256, "v", "--pool", pool)


def test_addresses_are_read(guest, host):
    guest.run("modprobe dummy; ip link add probe type dummy; ip link set probe address 02:00:00:00:00:aa up; "
              "ip address add 10.9.8.7/24 dev probe")
    if guest.run("ip -br link show probe 2>&1 | cut -c1-5") != "probe":
        pytest.skip("this kernel makes no network card")
    assert host.do("kvp", NAME, "ip", "02:00:00:00:00:AA") == host.do("kvp", NAME, "ip", "02:00:00:00:00:aa")
    told = json.loads(host.do("kvp", NAME, "ip", "02:00:00:00:00:aa", "--json"))
    assert "10.9.8.7" in told["addresses"] and "255.255.255.0" in told["masks"] and not told["dhcp"]
    assert "could not" in host.refused("kvp", NAME, "ip", "{00000000-0000-0000-0000-000000000000}", "--dhcp")


def test_the_one_card_needs_no_name(guest, host):
    cards = json.loads(host.do("status", NAME, "--json"))["cards"]
    assert len(cards) == 1
    shown = host.do("kvp", NAME, "ip")
    assert re.search(r"^Addresses: ", shown, re.M) and shown == host.do("kvp", NAME, "ip", cards[0]["mac"])


def test_addresses_are_set_by_the_guests_script(guest, host):
    """Which Debian does not have: one that keeps what it was told stands in."""
    script = "/usr/libexec/hypervkvpd/hv_set_ifconfig"
    mac = json.loads(host.do("status", NAME, "--json"))["cards"][0]["mac"]
    assert "could not" in host.refused("kvp", NAME, "ip", "--dhcp")
    guest.run(f"printf '#!/bin/sh\\ncp \"$1\" /run/asked\\n' >{script}; chmod +x {script}")
    for words in ([], [mac.upper()]):
        guest.run("rm -f /run/asked")
        host.do("kvp", NAME, "ip", *words, "--addresses", "10.9.9.9", "--masks", "255.255.255.0")
        asked = guest.run("cat /run/asked")
        assert f"HWADDR={mac}" in asked.lower().replace("hwaddr", "HWADDR") and "=10.9.9.9" in asked
    guest.run(f"rm {script}")
    unknown = host.order("kvp", NAME, "ip", "02:00:00:00:00:01", "--dhcp")
    assert unknown.returncode == USAGE and "has no network card 02:00:00:00:00:01" in unknown.stderr


# ---- time ----

def clock_error(guest):
    """How far the guest's clock may be behind the host's, and before it: what it says came after we asked, and
    before we heard."""
    behind = ahead = 1e9
    guest.child.delaybeforesend = None  # else pexpect waits before it sends
    guest.child.sendline('while read x && [ -n "$x" ]; do echo "<$EPOCHREALTIME>"; done')
    for _ in range(25):
        before = time.time()
        guest.child.sendline("x")
        guest.child.expect(r"<(\d+\.\d+)>")
        after = time.time()
        said = float(guest.child.match[1])
        behind, ahead = min(behind, after - said), min(ahead, said - before)
    guest.run("")
    return behind, ahead


def test_the_clock_is_right_after_a_pause(guest, host):
    guest.run("date -s @$(($(date +%s) - 100)) >/dev/null")
    assert clock_error(guest)[0] > 50
    os.kill(guest.child.pid, signal.SIGSTOP)
    time.sleep(PAUSE_SECONDS)
    os.kill(guest.child.pid, signal.SIGCONT)
    start = time.monotonic()
    time.sleep(2)
    behind, ahead = clock_error(guest)
    print(f"clock at most {behind:.4f} s behind, {ahead:.4f} s ahead, {time.monotonic() - start:.1f} s after the pause")
    assert -0.05 < behind < 0.05 and -0.05 < ahead < 0.05
    guest.run("dmesg -C")  # of a minute without a tick the kernel does complain


# ---- freezing ----

def start_writer(guest):
    guest.run("rm -f /root/w; (while :; do date +%s.%N >>/root/w; sync /root/w; sleep 0.05; done) >/dev/null 2>&1 &")


def longest_pause(guest):
    guest.run("sleep 1; kill %1; wait 2>/dev/null")
    times = [float(line) for line in guest.run("cat /root/w").split("\n") if re.fullmatch(r"\d+\.\d+", line)]
    return max(b - a for a, b in zip(times, times[1:]))


def test_writers_stand_while_file_systems_are_frozen(guest, host):
    start_writer(guest)
    time.sleep(2)
    host.do("freeze", NAME)
    assert "frozen already" in host.refused("freeze", NAME)
    assert "thaw them first" in host.refused("integration", NAME, "--disable", "vss")
    time.sleep(4)
    host.do("freeze", NAME, "--thaw")
    assert 3.5 < longest_pause(guest) < 9
    assert "not frozen" in host.refused("freeze", NAME, "--thaw")


def test_the_host_thaws_in_any_case(guest, host):
    start_writer(guest)
    time.sleep(2)
    host.do("freeze", NAME)
    time.sleep(12)
    assert "too late" in host.refused("freeze", NAME, "--thaw")
    assert 8 < longest_pause(guest) < 10.5


# ---- file copy ----

@pytest.fixture(scope="module")
def blob(tmp_path_factory):
    path = tmp_path_factory.mktemp("blob") / "blob"
    with open(path, "wb") as file:
        for _ in range(200):
            file.write(os.urandom(MIB))
    yield path
    path.unlink()


def test_a_large_file_arrives_whole(guest, host, blob):
    guest.run("mkdir -p /run/in; mount -t tmpfs -o size=400m none /run/in")
    start = time.monotonic()
    host.do("copy", "--quiet", blob, f"{NAME}:/run/in/")
    print(f"copied at {200 / (time.monotonic() - start):.1f} MiB/s")
    assert guest.run("sha256sum </run/in/blob") == hashlib.sha256(blob.read_bytes()).hexdigest() + "  -"
    guest.run("rm /run/in/blob")


def test_copies_are_refused_and_called_off(partita, guest, host, blob, tmp_path):
    small = tmp_path / "small"
    small.write_bytes(b"first")
    host.do("copy", "-q", small, f"{NAME}:/run/in/new/name", "--parents")
    small.write_bytes(b"")
    assert "has a file" in host.refused("copy", "-q", small, f"{NAME}:/run/in/new/name")
    assert guest.run("cat /run/in/new/name") == "first"
    host.do("copy", "-q", small, f"{NAME}:/run/in/new/name", "--overwrite")
    assert guest.run("stat -c %s /run/in/new/name") == "0"
    assert "folder" in host.refused("copy", "-q", small, f"{NAME}:/nowhere/at/all/name")
    assert host.order("copy", small, f"{NAME}:relative").returncode == USAGE
    assert host.order("copy", tmp_path / "none", f"{NAME}:/x").returncode == 3
    assert "not a file" in host.refused("copy", "-q", tmp_path, f"{NAME}:/run/in/x")
    with subprocess.Popen([partita, "copy", blob, f"{NAME}:/run/in/off"], stderr=subprocess.PIPE, text=True) as copy:
        time.sleep(2)
        assert "another file" in host.refused("copy", "-q", small, f"{NAME}:/run/in/x")
        assert "being copied" in host.refused("integration", NAME, "--disable", "fcopy")
        copy.send_signal(signal.SIGINT)
        assert "called off" in copy.communicate(timeout=60)[1] and copy.returncode == FAILED
    assert guest.run("ls /run/in") == "new"


# ---- on and off ----

def test_services_come_and_go(guest, host):
    for i in range(20):
        service = SERVICES[i % len(SERVICES)]
        host.do("integration", NAME, "--disable", service)
        told = host.wait_for(service, "disabled")
        assert not told["enabled"] and told["version"] is None
        host.do("integration", NAME, "--enable", service)
        # Whether the guest's daemon is back is its own affair: systemd starts it only with its device.
        if service in ("kvp", "vss", "fcopy"):
            host.wait_for(service, "negotiating|running")
            guest.run(f"systemctl reset-failed; systemctl restart hv-{service}-daemon")
        host.wait_for(service, "running")


def test_a_daemon_that_is_missing_is_named(guest, host):
    guest.run("systemctl mask --runtime --now hv-kvp-daemon")
    host.do("integration", NAME, "--disable", "kvp")
    host.wait_for("kvp", "disabled")
    host.do("integration", NAME, "--enable", "kvp")
    told = host.wait_for("kvp", "negotiating")
    assert "hv_kvp_daemon" in told["advice"] and "hv_kvp_daemon" in host.refused("kvp", NAME, "list")
    guest.run("systemctl unmask --runtime hv-kvp-daemon; systemctl start hv-kvp-daemon")
    host.wait_for("kvp", "running")


def test_a_disabled_service_says_so(guest, host):
    host.do("integration", NAME, "--disable", "fcopy")
    assert "'fcopy' is disabled" in host.refused("copy", "-q", "/etc/hostname", f"{NAME}:/run/x")
    host.do("integration", NAME, "--enable", "fcopy")


def test_a_channel_that_nobody_opens_is_diagnosed(partita, host, kernel, initramfs):
    child = quick(partita, kernel, initramfs, "--name", "bare")
    child.expect("guest:/root# ")
    assert host.services("bare")["fcopy"]["state"] == "disabled"
    told = host.wait_for("heartbeat", "offered but never opened", "bare")
    assert "hv_utils" in told["advice"] and told["contact_ns"] is None
    assert "offered but never opened" in host.refused("freeze", "bare")
    assert "hv_utils" in host.do("integration", "bare")
    child.terminate(force=True)


# ---- shutdown: last, as the guest ends ----

def test_the_guest_reboots_and_powers_off_by_its_service(guest, host):
    assert "cannot do this" in host.refused("stop", NAME, "--hibernate")
    host.do("stop", NAME, "--reboot")
    guest.child.expect("automatic login")
    guest.child.expect_exact(PROMPT)
    guest.run("bind 'set enable-bracketed-paste off'; dmesg -n 1; export TERM=dumb")
    host.wait_for("shutdown", "running")
    host.do("stop", NAME)
    guest.child.expect("Power down", timeout=GUEST_SECONDS)
    guest.child.expect(pexpect.EOF)
    guest.child.close()
    assert guest.child.exitstatus == 0
