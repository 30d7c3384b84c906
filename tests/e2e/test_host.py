"""partita host: what it says agrees with itself, for people and for programs."""
import json
import os
import re
import time

import pytest


@pytest.fixture(scope="module")
def facts(partita):
    import subprocess
    done = subprocess.run([partita, "host", "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def engine(facts, name):
    return next(entry for entry in facts["engines"] if entry["name"] == name)


def test_the_chosen_engine_is_usable(facts):
    assert facts["chosen"] == "soft"
    assert engine(facts, facts["chosen"])["usable"] is True
    assert facts["reason"]


def test_soft_ran_the_loop(facts):
    soft = engine(facts, "soft")
    assert soft["mips"] > 1
    assert any("x86-64-v2" in ability["name"] for ability in soft["abilities"])


def test_kvm_is_judged_by_what_it_does(facts):
    kvm = engine(facts, "kvm")
    assert kvm["reason"]
    if not os.path.exists("/dev/kvm"):
        assert not kvm["usable"] and "no /dev/kvm" in kvm["reason"]
        assert kvm["abilities"] == []
    elif kvm["usable"]:
        assert kvm["mips"] >= 200
        assert all(a["present"] for a in kvm["abilities"] if a["required"])
    elif "emulates" in kvm["reason"]:
        assert kvm["mips"] < 200


def test_table_has_the_same_facts(run, facts):
    done = run("host")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ENGINE", "USABLE", "SPEED", "REASON"]
    for entry in facts["engines"]:
        row = next(line for line in lines if line.startswith(entry["name"] + " "))
        assert row.split()[1] == ("yes" if entry["usable"] else "no")
        for ability in entry["abilities"]:
            pattern = rf"^  {re.escape(ability['name'])} +{'yes' if ability['present'] else 'no'} "
            assert re.search(pattern, done.stdout, re.M), ability
    assert re.search(r"^Chosen: +soft \(.+\)$", done.stdout, re.M)


def test_probe_is_quick(run):
    start = time.monotonic()
    run("host")
    assert time.monotonic() - start < 5


def test_kvm_by_name_is_refused_with_its_reason(run, image):
    import images
    done = run("run", "--engine", "kvm", "-k", image(images.POWER_OFF))
    assert done.returncode == 4
    assert re.fullmatch(r"partita: no engine: .*KVM.*\n|partita: no engine: .*kvm.*\n", done.stderr)
