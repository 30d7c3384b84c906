"""Orders to a running partition: its socket, and the commands that use it."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

import images

FAILED, USAGE, FILE, REFUSED, NO_PARTITION, SIGNAL, STOPPED = 1, 2, 3, 4, 5, 12, 14


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    path = tmp_path / "sockets"
    monkeypatch.setenv("PARTITA_RUNTIME_DIR", str(path))
    return path


@pytest.fixture
def start(partita, image):
    """Start a guest that halts for ever, under a name; they end with the test."""
    started = []

    def call(name, *words):
        guest = subprocess.Popen(
            [partita, "run", "--name", name, "-k", image(images.say("up\n") + images.HALT), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(guest)
        assert guest.stdout.readline() == "up\n"
        return guest
    yield call
    for guest in started:
        guest.kill()
        guest.communicate()


def test_status_tells_what_was_given(run, start, folder):
    guest = start("web", "-c", "2", "-m", "96M")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "web.sock").stat().st_mode) == 0o600
    done = run("status", "web", "--json")
    facts = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert facts["name"] == "web" and facts["state"] == "running" and facts["engine"] == "soft"
    assert facts["pid"] == guest.pid and facts["cpus"] == 2 and facts["memory"] == 96 << 20 == facts["assigned"]
    shown = run("status", "web").stdout
    assert re.search(r"^CPUs: +2$", shown, re.M) and re.search(r"^Memory: +96M$", shown, re.M)


def test_list_shows_all_that_run(run, start, folder):
    assert run("list").stdout.split() == ["NAME", "STATE", "CPUS", "MEMORY", "UPTIME"]
    start("web")
    guest = start("db")
    lines = run("list").stdout.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [["db", "running", "1", "512M"],
                                                        ["web", "running", "1", "512M"]]
    assert [entry["name"] for entry in json.loads(run("list", "--json").stdout)] == ["db", "web"]
    guest.kill()
    guest.wait()
    assert (folder / "db.sock").exists()
    assert [entry["name"] for entry in json.loads(run("list", "--json").stdout)] == ["web"]


def test_forced_stop_is_an_end_of_its_own(run, start, folder):
    guest = start("web")
    done = run("stop", "web", "--force")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert guest.wait(timeout=30) == STOPPED
    assert guest.stderr.read() == "partita: stopped by order; the guest is switched off\n"
    assert not (folder / "web.sock").exists()
    assert run("stop", "web").returncode == NO_PARTITION


def test_power_button_that_nobody_hears_is_told_of(run, start):
    start("web")
    done = run("stop", "web")
    assert done.returncode == FAILED
    assert done.stderr == ("partita: stop: web: the guest has not opened its shutdown service, or not yet; nor does "
                           "the guest listen to its power button\n")
    assert run("integration", "web", "--disable", "shutdown").returncode == 0
    assert "the shutdown service is disabled; nor does" in run("stop", "web").stderr
    start("plain", "--no-hyperv")
    assert "a guest without Hyper-V has no shutdown service; nor does" in run("stop", "plain").stderr


def test_a_name_is_taken_once(run, start, image):
    guest = start("web")
    done = run("run", "--name", "web", "-k", image(images.POWER_OFF))
    assert done.returncode == REFUSED
    assert done.stderr == "partita: a partition named web runs already\n"
    guest.kill()
    guest.wait()
    assert run("run", "--name", "web", "-k", image(images.POWER_OFF)).returncode == 0


def test_socket_goes_with_a_signal(start, folder):
    guest = start("web")
    guest.terminate()
    assert guest.wait(timeout=30) == SIGNAL
    assert list(folder.iterdir()) == []


def test_clients_without_manners_hold_nobody_up(run, start, folder):
    start("web")
    clients = []
    for words in [b"", b"{", b"rubbish\n", b'{"verb":"status"}\n' * 2000, b"x" * 100000] * 10:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(folder / "web.sock"))
        client.setblocking(False)
        try:
            client.send(words)
        except BlockingIOError:
            pass
        clients.append(client)
        if len(clients) % 5 == 0:
            assert run("status", "web").returncode == 0
    for client in clients:
        client.close()


def test_silent_worker_does_not_hold_the_list_up(run, start):
    guest = start("web")
    os.kill(guest.pid, signal.SIGSTOP)
    before = time.monotonic()
    done = run("list")
    assert time.monotonic() - before < 10
    assert done.stdout.splitlines()[1].split() == ["web", "unknown", "-", "-", "-"]
    os.kill(guest.pid, signal.SIGCONT)


MISTAKES = [
    (["status"], USAGE, "NAME is wanted"),
    (["status", "a", "b"], USAGE, "one word too many"),
    (["status", "a/b"], FAILED, "a name has up to"),
    (["status", "nobody"], NO_PARTITION, "no partition named nobody runs"),
    (["list", "web"], USAGE, "'web' is one word too many"),
    (["attach", "web"], USAGE, "NAME FILE is wanted"),
    (["attach", "web", "/nonexistent"], FILE, "/nonexistent: No such file"),
    (["attach", "web", "/dev/null", "--at", "1"], USAGE, "as 0:3"),
    (["attach", "--dvd"], USAGE, "NAME FILE is wanted"),
    (["attach", "nobody", "--dvd"], NO_PARTITION, "no partition named nobody"),
    (["attach", "nobody", "/dev/null"], NO_PARTITION, "no partition named nobody"),
    (["detach", "web", "1"], USAGE, "as 0:3"),
    (["detach", "nobody", "--", "0:1"], NO_PARTITION, "no partition named nobody"),
    (["insert", "web", "0:1"], USAGE, "NAME PLACE FILE is wanted"),
    (["insert", "web", "0-1", "/dev/null"], USAGE, "as 0:3"),
    (["insert", "web", "0:1", "/nonexistent"], FILE, "/nonexistent: No such file"),
    (["eject", "nobody", "0:1"], NO_PARTITION, "no partition named nobody"),
    (["stop", "--forec", "web"], USAGE, "did you mean --force"),
    (["run", "-k", "x", "--name", "../x"], USAGE, "letters, digits"),
]


@pytest.mark.parametrize("words, status, text", MISTAKES, ids=lambda value: str(value)[:40])
def test_mistake_is_one_clear_line(run, words, status, text):
    done = run(*words)
    assert done.returncode == status
    assert done.stdout == ""
    assert re.fullmatch(r"partita: .*\n", done.stderr), done.stderr
    assert text in done.stderr
