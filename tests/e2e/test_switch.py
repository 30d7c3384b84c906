"""Virtual switches: two guests with Debian's own driver, their ports, and the process between them."""
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time

import pexpect
import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and TAP devices are root's to make")

SECONDS = int(os.environ.get("PARTITA_TEST_SECONDS", "240"))  # for a guest on a machine that does ten other things
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
        self.child.wait()


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
            one.do("delete", switch["name"], "--force")


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
    assert [(one["name"], one["kind"], one["interface"], one["connected_count"]) for one in listed] == \
        [("lan", "internal", "pt-lan", 2)]


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


# ---- a card of the test's own: frames that no guest would send ----

class Card:
    """A port's other end, with the messages of src/net/hello.h."""

    def __init__(self, office, name, switch="lan"):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(office.path("ports"))
        self.socket.send(b"PTH1" + bytes(16) + switch.encode().ljust(64, b"\0") + name.encode().ljust(64, b"\0"))
        welcome = self.socket.recv(400)
        assert welcome[:8] == b"PTW1" + bytes(4), welcome
        self.mac = welcome[8:14]
        self.settle()

    def settle(self):
        """Frames of others that are under way are not the test's."""
        self.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                self.socket.recv(70000)

    def send(self, frame):
        self.socket.send(bytes(12) + frame)

    def frames(self, seconds=0.5):
        found = []
        deadline = time.monotonic() + seconds
        self.socket.settimeout(0.1)
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                found.append(self.socket.recv(70000)[12:])
        return found

    def close(self):
        self.socket.close()


MANY = b"\xff" * 6


def udp(to, source, ports, kind=0x0800):
    """UDP of IPv4 from 10.5.0.77 to all."""
    header = bytes.fromhex("4500002000000000401100000a05004dffffffff")
    return (to + source + kind.to_bytes(2, "big") + header + ports[0].to_bytes(2, "big") +
            ports[1].to_bytes(2, "big") + (12).to_bytes(2, "big") + bytes(2) + b"test").ljust(60, b"\0")


def advertisement(source):
    """A router's, of IPv6: ICMP 134."""
    header = bytes.fromhex("6000000000103aff") + bytes.fromhex("fe80" + "0" * 27 + "1") + \
        bytes.fromhex("ff02" + "0" * 27 + "1")
    return bytes.fromhex("333300000001") + source + bytes.fromhex("86dd") + header + b"\x86" + bytes(15)


@pytest.fixture(scope="module")
def cards(office):
    """Two cards of a switch of their own, "wire"."""
    office.do("create", "wire")
    ends = Card(office, "left", "wire"), Card(office, "right", "wire")
    yield ends
    for end in ends:
        end.close()


GUARDS = [
    ("mac", "mac-spoofing", lambda card: udp(MANY, b"\x02\0\0\0\0\x99", (9, 9))),
    ("dhcp", "dhcp-guard", lambda card: udp(MANY, card.mac, (67, 68))),
    ("router", "router-guard", lambda card: advertisement(card.mac)),
]


@pytest.mark.parametrize("guard,reason,frame", GUARDS)
def test_a_guard_blocks_and_counts(office, cards, guard, reason, frame):
    left, right = cards
    office.do("port", "wire", "left", "--guard", "none")
    right.settle()
    left.send(frame(left))
    assert right.frames() == [frame(left)]
    office.do("port", "wire", "left", "--guard", guard)
    before = office.port("left", "wire")["counters"]["dropped"][reason]
    left.send(frame(left))
    assert right.frames() == []
    assert office.port("left", "wire")["counters"]["dropped"][reason] == before + 1
    office.do("port", "wire", "left", "--guard", "mac")


def test_tags_come_and_go(office, cards):
    left, right = cards
    plain = udp(MANY, left.mac, (9, 9))
    tagged = plain[:12] + bytes.fromhex("81000005") + plain[12:]
    with settings(office, "left", ["--vlan", "5"], ["--vlan", "none"], "wire"), \
            settings(office, "right", ["--trunk", "1-10"], ["--vlan", "none"], "wire"):
        left.send(plain)
        assert right.frames() == [tagged]
        left.send(tagged)  # an access port takes none
        assert right.frames() == []
        right.send(right.mac.join([MANY, bytes.fromhex("81000005") + plain[12:]]))
        assert left.frames() == [MANY + right.mac + plain[12:]]
        right.send(right.mac.join([MANY, bytes.fromhex("8100000b") + plain[12:]]))
        assert left.frames() == []
        assert office.port("right", "wire")["counters"]["dropped"]["other-vlan"] == 1


def test_isolated_ports_do_not_meet(office, cards):
    left, right = cards
    with settings(office, "left", ["--isolate", "on"], ["--isolate", "off"], "wire"), \
            settings(office, "right", ["--isolate", "on"], ["--isolate", "off"], "wire"):
        left.send(udp(right.mac, left.mac, (9, 9)))
        assert right.frames() == []
    left.send(udp(right.mac, left.mac, (9, 9)))
    assert len(right.frames()) == 1


