"""Wrong usage: one line that says what is wrong, and the documented exit status."""
import ast
import os
import pathlib
import re

import pytest

import images

ROOT = pathlib.Path(__file__).parents[2]

USAGE, IMAGE, REFUSED = 2, 3, 4

MISTAKES = [
    (["rnu"], USAGE, "did you mean run"),
    (["hots"], USAGE, "did you mean host"),
    (["frobnicate"], USAGE, "partita help"),
    (["run"], USAGE, "--kernel FILE or --disk FILE is missing"),
    (["run", "--kernal", "x"], USAGE, "did you mean --kernel"),
    (["run", "--memroy=1G"], USAGE, "did you mean --memory"),
    (["run", "--unheard-of"], USAGE, "--help"),
    (["run", "-z"], USAGE, "unknown option '-z'"),
    (["run", "--kernel"], USAGE, "needs a value"),
    (["run", "--no-reboot=yes"], USAGE, "takes no value"),
    (["run", "-k", "x", "word"], USAGE, "'word' is one word too many"),
    (["run", "root.vhdx"], USAGE, "'root.vhdx' is one word too many; did you mean --disk root.vhdx?"),
    (["run", "root.vhdx", "-m", "1G"], USAGE, "did you mean --disk root.vhdx?"),
    (["host", "word"], USAGE, "'word' is one word too many"),
    (["run", "-k", "x", "--memory", "lots"], USAGE, "512M or 2G"),
    (["run", "-k", "x", "--memory", ""], USAGE, "512M or 2G"),
    (["run", "-k", "x", "--memory", "-1M"], USAGE, "512M or 2G"),
    (["run", "-k", "x", "--memory", "512"], USAGE, "mind the unit"),
    (["run", "-k", "x", "--memory", "0"], USAGE, "multiple of 1M"),
    (["run", "-k", "x", "--memory", "1025K"], USAGE, "multiple of 1M"),
    (["run", "-k", "x", "--memory", "8E"], REFUSED, "more than this host"),
    (["run", "-k", "x", "--memory", "99999999999999999999G"], REFUSED, "more than this host"),
    (["run", "-k", "x", "--memory", "100T"], REFUSED, "more than this host"),
    (["run", "-k", "x", "--cpus", "0"], USAGE, "1 to 64"),
    (["run", "-k", "x", "--cpus", "65"], USAGE, "1 to 64"),
    (["run", "-k", "x", "--cpus", "2x"], USAGE, "1 to 64"),
    (["run", "-k", "x", "--cpus", "-1"], USAGE, "1 to 64"),
    (["run", "-k", "x", "--cpus", "18446744073709551617"], USAGE, "1 to 64"),
    (["run", "-k", "x", "--engine", "hard"], USAGE, "auto, kvm or soft"),
    (["run", "-k", "x", "--cpu", "486"], USAGE, "x86-64-v3"),
    (["run", "-k", "x", "--translate", "lockstep:0"], USAGE, "never or lockstep"),
    (["run", "-k", "x", "--translate", "lockstep:1x"], USAGE, "never or lockstep"),
    (["run", "-k", "x", "--translate", "lockstep1"], USAGE, "never or lockstep"),
    (["run", "-k", "x", "--serial", "file:"], USAGE, "file:PATH"),
    (["run", "-k", "x", "--serial", "tty"], USAGE, "pty or none"),
    (["run", "-k", "/nonexistent"], IMAGE, "/nonexistent: No such file"),
    (["run", "-k", "/"], IMAGE, "/: is a directory"),
    (["run", "-k", "/dev/null"], IMAGE, "/dev/null: not a regular file"),
    (["exec"], USAGE, "NAME COMMAND is wanted"),
    (["exec", "web"], USAGE, "NAME COMMAND is wanted"),
    (["exec", "web", "--"], USAGE, "NAME COMMAND is wanted"),
    (["exec", "web", "--user"], USAGE, "needs a value"),
    (["exec", "-e", "x", "web", "ls"], USAGE, "NAME=VALUE is wanted"),
    (["exec", "web", "--wait", "x", "ls"], USAGE, "seconds are wanted"),
    (["exec", "--intractive", "web", "ls", "--all"], USAGE, "did you mean --interactive"),
    (["shell"], USAGE, "NAME is wanted"),
    (["shell", "web", "ls"], USAGE, "'ls' is one word too many"),
    (["cp", "a"], USAGE, "SOURCE DESTINATION is wanted"),
    (["cp", "a", "b"], USAGE, "one side is to be NAME:PATH"),
    (["cp", "x:a", "y:b"], USAGE, "one side is to be NAME:PATH"),
    (["cp", "./x:a", "b"], USAGE, "one side is to be NAME:PATH"),
    (["cp", "x:", "b"], USAGE, "one side is to be NAME:PATH"),
    (["cp", "-", "x:b"], USAGE, "'-' is standard output, and no SOURCE"),
    (["integration", "web", "--disable", "nosuch"], USAGE,
     "no service 'nosuch'; the services are heartbeat shutdown timesync kvp vss fcopy"),
    (["integration", "web", "--enable", "heart"], USAGE, "no service 'heart'"),
    (["integration", "web", "--enable", ""], USAGE, "no service ''"),
    (["host", "--jsno"], USAGE, "did you mean --json"),
    (["help", "rnu"], USAGE, "did you mean run"),
]


