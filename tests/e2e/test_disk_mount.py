"""partita disk mount: disks as files, by FUSE."""
import os
import pathlib
import signal
import subprocess
import time

import pytest
from test_disk import MIB, disk, patchwork  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="/dev/fuse is not usable here")


@pytest.fixture
def mount(disk, tmp_path):  # noqa: F811
    """Mount an image; what is left mounted is unmounted at the end."""
    folders = []

    def call(image, *words):
        folder = tmp_path / f"mounted{len(folders)}"
        folder.mkdir()
        disk("mount", image, folder, *words)
        folders.append(folder)
        return folder
    yield call
    for folder in folders:
        if os.path.ismount(folder):
            subprocess.run(["umount", "-l", folder], check=True)


def partitioned(path):
    """A GPT with an ext4 in its first partition, which holds one file."""
    tree = path.parent / "tree"
    tree.mkdir()
    (tree / "hello").write_text("hello\n")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, "-E", "offset=1048576", path, "20m"], check=True)
    with open(path, "r+b") as file:
        file.truncate(64 * MIB)
    subprocess.run(["sfdisk", "-q", path], input="label: gpt\nstart=1MiB, size=20MiB\nstart=30MiB\n", text=True,
                   check=True)
    return path


@pytest.mark.parametrize("suffix", ["raw", "vhd", "vhdx"])
def test_a_disk_and_its_partitions_are_files(disk, mount, tmp_path, suffix):  # noqa: F811
    raw, image = partitioned(tmp_path / "source.raw"), tmp_path / f"a.{suffix}"
    disk("convert", raw, image)
    folder = mount(image)
    assert sorted(os.listdir(folder)) == ["disk", "part1", "part2"]
    assert (folder / "disk").read_bytes() == raw.read_bytes()
    assert os.path.getsize(folder / "part1") == 20 * MIB
    subprocess.run(["fsck.ext4", "-fn", folder / "part1"], check=True, capture_output=True)
    said = subprocess.run(["debugfs", "-w", "-R", "write /etc/debian_version added", folder / "part1"], check=True,
                          capture_output=True, text=True)
    assert "Allocated inode" in said.stdout
    said = subprocess.run(["debugfs", "-R", "cat hello", folder / "part1"], check=True, capture_output=True, text=True)
    assert said.stdout == "hello\n"
    disk("unmount", folder)
    disk("check", image)
    disk("convert", image, tmp_path / "back.raw")
    said = subprocess.run(["debugfs", "-R", "cat added", f"{tmp_path}/back.raw?offset=1048576"], check=True,
                          capture_output=True, text=True)
    assert said.stdout == pathlib.Path("/etc/debian_version").read_text()


@pytest.mark.parametrize("suffix", ["vhd", "vhdx"])
def test_any_bytes_are_written_to_a_child(disk, mount, tmp_path, suffix):  # noqa: F811
    raw, base, child = patchwork(tmp_path / "a.raw", 64 * MIB), tmp_path / f"base.{suffix}", tmp_path / f"top.{suffix}"
    disk("convert", raw, base, "--block-size", "1M")
    disk("create", child, "--parent", base)
    folder = mount(child)
    for path in (raw, folder / "disk"):
        with open(path, "r+b", buffering=0) as file:
            for number, (offset, length) in enumerate([(1, 1), (511, 2), (70000, 123457), (64 * MIB - 3, 3),
                                                       (33 * MIB + 512, 4096)]):
                file.seek(offset)
                file.write(bytes([number + 1]) * length)
            os.fsync(file.fileno())
        subprocess.run(["fallocate", "-p", "-o", "5000", "-l", str(3 * MIB), path], check=True)
    assert (folder / "disk").read_bytes() == raw.read_bytes()
    with open(folder / "disk", "r+b", buffering=0) as file:
        file.seek(64 * MIB)
        with pytest.raises(OSError):
            file.write(b"x")
        with pytest.raises(OSError):
            file.truncate(MIB)
    disk("unmount", folder)
    assert "the same" in disk("diff", raw, child).stdout
    disk("check", child, "--chain")
    if suffix == "vhd":
        other = tmp_path / "other"
        other.mkdir()
        subprocess.run(["vhdimount", child, other], check=True, capture_output=True)
        try:  # it shows the parent first
            assert (other / "vhdi2").read_bytes() == raw.read_bytes()
        finally:
            subprocess.run(["umount", other], check=True)


def test_an_image_has_one_user(disk, mount, run, tmp_path):  # noqa: F811
    image = tmp_path / "a.vhdx"
    disk("create", image, "64M")
    folder = mount(image, "--read-only")
    with pytest.raises(OSError):
        os.open(folder / "disk", os.O_RDWR)
    assert (folder / "disk").read_bytes() == bytes(64 * MIB)
    disk("unmount", folder)
    folder = mount(image)
    assert "in use" in disk("mount", image, tmp_path, code=3).stderr
    with open(folder / "disk", "rb"):
        assert "somebody uses it" in disk("unmount", folder, code=3).stderr
    disk("unmount", folder)
    assert "no disk of" in disk("unmount", folder, code=3).stderr
    assert "No such file" in disk("mount", tmp_path / "none.vhdx", folder, code=3).stderr
    assert "not a folder" in disk("mount", image, tmp_path / "nowhere", code=3).stderr
    assert "two files" in disk("mount", image, code=2).stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_flushed_bytes_survive_the_server(disk, partita, tmp_path, how):  # noqa: F811
    image, folder = tmp_path / "a.vhdx", tmp_path / "mounted"
    folder.mkdir()
    disk("create", image, "64M")
    server = subprocess.Popen([partita, "disk", "mount", "--foreground", image, folder])
    deadline = time.monotonic() + 30
    while not os.path.ismount(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    with open(folder / "disk", "r+b", buffering=0) as file:
        file.seek(10 * MIB)
        file.write(b"durable" * 1000)
        os.fsync(file.fileno())
    server.send_signal(how)
    assert server.wait(30) == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)
    disk("check", image)
    disk("convert", image, tmp_path / "a.raw")
    with open(tmp_path / "a.raw", "rb") as file:
        file.seek(10 * MIB)
        assert file.read(7000) == b"durable" * 1000


def test_relative_folders_and_dead_mounts(disk, partita, tmp_path):  # noqa: F811
    image, folder = tmp_path / "a.vhdx", tmp_path / "mounted"
    folder.mkdir()
    disk("create", image, "64M")
    for how in (signal.SIGINT, signal.SIGKILL):
        server = subprocess.Popen([partita, "disk", "mount", "--foreground", "a.vhdx", "mounted"], cwd=tmp_path)
        deadline = time.monotonic() + 30
        while not os.path.ismount(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        server.send_signal(how)
        assert server.wait(30) == (0 if how == signal.SIGINT else -signal.SIGKILL)
    assert "was killed" in disk("mount", image, folder, code=3).stderr
    disk("unmount", folder)
    assert not os.path.ismount(folder) and not os.listdir(folder)