def test_a_mirror_has_copies(office, cards):
    left, right = cards
    watcher = Card(office, "watcher", "wire")
    with settings(office, "left", ["--mirror", "from"], ["--mirror", "none"], "wire"), \
            settings(office, "watcher", ["--mirror", "to"], ["--mirror", "none"], "wire"):
        there, back = udp(right.mac, left.mac, (9, 9)), udp(left.mac, right.mac, (9, 9))
        left.send(there)
        right.send(back)
        assert sorted(watcher.frames()) == sorted([there, back])
    left.send(there)
    assert watcher.frames() == []
    watcher.close()


def test_the_table_of_rules_has_their_ports(office, cards):
    for words in (["-a", "allow", "-d", "in", "-p", "tcp", "--local-port", "80"],
                  ["-a", "deny", "-d", "both", "-p", "udp", "-r", "fd00::/8", "--remote-port", "65535"],
                  ["-a", "meter", "-d", "out"]):
        office.do("acl", "wire", "left", "add", *words)
    try:
        rows = [line.split() for line in office.do("acl", "wire", "left", "list").splitlines()]
    finally:
        for _ in range(3):
            office.do("acl", "wire", "left", "remove", 0)
    assert [row[1:8] for row in rows] == [
        ["ACTION", "WAY", "REMOTE", "PORT", "LOCAL", "PORT", "PROTOCOL"],
        ["allow", "in", "any", "-", "any", "80", "tcp"],
        ["deny", "both", "fd00::/8", "65535", "any", "-", "udp"],
        ["meter", "out", "any", "-", "any", "-", "any"]]


def test_a_storm_is_limited(office, cards):
    left, right = cards
    with settings(office, "left", ["--storm", "50"], ["--storm", "0"], "wire"):
        right.settle()
        for _ in range(500):
            left.send(udp(MANY, left.mac, (9, 9)))
        assert 50 <= len(right.frames()) <= 100
        assert office.port("left", "wire")["counters"]["dropped"]["storm"] >= 400
        right.settle()
        for _ in range(200):
            left.send(udp(right.mac, left.mac, (9, 9)))  # for one: none is held back
        assert len(right.frames()) == 200


def test_a_port_that_does_not_read_loses_its_own_frames_only(office, cards):
    left, right = cards
    slow = Card(office, "slow", "wire")
    large = udp(slow.mac, left.mac, (9, 9)).ljust(1500, b"x")
    deadline = time.monotonic() + 30
    while office.port("slow", "wire")["counters"]["dropped"]["no-room"] == 0 and time.monotonic() < deadline:
        for _ in range(500):
            left.send(large)
    assert office.port("slow", "wire")["counters"]["dropped"]["no-room"] > 0
    right.settle()
    left.send(udp(right.mac, left.mac, (9, 9)))
    assert len(right.frames()) == 1
    slow.close()


