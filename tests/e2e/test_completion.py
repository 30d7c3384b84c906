"""bash completion, by sourcing it and asking as the shell does."""
import pathlib
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def complete(partita, tmp_path):
    def ask(*words):
        script = f"""
            source {shlex.quote(str(ROOT / "completions/partita.bash"))}
            complete -p partita >/dev/null || exit 1
            cd {shlex.quote(str(tmp_path))}
            COMP_WORDS=({' '.join(map(shlex.quote, [partita, *words]))})
            COMP_CWORD={len(words)}
            COMP_LINE="${{COMP_WORDS[*]}}" COMP_POINT=${{#COMP_LINE}}
            _partita
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True,
                              check=True, timeout=30)
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1]
    return ask


def test_commands(complete):
    assert complete("") == ["run", "list", "status", "attach", "detach", "insert", "eject", "net", "memory", "balance", "send-key", "type",
                            "mouse", "screenshot", "vnc", "integration",
                            "kvp", "freeze", "copy", "shell", "exec", "cp", "stop", "disk", "switch", "host", "help",
                            "version"]
    assert complete("h") == ["host", "help"]
    assert complete("help", "ho") == ["host"]


def test_options_are_those_of_the_command(complete):
    assert complete("run", "--m") == ["--module", "--memory", "--memory-min", "--memory-max", "--memory-buffer",
                                        "--memory-weight"]
    assert "--test-devices" in complete("run", "")
    assert complete("host", "--") == ["--json", "--help"]
    assert complete("run", "--kernel", "k", "--no") == ["--no-hyperv", "--no-reboot"]


def test_verbs_of_switch(complete):
    assert complete("switch", "") == ["create", "set", "delete", "list", "show", "port", "acl", "meters", "statistics",
                                      "serve"]
    assert complete("switch", "create", "lan", "--kind", "") == ["private", "internal", "external", "nat"]
    assert complete("switch", "show", "--") == ["--json", "--help"]


def test_verbs_of_disk(complete, tmp_path):
    assert complete("disk", "") == ["create", "info", "check", "convert", "resize", "compact", "merge",
                                    "set-parent", "map", "diff", "mount", "unmount", "export-azure"]
    assert complete("disk", "co") == ["convert", "compact"]
    assert complete("disk", "check", "--r") == ["--repair"]
    assert complete("disk", "create", "--kind", "d") == ["dynamic", "differencing"]
    (tmp_path / "a.vhdx").touch()
    assert complete("disk", "info", "a") == ["a.vhdx"]
    (tmp_path / "folder").mkdir()
    assert complete("disk", "mount", "a.vhdx", "--read-only", "f") == ["folder"]
    assert complete("disk", "mount", "--") == ["--read-only", "--foreground", "--allow-root", "--format", "--quiet",
                                               "--help"]
    assert complete("disk", "unmount", "f") == ["folder"]


def test_values(complete):
    assert complete("run", "--engine", "") == ["auto", "kvm", "soft"]
    assert complete("run", "--cpu", "x86") == ["x86-64-v2", "x86-64-v3"]
    assert complete("run", "--serial", "p") == ["pty"]
    assert complete("run", "--memory", "") == [""]


def test_files(complete, tmp_path):
    (tmp_path / "vmlinuz").touch()
    (tmp_path / "vm linux").touch()
    (tmp_path / "other").touch()
    assert sorted(complete("run", "--kernel", "vm")) == ["vm linux", "vmlinuz"]
    assert complete("run", "-i", "oth") == ["other"]


def test_every_option_is_offered(complete, run):
    import re
    listed = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", run("run", "--help").stdout.split("\n^]")[0], re.M)
    assert complete("run", "--") == listed


def test_names_of_running_partitions_and_files(complete, partita, image, tmp_path, monkeypatch):
    import images
    monkeypatch.setenv("PARTITA_RUNTIME_DIR", str(tmp_path / "sockets"))
    (tmp_path / "data.img").touch()
    assert complete("status", "w") == [""]
    guest = subprocess.Popen([partita, "run", "--name", "web", "-k", image(images.say("up\n") + images.HALT)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert guest.stdout.readline() == b"up\n"
        assert complete("status", "w") == ["web"]
        assert complete("stop", "--force", "") == ["web"]
        assert complete("attach", "web", "da") == ["data.img"]
        assert complete("attach", "--at", "0:1", "w") == ["web"]
        assert complete("attach", "web", "--d") == ["--dvd"]
        assert complete("detach", "web", "") == [""]
        subprocess.run([partita, "attach", "web", "--dvd", "--at", "1:7"], check=True,
                       stdout=subprocess.DEVNULL)
        assert complete("eject", "web", "") == ["1:7"]
        assert complete("insert", "web", "1:7", "da") == ["data.img"]
    finally:
        guest.kill()
        guest.communicate()
