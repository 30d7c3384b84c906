"""Virtual switches: two guests with Debian's own driver, their ports, and the process between them."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pexpect
import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and TAP devices are root's to make")

SECONDS = 240  # for a guest on a machine that does ten other things
ONE, TWO, HOST = "10.5.0.1", "10.5.0.2", "10.5.0.9"


def sh(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, **more).stdout


@pytest.fixture(scope="module")
def tools(initramfs, tmp_path_factory):
    """The demo's initramfs with the host's iperf3."""
    root = tmp_path_factory.mktemp("initramfs")
    sh("sh", "-c", f"zcat {initramfs} | cpio -id --quiet", cwd=root)
    path = shutil.which("iperf3")
    if path is None:
        pytest.fail("no iperf3; tools/install-deps check installs it")
    shutil.copy(path, root / "bin/iperf3")
    for library in re.findall(r"/\S+", sh("ldd", path)):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    image = root.parent / f"{root.name}.gz"
    sh("sh", "-c", f"find . | cpio -o -H newc --quiet -R 0:0 | gzip -1 >{image}", cwd=root)
    return image


class Guest:
    """A guest at its shell."""

    def __init__(self, office, kernel, image, name, *words):
        self.name = name
        self.child = pexpect.spawn(
            "ip", ["netns", "exec", office.where, office.partita, "run", "-k", str(kernel), "-i", str(image),
                   "-m", "256M", "-n", name, "-a", "console=ttyS0 demo=shell cryptomgr.notests", *map(str, words)],
            timeout=SECONDS, encoding="latin-1", dimensions=(40, 200), env=office.environment)
        self.ready()

    def ready(self):
        self.child.expect("guest:/root# ")
        self.run("dmesg -n 1")

    def run(self, command):
        """What a command says, and nothing else."""
        self.child.sendline(f"echo be''gin; {{ {command}\n}}; echo; echo en''d")
        self.child.expect(r"\nbegin\r\n(.*?)\n\r?end\r")
        return self.child.match[1].replace("\r", "").strip()

    def address(self, address, device="eth0"):
        self.run(f"ifconfig {device} {address} netmask 255.255.255.0 up; sleep 1")

    def pings(self, to, options=""):
        return int(re.search(r"(\d+) packets received", self.run(f"ping -c 5 -i 0.1 -W 2 {options} {to}"))[1])

    def reaches(self, to):
        """At last: Linux looks at carriers once a second."""
        self.run(f"for i in $(seq 50); do ping -c 1 -W 1 {to} >/dev/null && break; done")
        return self.pings(to) == 5

    def mac(self):
        return self.run("cat /sys/class/net/eth0/address")

    def end(self):
        self.child.sendline("exit")
        self.child.expect(pexpect.EOF)


class Office:
    """A namespace, where the process of the switches and all partitions are."""

    def __init__(self, partita, where, folder):
        self.partita = partita
        self.where = where
        self.environment = dict(os.environ, PARTITA_RUNTIME_DIR=str(folder / "run"),
                                PARTITA_STATE_DIR=str(folder / "state"))

    def call(self, *words):
        return subprocess.run(["ip", "netns", "exec", self.where, self.partita, "switch", *map(str, words)],
                              capture_output=True, text=True, timeout=60, env=self.environment, check=False)

    def do(self, *words):
        done = self.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self, *words):
        return json.loads(self.do(*words, "--json"))

    def port(self, name, switch="lan"):
        ports = self.show("show", switch)["ports"]
        return next(port for port in ports if port["port"] == f"{name}:0")

    def dropped(self, name, reason):
        return self.port(name)["counters"]["dropped"][reason]

    def process(self):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                environment = open(f"/proc/{pid}/environ", "rb").read()
                if words[1:3] == [b"switch", b"serve"] and \
                        f"PARTITA_STATE_DIR={self.environment['PARTITA_STATE_DIR']}".encode() in environment:
                    return int(pid)
        return None

    def path(self, which):
        return f"{self.environment['PARTITA_RUNTIME_DIR']}/.switch/{which}"


@contextlib.contextmanager
def namespace(name):
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        sh("ip", "netns", "del", name)


@pytest.fixture(scope="module")
def office(partita, tmp_path_factory):
    with namespace(f"partita-sw-{os.getpid()}") as where:
        one = Office(partita, where, tmp_path_factory.mktemp("switches"))
        yield one
        for switch in one.show("list"):
            one.do("delete", switch["name"])


@pytest.fixture(scope="module")
def guests(office, kernel, tools):
    """Two guests at a switch of the host's own, "lan"."""
    office.do("create", "lan", "--kind", "internal")
    sh("ip", "-n", office.where, "addr", "add", f"{HOST}/24", "dev", "pt-lan")
    one = Guest(office, kernel, tools, "one", "--net", "switch=lan")
    two = Guest(office, kernel, tools, "two", "--net", "switch=lan")
    one.address(ONE)
    two.address(TWO)
    assert one.reaches(TWO)
    yield one, two
    one.end()
    two.end()


@contextlib.contextmanager
def settings(office, name, on, off, switch="lan"):
    office.do("port", switch, name, *on)
    try:
        yield
    finally:
        office.do("port", switch, name, *off)


def test_guests_and_host_reach_each_other(office, guests):
    one, two = guests
    assert one.pings(TWO) == 5 and two.pings(ONE) == 5
    assert one.pings(HOST) == 5 and two.pings(HOST, "-s 1400") == 5
    sh("ip", "netns", "exec", office.where, "busybox", "ping", "-c", "3", "-i", "0.2", ONE)
    for guest in guests:
        port = office.port(guest.name)
        assert port["connected"] and port["settings"]["mac"] == guest.mac()
        assert port["counters"]["from_frames"] >= 5 and port["counters"]["to_frames"] >= 5
    listed = office.show("list")
    assert [(one["name"], one["kind"], one["connected_count"]) for one in listed] == [("lan", "internal", 2)]


def test_a_stream_arrives_as_it_was_sent(guests):
    one, two = guests
    two.run("nc -l -p 9 >/tmp/got & sleep .5")
    wanted = one.run(f"dd if=/dev/urandom of=/tmp/sent bs=1M count=8 2>/dev/null; nc -w 5 {TWO} 9 </tmp/sent; "
                     "sha256sum </tmp/sent")
    assert two.run("sleep 2; sha256sum </tmp/got") == wanted


def test_vlans_are_apart(office, guests):
    one, _ = guests
    with settings(office, "one", ["--vlan", "7"], ["--vlan", "none"]):
        assert one.pings(TWO) == 0
        with settings(office, "two", ["--vlan", "7"], ["--vlan", "none"]):
            assert one.reaches(TWO)
            assert one.pings(HOST) == 0
    assert one.reaches(TWO)


def test_a_restarted_process_has_all_again(office, guests):
    one, two = guests
    before = office.show("show", "lan")
    os.kill(office.process(), signal.SIGKILL)
    time.sleep(1)
    after = office.show("show", "lan")  # which starts it
    assert [port["settings"] for port in after["ports"]] == [port["settings"] for port in before["ports"]]
    assert one.reaches(TWO) and two.reaches(HOST)


def test_a_reboot_keeps_port_and_address(office, guests):
    one, _ = guests
    mac = one.mac()
    one.child.sendline("reboot -f")
    one.child.expect("Debian's kernel has booted")
    one.ready()
    assert one.mac() == mac
    one.address(ONE)
    assert one.reaches(TWO)
    assert len(office.show("show", "lan")["ports"]) == 2