def test_junk_harms_only_its_sender(office, cards):
    left, right = cards
    for junk in (b"", b"x", b"PTH1" + bytes(144), os.urandom(148), os.urandom(60000)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
            one.connect(office.path("ports"))
            one.send(junk)
    silent = []
    for _ in range(100):  # who say nothing
        silent.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        silent[-1].connect(office.path("ports"))
    for junk in (b"\n", b"{}\n", b"[" * 30000 + b"\n", os.urandom(40000), b'{"verb": "show", "switch": 7}\n',
                 b'{"verb": "create", "config": {"name": "../x"}}\n', b'{"verb": "list", "what": 1}\n'):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(office.path("control"))
            with contextlib.suppress(ConnectionError):
                one.sendall(junk)
                one.settimeout(10)
                answer = one.recv(4096)
                assert answer == b"" or b'"ok":false' in answer.replace(b" ", b"")
    left.socket.send(b"x")  # shorter than a header
    left.socket.send(b"\xff" * 60)  # a header that makes no sense
    left.send(b"")
    left.send(bytes(13))
    right.settle()
    left.send(udp(right.mac, left.mac, (9, 9)))
    assert len(right.frames()) == 1
    for one in silent:
        one.close()


def test_who_is_there_already_is_not_pushed_out(office, cards):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect(office.path("ports"))
    before = office.port("left", "wire")["settings"]["mac"]
    address = struct.pack("<II", 0, 1) + b"\2stran" + b"\0\0"  # one that is not its port's
    one.send(b"PTH1" + address + b"wire".ljust(64, b"\0") + b"left".ljust(64, b"\0"))
    assert b"is in use" in one.recv(400)
    assert office.port("left", "wire")["settings"]["mac"] == before
    one.close()


def test_a_switch_that_is_used_is_not_deleted(office):
    office.do("create", "used")
    first, second = Card(office, "web", "used"), Card(office, "db", "used")
    done = office.call("delete", "used")
    assert done.returncode == 1
    assert "2 ports are connected (web, db); --force deletes it all the same" in done.stderr
    first.close()
    assert "1 port is connected (db)" in office.call("delete", "used").stderr
    assert "1 port is connected (db)" in office.call("delete", "used").stderr and office.port("db", "used")["connected"]
    second.close()
    office.do("delete", "used")
    office.do("create", "used")
    third = Card(office, "web", "used")
    office.do("delete", "used", "-f")
    assert third.socket.recv(100) == b""  # the cable is out
    third.close()


def test_a_card_that_is_connected_keeps_its_address(office):
    office.do("create", "plugs")
    office.do("port", "plugs", "web", "--mac", "02:00:00:00:00:07")
    card = Card(office, "web", "plugs")
    assert card.mac == bytes.fromhex("020000000007")
    done = office.call("port", "plugs", "web", "--mac", "02:00:00:00:00:08", "--vlan", "9")
    assert done.returncode == 1 and "web is connected" in done.stderr
    assert office.port("web", "plugs")["settings"]["vlan"] == 0
    office.do("port", "plugs", "web", "--mac", "02:00:00:00:00:07", "--vlan", "9")  # the one it has
    card.close()
    office.do("port", "plugs", "web", "--mac", "02:00:00:00:00:08")
    card = Card(office, "web", "plugs")
    assert card.mac == bytes.fromhex("020000000008")
    card.close()
    office.do("delete", "plugs")


def test_an_order_that_cannot_be_kept_is_not_done(office):
    office.do("create", "kept", "--kind", "internal")
    wall = pathlib.Path(office.environment["PARTITA_STATE_DIR"]) / "switches.json.new"
    card = Card(office, "there", "kept")
    before = office.show("show", "kept")
    sh("ip", "netns", "exec", office.where, "ip", "tuntap", "add", "found", "mode", "tap")
    wall.mkdir()
    try:
        for words in (["set", "kept", "--uplink-rate", "1M"], ["delete", "kept", "-f"], ["port", "kept", "there", "--delete"],
                      ["create", "more", "--kind", "internal"], ["create", "more", "-k", "internal", "-i", "found"]):
            done = office.call(*words)
            assert done.returncode == 1 and "switches.json" in done.stderr
        with pytest.raises(AssertionError, match="switches.json"):
            Card(office, "new", "kept")
        after = office.show("show", "kept")
        assert [port["port"] for port in after["ports"]] == ["there:0"] and after["ports"][0]["connected"]
        assert after["uplink"] and after["uplink_rate"] == before["uplink_rate"]
        devices = sh("ip", "-n", office.where, "-br", "link")
        assert "pt-kept" in devices and "pt-more" not in devices and "found" in devices
    finally:
        wall.rmdir()
        card.close()
        office.do("delete", "kept", "-f")
        sh("ip", "-n", office.where, "link", "del", "found")


def test_an_address_that_is_taken_leaves_no_port_behind(office, cards):
    taken = bytes.fromhex(office.port("left", "wire")["settings"]["mac"].replace(":", ""))
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect(office.path("ports"))
    one.send(b"PTH1" + struct.pack("<II", 0, 1) + taken + b"\0\0" + b"wire".ljust(64, b"\0") + b"ghost".ljust(64, b"\0"))
    assert b"has this address" in one.recv(400)
    one.close()
    assert "ghost:0" not in [port["port"] for port in office.show("show", "wire")["ports"]]


def test_a_device_that_is_deleted_comes_again(office):
    """The process does not spin meanwhile: others' frames go through it."""
    office.do("create", "lost", "--kind", "internal")
    try:
        spent = lambda: sum(map(int, pathlib.Path(f"/proc/{office.process()}/stat").read_text().split()[13:15]))
        sh("ip", "-n", office.where, "link", "del", "pt-lost")
        before, since = spent(), time.monotonic()
        while "pt-lost" not in sh("ip", "-n", office.where, "-br", "link"):
            assert time.monotonic() - since < 60
            time.sleep(0.2)
        assert (spent() - before) / os.sysconf("SC_CLK_TCK") < 0.5 * (time.monotonic() - since) + 0.2
        assert office.show("show", "lost")["uplink"]
        assert re.search(r"^lost +internal +pt-lost ", office.do("list"), re.M)
    finally:
        office.do("delete", "lost")


# ---- rules and rates, with guests ----

def test_rules_block_and_count(office, guests):
    one, two = guests
    assert one.reaches(TWO)
    office.do("acl", "lan", "two", "add", "--action", "deny", "--direction", "in", "--remote", f"{ONE}/32",
              "--protocol", "icmp")
    assert one.pings(TWO) == 0
    rule = office.show("acl", "lan", "two", "list")[0]
    assert rule["in_frames"] == 5 and office.dropped("two", "acl-in") >= 5
    assert two.run("nc -l -p 9 & sleep 1; true") is not None
    assert one.run(f"echo hello | nc -w 2 {TWO} 9; echo $?").endswith("0")  # TCP passes
    office.do("acl", "lan", "two", "add", "--action", "allow", "--direction", "in", "--remote", f"{ONE}/32",
              "--weight", "9")
    assert one.pings(TWO) == 5
    for number in (1, 0):
        office.do("acl", "lan", "two", "remove", number)
    assert office.call("acl", "lan", "two", "remove", 0).returncode == 5


def test_a_stateful_rule_lets_answers_in(office, guests):
    one, two = guests
    office.do("acl", "lan", "one", "add", "-a", "deny", "-d", "both", "--remote", "10.5.0.0/24", "-p", "icmp")
    assert one.pings(TWO) == 0 and two.pings(ONE) == 0
    office.do("acl", "lan", "one", "add", "-a", "allow", "-d", "out", "--remote", f"{TWO}/32", "-s")
    assert one.pings(TWO) == 5
    for number in (1, 0):
        office.do("acl", "lan", "one", "remove", number)


def test_a_rule_by_address_of_the_card(office, guests):
    one, two = guests
    office.do("acl", "lan", "one", "add", "-a", "deny", "-d", "in", "--remote", two.mac())
    assert one.pings(TWO) == 0 and one.pings(HOST) == 5
    office.do("acl", "lan", "one", "remove", 0)


def test_meters_count(office, guests):
    one, _ = guests
    office.do("acl", "lan", "one", "add", "-a", "meter", "-d", "out", "--remote", f"{TWO}/32")

    def peer():
        return next((m for m in office.show("meters", "lan") if (m["port"], m["remote"]) == ("one:0", TWO)),
                    {"out_frames": 0, "out_bytes": 0})
    before = peer()
    one.run(f"ping -c 10 -i 0.1 -s 1000 {TWO}")
    assert 10 <= peer()["out_frames"] - before["out_frames"] <= 12
    assert 10 * 1042 <= peer()["out_bytes"] - before["out_bytes"] <= 10 * 1042 + 200
    assert 10 <= office.show("acl", "lan", "one", "list")[0]["out_frames"] <= 12
    office.do("acl", "lan", "one", "remove", 0)


@contextlib.contextmanager
def serving(office, *ports):
    children = [subprocess.Popen(["ip", "netns", "exec", office.where, "iperf3", "-s", "-p", str(port)],
                                 stdout=subprocess.DEVNULL) for port in ports]
    time.sleep(1)
    yield
    for child in children:
        child.terminate()
        child.wait(timeout=30)


def send_for(guest, seconds, port, omit=3):
    guest.child.sendline(f"iperf3 -c {HOST} -p {port} -t {seconds} -O {omit} -J >/tmp/said 2>&1; echo do''ne")


def rate_of(guest):
    """Bits of a second that arrived, as Ethernet counts them."""
    guest.child.expect("done\r")
    said = guest.run("grep -A 99 sum_received /tmp/said | grep -m 1 bits_per_second; grep '\"error\"' /tmp/said")
    return float(re.search(r"bits_per_second\":\s*([0-9.e+]+)", said)[1]) * 1514 / 1448


@pytest.mark.parametrize("rate", [10e6, 100e6])
def test_a_guest_sends_at_most_so_much(office, guests, rate):
    one, _ = guests
    with settings(office, "one", ["--bandwidth-max", int(rate)], ["--bandwidth-max", "0"]), serving(office, 5201):
        send_for(one, 10, 5201)
        got = rate_of(one)
    print(f"{got / rate:.4f} of {rate}")
    # Never more; less is also what a host with other work makes of it, so that is not held against it here.
    assert 0.7 * rate < got < 1.03 * rate


def test_the_uplink_is_shared_by_weight(office, guests):
    one, two = guests
    rate = 30e6
    office.do("set", "lan", "--uplink-rate", "30M")
    with settings(office, "one", ["--bandwidth-weight", "75"], ["--bandwidth-weight", "50"]), \
            settings(office, "two", ["--bandwidth-weight", "25"], ["--bandwidth-weight", "50"]), \
            serving(office, 5201, 5202):
        for guest, port in (one, 5201), (two, 5202):
            send_for(guest, 16, port)
        time.sleep(4)
        before = [office.port(guest.name)["counters"]["from_bytes"] for guest in guests]
        time.sleep(10)
        after = [office.port(guest.name)["counters"]["from_bytes"] for guest in guests]
        sent = [new - old for new, old in zip(after, before)]
        total = [rate_of(guest) for guest in guests]
    office.do("set", "lan", "--uplink-rate", "0")
    print(f"{sent[0] / sum(sent):.4f} of 0.75, {sum(total) / rate:.4f} of {rate}")
    assert abs(sent[0] / sum(sent) - 0.75) < 0.1  # guests that cannot send enough have what they send
    assert sum(sent) * 8 / 10 < 1.05 * rate


# ---- networks of the host ----

@contextlib.contextmanager
def neighbour(office):
    """Another host, 10.6.0.1, on a wire to the office's interface w0."""
    with namespace(f"partita-nb-{os.getpid()}") as there:
        sh("ip", "-n", office.where, "link", "add", "w0", "type", "veth", "peer", "w0", "netns", there)
        for where in office.where, there:
            sh("ip", "-n", where, "link", "set", "w0", "up")
        sh("ip", "-n", there, "addr", "add", "10.6.0.1/24", "dev", "w0")
        try:
            yield there
        finally:
            sh("ip", "-n", office.where, "link", "del", "w0")


def test_an_external_switch_is_on_the_hosts_network(office, kernel, tools):
    with neighbour(office) as there:
        office.do("create", "world", "-k", "external", "-i", "w0")
        with contextlib.closing(Away(Guest(office, kernel, tools, "three", "--net", "switch=world"))) as away:
            away.guest.address("10.6.0.3")
            assert away.guest.reaches("10.6.0.1")
            assert away.guest.pings("10.6.0.1", "-s 1400") == 5
            away.stream(there)
        office.do("delete", "world")


ECHO = """
    import socket, struct
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.bind(("w0", 0))
    s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
    print("ready", flush=True)
    while True:
        frame, extra, _, _ = s.recvmsg(2000, 100)
        tag = struct.unpack("IIIHHHH", extra[0][2])[5]
        if frame[12:14] == bytes.fromhex("88b5"):
            print(tag, flush=True)
            s.send(frame[6:12] + bytes.fromhex("020000000001") + struct.pack(">HH", 0x8100, tag) + frame[12:])
"""


def test_tags_go_out_by_an_interface_and_come_in(office):
    """Frames of a type for experiments, 88b5, sent back by another host."""
    with neighbour(office) as there:
        office.do("create", "world", "-k", "external", "-i", "w0")
        office.do("port", "world", "card", "--vlan", "9")
        card = Card(office, "card", "world")
        with subprocess.Popen(["ip", "netns", "exec", there, sys.executable, "-c", textwrap.dedent(ECHO)],
                              stdout=subprocess.PIPE, text=True) as echo:
            assert echo.stdout.readline() == "ready\n"
            card.send((MANY + card.mac + bytes.fromhex("88b5")).ljust(60, b"\7"))
            assert echo.stdout.readline() == "9\n"
            assert [frame[:14] for frame in card.frames() if frame[12:14] == b"\x88\xb5"] == \
                [card.mac + bytes.fromhex("02000000000188b5")]
            echo.terminate()
        card.close()
        office.do("delete", "world")


SEND = """
    import socket
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("w0", 0))
    for tag in "88a80005", "81000005", "9100000581000005", "88a8000581000005", "":
        s.send(bytes.fromhex("ffffffffffff020000000001" + tag + "88b5").ljust(60, b"\\7"))
"""


def test_only_tags_of_vlans_come_in_by_an_interface(office):
    """Not a service's (802.1ad), nor two: the switch would take the frame for one of another VLAN, or of none."""
    with neighbour(office) as there:
        office.do("create", "world", "-k", "external", "-i", "w0")
        office.do("port", "world", "trunk", "--trunk", "all")
        office.do("port", "world", "access", "--vlan", "5")
        cards = [Card(office, name, "world") for name in ("trunk", "access", "plain")]
        sh("ip", "netns", "exec", there, sys.executable, "-c", textwrap.dedent(SEND))
        came = [[frame[12:20].hex() for frame in card.frames() if frame[6:12] == b"\2\0\0\0\0\1"] for card in cards]
        for card in cards:
            card.close()
        office.do("delete", "world")
    assert came == [["8100000588b50707", "88b5070707070707"], ["88b5070707070707"], ["88b5070707070707"]]


@pytest.mark.parametrize("down_first", [False, True])
def test_an_interface_that_is_deleted_is_told_and_comes_again(office, down_first):
    """The process does not spin meanwhile: others' frames go through it."""
    spent = lambda: sum(map(int, pathlib.Path(f"/proc/{office.process()}/stat").read_text().split()[13:15]))
    up = lambda: office.show("show", "world")["uplink"]

    def comes(wanted, seconds):
        deadline = time.monotonic() + seconds
        while up() != wanted and time.monotonic() < deadline:
            time.sleep(0.2)
        return up() == wanted
    with neighbour(office) as there:
        office.do("create", "world", "-k", "external", "-i", "w0")
        try:
            card = Card(office, "card", "world")
            assert up()
            if down_first:  # is no end: it may come up again
                sh("ip", "-n", office.where, "link", "set", "w0", "down")
                card.send((MANY + card.mac + bytes.fromhex("88b5")).ljust(60, b"\7"))
                assert not comes(False, 2)
            sh("ip", "-n", office.where, "link", "del", "w0")
            assert comes(False, 10)
            before, since = spent(), time.monotonic()
            for _ in range(20):
                card.send((MANY + card.mac + bytes.fromhex("88b5")).ljust(60, b"\7"))
                time.sleep(0.1)
            assert (spent() - before) / os.sysconf("SC_CLK_TCK") < 0.25 * (time.monotonic() - since)
            assert office.port("card", "world")["connected"]
            sh("ip", "-n", office.where, "link", "add", "w0", "type", "veth", "peer", "w0", "netns", there)
            for where in office.where, there:
                sh("ip", "-n", where, "link", "set", "w0", "up")
            assert comes(True, 30)
            card.settle()
            sh("ip", "netns", "exec", there, sys.executable, "-c", textwrap.dedent(SEND))
            assert [frame for frame in card.frames() if frame[12:14] == b"\x88\xb5"]
            card.close()
        finally:
            office.do("delete", "world", "-f")


class Away:
    """A guest and its neighbour."""

    def __init__(self, guest):
        self.guest = guest

    def stream(self, there, address="10.6.0.1"):
        """TCP with large frames, both ways."""
        with subprocess.Popen(["ip", "netns", "exec", there, "iperf3", "-s"], stdout=subprocess.DEVNULL) as server:
            time.sleep(1)
            said = [self.guest.run(f"iperf3 -c {address} -t 2 {way} 2>&1 | tail -4") for way in ("", "-R")]
            server.terminate()
        assert all("receiver" in each for each in said), "\n".join(said)

    def close(self):
        self.guest.end()


def test_a_bridge_of_the_host_gets_a_port(office, kernel, tools):
    with neighbour(office) as there:
        sh("ip", "-n", office.where, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", office.where, "link", "set", "br0", "up")
        sh("ip", "-n", office.where, "link", "set", "w0", "master", "br0")
        office.do("create", "world", "-k", "external", "-i", "br0")
        with contextlib.closing(Away(Guest(office, kernel, tools, "four", "--net", "switch=world"))) as away:
            away.guest.address("10.6.0.4")
            assert away.guest.reaches("10.6.0.1")
            away.stream(there)
            # As a service of the host that starts anew does it.
            sh("ip", "-n", office.where, "link", "del", "br0")
            assert away.guest.pings("10.6.0.1") == 0
            sh("ip", "-n", office.where, "link", "add", "br0", "type", "bridge")
            sh("ip", "-n", office.where, "link", "set", "br0", "up")
            sh("ip", "-n", office.where, "link", "set", "w0", "master", "br0")
            deadline = time.monotonic() + 30
            while not away.guest.reaches("10.6.0.1"):
                assert time.monotonic() < deadline, office.do("show", "world")
        office.do("delete", "world")
        sh("ip", "-n", office.where, "link", "del", "br0")


LEASE = ("printf '#!/bin/sh\\n[ $1 = bound ] && ifconfig $interface $ip netmask $subnet && "
         "route add default gw $router && echo nameserver $dns >/etc/resolv.conf\\n' >/tmp/lease; "
         "chmod 755 /tmp/lease; mkdir -p /etc; ifconfig eth0 up; sleep 1; udhcpc -q -n -i eth0 -s /tmp/lease")


def test_nat_gives_addresses_and_connections(office, kernel, tools):
    with neighbour(office) as there:
        sh("ip", "-n", office.where, "addr", "add", "10.6.0.2/24", "dev", "w0")
        office.do("create", "home", "-k", "nat", "-f", "tcp:2280:10.0.2.15:80")
        assert "2280" in office.call("create", "other", "-k", "nat", "-f", "tcp:2280:10.0.2.15:80").stderr
        five = Guest(office, kernel, tools, "five", "--net", "switch=home")
        six = Guest(office, kernel, tools, "six", "--net", "switch=home")
        five.run(LEASE)
        six.run(LEASE)
        assert "10.0.2.15" in five.run("ifconfig eth0") and "10.0.2.16" in six.run("ifconfig eth0")
        assert "nameserver 10.0.2.3" in five.run("cat /etc/resolv.conf")
        assert five.reaches("10.0.2.16")
        for _ in range(3):
            Away(six).stream(there)
        five.run("mkdir -p /www; echo hello >/www/f; httpd -h /www")
        assert sh("ip", "netns", "exec", office.where, sys.executable, "-c", "import urllib.request as u; "
                  "print(u.urlopen('http://127.0.0.1:2280/f').read())").strip() == "b'hello\\n'"
        five.child.sendline("reboot -f")
        five.child.expect("Debian's kernel has booted")
        five.ready()
        five.run(LEASE)
        assert "10.0.2.15" in five.run("ifconfig eth0")
        five.end()
        six.end()
        office.do("delete", "home")


def ip_sum(words):
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def ip(card, protocol, source, to, inner):
    """A frame from a card to the host of a NAT, 10.0.2.2."""
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(inner), 0, 0, 64, protocol, 0, source, to)
    return bytes.fromhex("52550a000202") + card.mac + b"\x08\0" + header[:10] + struct.pack(">H", ip_sum(header)) + \
        header[12:] + inner


def ask_once(card, options):
    """The address that a card is offered by DHCP, as it is said."""
    message = bytes.fromhex("01010600") + b"abcd" + bytes(20) + card.mac.ljust(208, b"\0") + \
        bytes.fromhex("63825363") + options + b"\xff"
    udp_header = struct.pack(">HHHH", 68, 67, 8 + len(message), 0)
    card.send(ip(card, 17, bytes(4), b"\xff" * 4, udp_header + message))
    answers = [frame for frame in card.frames() if frame[12:14] == b"\x08\0" and frame[36:38] == b"\0\x44"]
    return {".".join(map(str, frame[58:62])) for frame in answers}


def discover(card):
    """As a client does it: what comes while others fill the line may be lost."""
    for _ in range(20):
        if found := ask_once(card, bytes.fromhex("350101")):
            return found
    return set()


def test_nat_has_addresses_for_a_full_switch(office):
    office.do("create", "full", "-k", "nat")
    cards = [Card(office, f"card{i}", "full") for i in range(40)]
    offered = [discover(card) for card in cards]
    again = discover(cards[3])
    assert ask_once(cards[3], bytes.fromhex("35010432040a00021236040a000202")) == set()  # DHCPDECLINE
    other = discover(cards[3])
    for card in cards:
        card.close()
    office.do("delete", "full")
    assert offered == [{f"10.0.2.{15 + i}"} for i in range(40)]
    assert again == offered[3] and other == {"10.0.2.55"}


DIAL = """
    import socket, time
    s = socket.create_connection(("127.0.0.1", 2250), 5)
    time.sleep(3)
"""


def is_dialled(office, card, address):
    """Whether a card that answers for an address gets what the forward of port 2250 begins."""
    with subprocess.Popen(["ip", "netns", "exec", office.where, sys.executable, "-c", textwrap.dedent(DIAL)]) as host:
        came = []
        while host.poll() is None:
            for frame in card.frames(0.1):
                if frame[12:14] == b"\x08\6" and frame[21] == 1 and frame[38:42] == address:
                    card.send(frame[6:12] + card.mac + bytes.fromhex("08060001080006040002") + card.mac + address +
                              frame[22:32])
                came += [frame[30:34]] if frame[12:14] == b"\x08\0" and frame[23] == 6 else []
    return address in came


def test_nat_forwards_to_a_guest_that_probes_for_its_address_first(office):
    """RFC 5227: the first frame of one with an address of its own is from none."""
    office.do("create", "fixed", "-k", "nat", "-f", "tcp:2250:10.0.2.50:22")
    card, address = Card(office, "card", "fixed"), bytes([10, 0, 2, 50])
    arp = MANY + card.mac + bytes.fromhex("08060001080006040001") + card.mac
    card.send(arp + bytes(10) + address)
    card.send(arp + address + bytes(6) + address)
    came = is_dialled(office, card, address)
    card.close()
    office.do("delete", "fixed")
    assert came


def fragment(card, address, number, offset, inner, protocol=17):
    """A piece of a datagram for the host of a NAT; `offset` with the bit that says that there are more."""
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(inner), number, offset, 64, protocol, 0, address,
                         bytes([10, 0, 2, 2]))
    card.send(bytes.fromhex("52550a000202") + card.mac + b"\x08\0" + header[:10] + struct.pack(">H", ip_sum(header)) +
              header[12:] + inner)