@pytest.mark.parametrize("words, status, text", MISTAKES, ids=lambda value: str(value)[:40])
def test_mistake_is_one_clear_line(run, words, status, text):
    done = run(*words)
    assert done.returncode == status
    assert done.stdout == ""
    assert re.fullmatch(r"partita: .*\n", done.stderr), done.stderr
    assert text in done.stderr


def test_without_a_command_the_help_is_an_error(run):
    done = run()
    assert done.returncode == USAGE
    assert "Usage: partita COMMAND" in done.stderr


@pytest.mark.parametrize("words", [["help"], ["--help"], ["-h"]])
def test_help_lists_the_commands(run, words):
    done = run(*words)
    assert done.returncode == 0 and done.stderr == ""
    for command in ("run", "host", "help", "version"):
        assert re.search(rf"^  {command} ", done.stdout, re.M)
    assert "__complete" not in done.stdout


@pytest.mark.parametrize("command", ["run", "host", "stop", "memory", "balance", "send-key", "type", "mouse", "screenshot", "vnc", "integration", "kvp", "freeze", "copy", "exec", "shell", "cp"])
def test_help_of_a_command_has_options_and_examples(run, command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"Usage: partita {command}" in done.stdout and "Examples:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert run("help", command).stdout == done.stdout


def test_help_of_run_begins_with_a_disk(run):
    shown = run("run", "--help").stdout
    assert re.search(r"^Usage: partita run --disk FILE .*\n +partita run --kernel FILE ", shown)
    assert re.search(r"^  partita run --disk ", shown, re.M)


def test_manual_names_every_option(run):
    manual = (ROOT / "man/partita-run.1.scd").read_text()
    options = re.findall(r"^ .*?--([a-z-]+)", run("run", "--help").stdout.split("\n^]")[0], re.M)
    assert len(options) > 10
    for option in options:
        assert f"*--{option}*" in manual


def manual_pages():
    """Each page's name, and the other commands by whose names it is found: the table of man/meson.build."""
    table = re.search(r"pages = (\{.*?\n\})", (ROOT / "man/meson.build").read_text(), re.S)[1]
    return ast.literal_eval(table)


def test_each_command_has_a_page(run):
    commands = set(re.findall(r"^  ([a-z-]+) ", run("help").stdout, re.M)) - {"help", "version"}
    assert {"run", "status", "send-key", "cp"} <= commands
    found, readme = set(), (ROOT / "README.md").read_text()
    for page, others in manual_pages().items():
        names = (ROOT / f"man/{page}.1.scd").read_text().split("# NAME\n\n")[1].split(" - ")[0].split(", ")
        assert {f"partita-{other}" for other in others} == set(names) - {page}, page
        assert f"{page}(1)" in readme
        found |= {name.removeprefix("partita-") for name in names}
    assert commands == found - {"partita"}


def test_examples_of_the_manual_have_lines_of_their_own():
    for page in manual_pages():
        examples = re.search(r"# EXAMPLES\n(.*?)\n# ", (ROOT / f"man/{page}.1.scd").read_text(), re.S)[1]
        blocks = examples.split("```\n")
        assert not re.search(r"^\t|\+\+$", examples, re.M), page  # scdoc would join or fill them
        assert all("partita" not in prose for prose in blocks[::2]), page
        assert max(map(len, "".join(blocks[1::2]).splitlines())) <= 69, page  # 80 columns, indented


def test_version(run):
    assert re.fullmatch(r"partita \d+\.\d+\.\d+\n", run("version").stdout)
    assert run("--version").stdout == run("version").stdout


def test_named_pipe_without_a_reader_is_refused(run, image, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = run("run", "-k", image(images.POWER_OFF), "--serial", f"file:{tmp_path}/pipe", timeout=20)
    assert done.returncode == IMAGE
    assert re.fullmatch(r"partita: .*/pipe: No such device or address\n", done.stderr)