def test_nat_survives_fragments(office):
    office.do("create", "pieces", "-k", "nat")
    card, other = Card(office, "card", "pieces"), Card(office, "other", "pieces")
    address = bytes(map(int, discover(card).pop().split(".")))
    fragment(card, address, 7, 3, bytes(24))  # a last one, without others
    for number in range(15000):  # first ones, without others
        fragment(card, address, number, 0x2000, bytes(60000))
    assert discover(other) == {"10.0.2.16"}
    card.settle()
    echo = struct.pack(">BBHHH", 8, 0, 0, 7, 1) + bytes(2992)
    echo = echo[:2] + struct.pack(">H", ip_sum(echo)) + echo[4:]
    card.send(MANY + card.mac + bytes.fromhex("08060001080006040001") + card.mac + address + bytes(6) + bytes([10, 0, 2, 2]))
    answers = []
    for number in range(9, 29):
        fragment(card, address, number, 0x2000, echo[:1480], 1)
        fragment(card, address, number, 0x2000 | 185, echo[1480:2960], 1)
        fragment(card, address, number, 370, echo[2960:], 1)
        answers = answers or [frame for frame in card.frames() if frame[23:24] == b"\1"]
        if answers:
            break
    assert answers
    memory = sum(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) for status in nat_statuses(office))
    card.close()
    other.close()
    office.do("delete", "pieces")
    assert 0 < memory < 700000


def nat_statuses(office):
    """/proc/PID/status of the NATs' processes."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            if status.startswith("Name:\tpartita-nat\n") and f"PPid:\t{office.process()}\n" in status:
                yield status


def test_nat_outlives_more_guests_than_it_has_addresses(office):
    """One after the other, as a laboratory makes them; here from one port that may send from any address."""
    office.do("create", "labs", "-k", "nat")
    office.do("port", "labs", "many", "--guard", "none")
    card = Card(office, "many", "labs")
    own = card.mac
    first = discover(card)
    for i in range(300):
        card.mac = b"\2\0\0\7" + i.to_bytes(2, "big")
        card.send(MANY + card.mac + bytes.fromhex("08060001080006040001") + card.mac + bytes(16))
    last = discover(card)
    card.mac = own
    again = discover(card)
    card.close()
    office.do("delete", "labs")
    assert first == {"10.0.2.15"} and len(last) == 1 and len(again) == 1 and last != again


LISTEN = """
    import socket
    s = socket.socket()
    s.bind(("127.0.0.1", 7070))
    s.listen(4096)
    print("ready", flush=True)
    held = []
    while True:
        held.append(s.accept())
"""


class Dialler:
    """A guest that only begins connections, to a port of the host's."""

    def __init__(self, office, name):
        self.card = Card(office, name, "shared")
        self.address = bytes(map(int, discover(self.card).pop().split(".")))
        self.card.send(MANY + self.card.mac + bytes.fromhex("08060001080006040001") + self.card.mac + self.address +
                       bytes(6) + bytes([10, 0, 2, 2]))
        self.port = 1024

    def dial(self, count):
        """How many of so many were answered."""
        for _ in range(count):
            self.port += 1
            tcp = struct.pack(">HHIIBBHHH", self.port, 7070, 1, 0, 0x50, 2, 8000, 0, 0)
            pseudo = self.address + bytes([10, 0, 2, 2, 0, 6, 0, 20])
            tcp = tcp[:16] + struct.pack(">H", ip_sum(pseudo + tcp)) + tcp[18:]
            self.card.send(ip(self.card, 6, self.address, bytes([10, 0, 2, 2]), tcp))
        return len({frame[36:38] for frame in self.card.frames(1) if frame[23:24] == b"\6" and frame[47] == 0x12})


def test_a_guest_cannot_take_the_connections_of_others(office):
    office.do("create", "shared", "-k", "nat")
    with subprocess.Popen(["ip", "netns", "exec", office.where, sys.executable, "-c", textwrap.dedent(LISTEN)],
                          stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        greedy, modest = Dialler(office, "greedy"), Dialler(office, "modest")
        assert greedy.dial(50) == 50
        total = 50 + sum(greedy.dial(100) for _ in range(12))
        more = greedy.dial(20)
        other = modest.dial(50)
        greedy.card.close()
        modest.card.close()
        server.terminate()
    office.do("delete", "shared")
    assert 63 <= total <= 1024 and more == 0, f"{total} and {more} connections"
    assert other == 50


def test_private_and_nat_need_no_root(partita, tmp_path):
    """An unprivileged user's own process, folder and switches."""
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents[:3]:
        os.chmod(parent, os.stat(parent).st_mode | 0o011)
    own = tmp_path / "own"
    own.mkdir()
    os.chown(own, 65534, 65534)
    program = shutil.copy(partita, tmp_path / "partita")
    environment = {"PARTITA_RUNTIME_DIR": f"{own}/run", "PARTITA_STATE_DIR": f"{own}/state", "PATH": os.environ["PATH"]}

    def call(*words):
        return subprocess.run([program, "switch", *words], capture_output=True, text=True, timeout=60, check=False,
                              env=environment, user=65534, group=65534, extra_groups=[])
    assert call("create", "quiet").returncode == 0
    done = call("create", "home", "-k", "nat")
    assert done.returncode == 0, done.stderr
    assert [(one["name"], one["uplink"]) for one in json.loads(call("list", "--json").stdout)] == \
        [("home", True), ("quiet", False)]
    done = call("create", "inside", "-k", "internal")
    for name in "home", "quiet":
        assert call("delete", name).returncode == 0
    assert done.returncode == 1 and "/dev/net/tun" in done.stderr


def open_files(pid):
    return {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}


def test_its_processes_have_names_and_no_files_of_others(partita, tmp_path):
    """A script that waits for the end of a pipe does not wait for the switches' process."""
    environment = dict(os.environ, PARTITA_RUNTIME_DIR=f"{tmp_path}/run", PARTITA_STATE_DIR=f"{tmp_path}/state")

    def call(*words, **more):
        return subprocess.run([partita, "switch", *words], timeout=60, env=environment, check=True, **more)
    reader, writer = os.pipe()
    third = os.dup2(writer, 77, inheritable=True)
    try:
        with open(tmp_path / "file", "w") as other:
            os.set_inheritable(other.fileno(), True)
            call("create", "home", "-k", "nat", pass_fds=(third, other.fileno()))
        os.close(writer)
        os.close(third)
        assert select.select([reader], [], [], 5)[0] and os.read(reader, 1) == b""
        children = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if f"PARTITA_STATE_DIR={tmp_path}/state".encode() in open(f"/proc/{pid}/environ", "rb").read():
                    children[open(f"/proc/{pid}/comm").read().strip()] = open_files(pid)
        assert sorted(children) == ["partita-nat", "partita-switch"]
        assert not [path for files in children.values() for path in files.values() if str(tmp_path) in path]
        assert [path.split(":")[0] for path in map(children["partita-nat"].get, range(5))
                if path is not None] == ["/dev/null"] * 3 + ["socket"]
        assert len(children["partita-nat"]) == 4
    finally:
        call("delete", "home")
        os.close(reader)


def test_mistakes_are_told(office):
    office.do("create", "spare")
    for words, code, text in [
            (["create", "spare"], 1, "already"), (["create", "a/b"], 2, "no name"),
            (["create", "x", "--kind", "bridge"], 2, "private, internal"), (["delete", "nowhere"], 5, "no switch"),
            (["port", "spare", "web", "--vlan", "5000"], 2, "4094"), (["port", "spare", "web:x"], 2, "a card"),
            (["port", "spare", "web", "--bandwidth-max", "fast"], 2, "100M"),
            (["port", "spare", "web", "--guard", "dog"], 2, "a guard"),
            (["acl", "spare", "web", "add", "-a", "deny", "-d", "in"], 5, "no port"),
            (["create", "x", "-k", "external"], 2, "an interface"),
            (["set", "spare", "--uplink-rate", "1G"], 2, "no uplink"),
            (["create", "x", "-k", "nat", "-f", "tcp:2222:web:22"], 2, "10.0.2.15"), (["chow"], 2, "did you mean show"),
            (["create", "x", "-k", "private", "-f", "tcp:1:10.0.2.15:2"], 2, "nat only")]:
        done = office.call(*words)
        assert (done.returncode, text in done.stderr) == (code, True), (words, done.stderr)
    assert office.port("web", "spare") if office.show("show", "spare")["ports"] else True
    office.do("delete", "spare")
