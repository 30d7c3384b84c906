"""partita disk mount: a disk and its partitions as files, read and written by other programs."""
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time

import pytest

import images

MIB = 1 << 20
MNT_DETACH = 2
# What is mounted: a suffix, and options of `partita disk create`; None: a child of such a disk.
KINDS = {
    "raw": (".raw", []),
    "vhd": (".vhd", ["--kind", "fixed"]),
    "vhd-dynamic": (".vhd", ["--kind", "dynamic"]),
    "vhd-child": (".vhd", None),
    "vhdx": (".vhdx", ["--block-size", "1M"]),
    "vhdx-4k": (".vhdx", ["--block-size", "1M", "--sector", "4096"]),
    "child": (".avhdx", None),
}

libc = ctypes.CDLL(None, use_errno=True)


def why_not(folder):
    """Can this machine mount by FUSE? Asked of the kernel, not of the program under test."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    try:
        if os.geteuid() != 0:
            return None if shutil.which("fusermount3") else "not root, and no fusermount3"
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"probe", os.fsencode(folder), b"fuse", 0, options) != 0:
            return f"mounting: {os.strerror(ctypes.get_errno())}"
        libc.umount2(os.fsencode(folder), MNT_DETACH)
        return None
    finally:
        os.close(device)


@pytest.fixture(scope="module", autouse=True)
def fuse(tmp_path_factory):
    reason = why_not(tmp_path_factory.mktemp("probe"))
    if reason is not None:
        pytest.skip(f"FUSE cannot be used here: {reason}")


def mounts():
    with open("/proc/self/mounts", encoding="utf-8") as lines:
        return [line.split()[1] for line in lines]


@pytest.fixture
def disk(run):
    """Call a verb; the exit code must be the wanted one."""
    def call(verb, *words, code=0, **more):
        done = run("disk", verb, *words, **more)
        assert done.returncode == code, done.stdout + done.stderr
        return done
    return call


def process_of(folder):
    return int(os.getxattr(folder, "user.partita.process"))


@pytest.fixture
def folder(tmp_path):
    """Where to mount; what is left there in the end is taken away."""
    path = tmp_path / "folder"
    path.mkdir()
    yield path
    while str(path) in mounts():
        try:
            os.kill(process_of(path), signal.SIGKILL)
        except OSError:
            pass
        libc.umount2(os.fsencode(path), MNT_DETACH)


def wait_until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def in_use(disk, path):
    return json.loads(disk("info", path, "--json").stdout)["in_use"]


def close_dead(fd):
    """Of a file whose file system is gone; the descriptor is closed nonetheless."""
    with pytest.raises(OSError) as caught:
        os.close(fd)
    assert caught.value.errno == errno.ENOTCONN


def content_of(disk, path):
    """All bytes of a disk, by way of a raw copy."""
    raw = path.parent / "content.raw"
    disk("convert", path, raw, "--force", "--quiet")
    content = raw.read_bytes()
    raw.unlink()
    return content


def fill(path, size, seed):
    """Pieces of data in a raw disk; returns its content."""
    rng = random.Random(seed)
    content = bytearray(size)
    for _ in range(20):
        length = rng.choice([512, 4096, 65536, MIB + 512])
        offset = rng.randrange((size - length) // 512) * 512
        content[offset:offset + length] = rng.randbytes(length)
    content[-512:] = rng.randbytes(512)
    path.write_bytes(content)
    return content


@pytest.fixture
def make(disk, tmp_path):
    """Make an image of a kind that holds what fill() gives: its path and content."""
    def call(kind, size=24 * MIB, seed=1):
        suffix, options = KINDS[kind]
        raw, path = tmp_path / "source.raw", tmp_path / f"image{suffix}"
        content = fill(raw, size, seed)
        if kind == "raw":
            raw.rename(path)
        elif kind == "child":
            disk("convert", raw, tmp_path / "base.vhdx", "--block-size", "1M")
            disk("create", path, "--parent", tmp_path / "base.vhdx")
        elif kind == "vhd-child":
            disk("convert", raw, tmp_path / "base.vhd", "--kind", "dynamic")
            disk("create", path, "--parent", tmp_path / "base.vhd")
        elif "--sector" in options:  # convert keeps the sectors of its source
            disk("create", path, size, *options)
            disk("mount", path, tmp_path / "folder")
            (tmp_path / "folder/disk").open("r+b").write(content)
            disk("unmount", tmp_path / "folder")
        else:
            disk("convert", raw, path, *options)
        raw.unlink(missing_ok=True)
        return path, content
    return call


# ---- reading ----

@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_is_a_file(disk, make, folder, kind):
    path, content = make(kind)
    done = disk("mount", path, folder)
    assert done.stdout == f"{folder}/disk: 24M\n" and done.stderr == ""
    assert os.listdir(folder) == ["disk"]
    assert os.stat(folder / "disk").st_size == len(content)
    assert (folder / "disk").read_bytes() == content
    with open(folder / "disk", "rb", buffering=0) as file:
        rng = random.Random(2)
        for length in [1, 511, 513, 4095, 4097, 70000]:
            offset = rng.randrange(len(content) - length)
            assert os.pread(file.fileno(), length, offset) == content[offset:offset + length]
        assert os.pread(file.fileno(), 4096, len(content) - 100) == content[-100:]
        assert os.pread(file.fileno(), 4096, len(content)) == b""
    disk("unmount", folder)
    assert os.listdir(folder) == [] and not in_use(disk, path)
    assert content_of(disk, path) == content


def test_what_is_told_of_the_files(disk, make, folder):
    path, _ = make("vhdx")
    disk("mount", path, folder)
    root, file, whole = os.stat(folder), os.stat(folder / "disk"), os.statvfs(folder)
    assert stat.S_IMODE(root.st_mode) == 0o500 and stat.S_IMODE(file.st_mode) == 0o600
    assert (file.st_uid, file.st_gid) == (os.geteuid(), os.getegid())
    assert file.st_blocks * 512 < file.st_size
    assert whole.f_blocks * whole.f_frsize == 24 * MIB and whole.f_bavail == 0
    with open("/proc/self/mounts", encoding="utf-8") as lines:
        assert any(line.startswith(f"{path} {folder} fuse.partita rw,") for line in lines)
    assert not (folder / "other").exists()


def test_a_sparse_copy(disk, folder, tmp_path):
    path, copy = tmp_path / "a.vhdx", tmp_path / "copy.raw"
    disk("create", path, "1G")
    disk("mount", path, folder)
    with open(folder / "disk", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"x" * 4096, 512 * MIB)
        assert os.lseek(file.fileno(), 5, os.SEEK_HOLE) == 5
        data = os.lseek(file.fileno(), 5, os.SEEK_DATA)
        assert 5 < data <= 512 * MIB
        hole = os.lseek(file.fileno(), 512 * MIB + 4095, os.SEEK_HOLE)
        assert 512 * MIB + 4096 <= hole < 600 * MIB
        with pytest.raises(OSError) as caught:
            os.lseek(file.fileno(), hole, os.SEEK_DATA)
        assert caught.value.errno == errno.ENXIO
    subprocess.run(["cp", folder / "disk", copy], check=True)
    assert os.stat(copy).st_size == 1 << 30 and os.stat(copy).st_blocks * 512 < 64 * MIB
    disk("unmount", folder)
    assert "the same" in disk("diff", copy, path).stdout


# ---- partitions ----

def table(path, size, text):
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run(["sfdisk", "-q", path], input=text, text=True, check=True)


def test_a_file_system_in_a_partition(disk, folder, tmp_path):
    """Made, checked and changed by e2fsprogs, through files, without offsets."""
    raw, path, source = tmp_path / "a.raw", tmp_path / "a.vhdx", tmp_path / "source"
    source.mkdir()
    (source / "greeting").write_text("hello\n")
    table(raw, 64 * MIB, "label: gpt\nstart=1MiB, size=8MiB\nstart=9MiB, size=40MiB\n")
    disk("convert", raw, path)
    done = disk("mount", path, folder)
    assert done.stdout.splitlines() == [f"{folder}/disk: 64M", f"{folder}/part1: 8M", f"{folder}/part2: 40M"]
    assert sorted(os.listdir(folder)) == ["disk", "part1", "part2"]
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", source, folder / "part2"], check=True)
    new = tmp_path / "new"
    new.write_bytes(random.Random(5).randbytes(3 * MIB))
    subprocess.run(["debugfs", "-w", "-R", f"write {new} new", folder / "part2"], check=True, capture_output=True)
    subprocess.run(["fsck.ext4", "-f", "-n", folder / "part2"], check=True, capture_output=True)
    assert (folder / "part2").read_bytes() == (folder / "disk").read_bytes()[9 * MIB:49 * MIB]
    assert (folder / "part1").read_bytes() == bytes(8 * MIB)
    disk("unmount", folder)
    disk("check", path)

    disk("mount", path, folder, "--read-only")
    for name, wanted in (("greeting", b"hello\n"), ("new", new.read_bytes())):
        got = subprocess.run(["debugfs", "-R", f"cat {name}", folder / "part2"], check=True, capture_output=True)
        assert got.stdout == wanted
    subprocess.run(["fsck.ext4", "-f", "-n", folder / "part2"], check=True, capture_output=True)
    verified = subprocess.run(["sfdisk", "--verify", folder / "disk"], check=True, capture_output=True, text=True)
    assert "No errors detected" in verified.stdout


def test_logical_partitions(disk, folder, tmp_path):
    raw = tmp_path / "a.raw"
    table(raw, 64 * MIB, "label: dos\nstart=2048, size=2048, type=83\nstart=4096, type=5\n"
                         "start=6144, size=4096, type=83\nstart=12288, size=8192, type=83\n")
    disk("mount", raw, folder, "--quiet")
    sizes = {name: os.stat(folder / name).st_size for name in os.listdir(folder)}
    assert sizes == {"disk": 64 * MIB, "part1": MIB, "part5": 2 * MIB, "part6": 4 * MIB}
    with open(folder / "part6", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"here", 0)
    with open(folder / "disk", "rb", buffering=0) as file:  # opened while others changed it
        assert os.pread(file.fileno(), 4, 12288 * 512) == b"here"


def test_one_file_sees_at_once_what_another_wrote(disk, folder, tmp_path):
    raw = tmp_path / "a.raw"
    table(raw, 8 * MIB, "label: dos\nstart=2048, size=2048, type=83\n")
    disk("mount", raw, folder)
    with open(folder / "disk", "r+b", buffering=0) as whole, open(folder / "part1", "r+b", buffering=0) as part:
        for text in (b"first", b"other"):
            assert os.pread(part.fileno(), 5, 4096) != text
            os.pwrite(whole.fileno(), text, MIB + 4096)
            assert os.pread(part.fileno(), 5, 4096) == text
        os.pwrite(part.fileno(), b"third", 4096)
        assert os.pread(whole.fileno(), 5, MIB + 4096) == b"third"


def test_holes_of_a_partition(disk, folder, tmp_path):
    raw = tmp_path / "a.raw"
    table(raw, 16 * MIB, "label: dos\nstart=16384, size=8192, type=83\n")
    disk("mount", raw, folder)
    with open(folder / "part1", "r+b", buffering=0) as part:
        os.pwrite(part.fileno(), b"d" * 65536, MIB)
        assert 0 < os.lseek(part.fileno(), 1, os.SEEK_DATA) <= MIB
        hole = os.lseek(part.fileno(), MIB, os.SEEK_HOLE)
        assert MIB + 65536 <= hole < 2 * MIB
        with pytest.raises(OSError) as caught:
            os.lseek(part.fileno(), hole, os.SEEK_DATA)
        assert caught.value.errno == errno.ENXIO
        punch(folder / "part1", MIB + 100, 65536 - 200)
        assert os.pread(part.fileno(), 65536, MIB) == b"d" * 100 + bytes(65536 - 200) + b"d" * 100


def test_a_damaged_table_leaves_the_disk(disk, folder, tmp_path):
    raw = tmp_path / "a.raw"
    table(raw, 8 * MIB, "label: gpt\nstart=1MiB, size=2MiB\n")
    with open(raw, "r+b") as file:
        for offset in (512, 8 * MIB - 512):  # both headers
            file.seek(offset + 16)
            file.write(b"\xff" * 8)
    done = disk("mount", raw, folder)
    assert "only 'disk' is there" in done.stderr
    assert os.listdir(folder) == ["disk"]


# ---- writing ----

def punch(path, offset, length):
    subprocess.run(["fallocate", "-p", "-o", str(offset), "-l", str(length), path], check=True)


def scribble(path, content, steps, seed):
    """Writes and holes at any offsets, in the file and in `content` alike."""
    rng = random.Random(seed)
    with open(path, "r+b", buffering=0) as file:
        for step in range(steps):
            length = rng.choice([1, 100, 512, 513, 4096, 5000, 65536, MIB + 77])
            offset = rng.randrange(len(content) - length)
            if step % 4 == 3:
                punch(path, offset, length)
                data = bytes(length)
            else:
                data = rng.randbytes(length)
                assert os.pwrite(file.fileno(), data, offset) == length
            content[offset:offset + length] = data
            assert os.pread(file.fileno(), length, offset) == data
            if step % 10 == 9:
                os.fsync(file.fileno())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_there_after_unmount(disk, make, folder, kind):
    path, content = make(kind)
    disk("mount", path, folder)
    scribble(folder / "disk", content, 60, seed=6)
    assert (folder / "disk").read_bytes() == content
    disk("unmount", folder)
    assert content_of(disk, path) == content
    disk("check", path)


def test_others_read_the_child_that_was_written(disk, make, folder, tmp_path):
    """
    By libvhdi, which shows the parent first. It takes the parent's sectors for zeroes in a byte of the
    bitmap in which a run of the child's ends; so these are runs of eight sectors.
    """
    path, content = make("vhd-child")
    other = tmp_path / "other"
    other.mkdir()
    disk("mount", path, folder)
    with open(folder / "disk", "r+b", buffering=0) as file:
        for number, (offset, length) in enumerate([(0, 4096), (3 * MIB - 8192, 65536), (9 * MIB, 3 * MIB)]):
            content[offset:offset + length] = bytes([number + 1]) * length
            assert os.pwrite(file.fileno(), content[offset:offset + length], offset) == length
    punch(folder / "disk", 10 * MIB, MIB)
    content[10 * MIB:11 * MIB] = bytes(MIB)
    disk("unmount", folder)
    subprocess.run(["vhdimount", path, other], check=True, capture_output=True)
    try:
        assert (other / "vhdi2").read_bytes() == content
    finally:
        libc.umount2(os.fsencode(other), MNT_DETACH)


def test_dd_and_holes(disk, make, folder, tmp_path):
    path, content = make("vhdx")
    data = tmp_path / "data"
    data.write_bytes(random.Random(7).randbytes(5 * MIB + 300))
    disk("mount", path, folder)
    subprocess.run(["dd", f"if={data}", f"of={folder}/disk", "bs=1000", "seek=1001",
                    "conv=notrunc,fsync", "status=none"], check=True)
    content[1001000:1001000 + 5 * MIB + 300] = data.read_bytes()
    subprocess.run(["fallocate", "-z", "-o", "100", "-l", str(3 * MIB), folder / "disk"], check=True)
    content[100:100 + 3 * MIB] = bytes(3 * MIB)
    punch(folder / "disk", 20 * MIB, 100 * MIB)  # beyond its end
    content[20 * MIB:] = bytes(4 * MIB)
    disk("unmount", folder)
    assert content_of(disk, path) == content


def test_a_hole_gives_room_back(disk, make, folder):
    path, _ = make("vhdx")
    before = json.loads(disk("info", path, "--json").stdout)["blocks_present"]
    disk("mount", path, folder)
    punch(folder / "disk", 0, 24 * MIB)
    disk("unmount", folder)
    assert before > 0 and json.loads(disk("info", path, "--json").stdout)["blocks_present"] == 0


def test_a_child_is_written_and_its_parents_are_not(disk, make, folder, tmp_path):
    path, content = make("child")
    base = tmp_path / "base.vhdx"
    before = hashlib.sha256(base.read_bytes()).digest()
    disk("mount", path, folder)
    assert "in use" in disk("mount", base, folder, code=3).stderr
    punch(folder / "disk", 100, 2 * MIB)
    content[100:100 + 2 * MIB] = bytes(2 * MIB)
    scribble(folder / "disk", content, 20, seed=8)
    disk("unmount", folder)
    assert hashlib.sha256(base.read_bytes()).digest() == before
    disk("check", path, "--chain")
    assert content_of(disk, path) == content


def test_the_end_is_that_of_a_device(disk, make, folder):
    path, content = make("vhd", size=4 * MIB)
    disk("mount", path, folder)
    with open(folder / "disk", "r+b", buffering=0) as file:
        assert os.pwrite(file.fileno(), b"e" * 1000, 4 * MIB - 100) == 100
        content[-100:] = b"e" * 100
        for offset in (4 * MIB, 5 * MIB):
            with pytest.raises(OSError) as caught:
                os.pwrite(file.fileno(), b"x", offset)
            assert caught.value.errno == errno.ENOSPC
    done = subprocess.run(["fallocate", "-z", "-o", str(4 * MIB - 1), "-l", "2", folder / "disk"],
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "No space" in done.stderr
    disk("unmount", folder)
    assert content_of(disk, path) == content


def test_what_is_refused(disk, make, folder):
    path, content = make("raw", size=4 * MIB)
    disk("mount", path, folder)
    file = folder / "disk"
    attempts = [
        lambda: os.open(file, os.O_RDWR | os.O_TRUNC), lambda: os.truncate(file, 0),
        lambda: os.truncate(file, 8 * MIB), lambda: file.chmod(0o777), file.unlink,
        lambda: file.rename(folder / "new"), lambda: os.link(file, folder / "new"),
        lambda: (folder / "new").symlink_to("x"), (folder / "new").touch, (folder / "new").mkdir,
        lambda: os.mkfifo(folder / "new"),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(OSError) as caught:
            attempt()
        assert (number, caught.value.errno) == (number, errno.EPERM)
    os.truncate(file, 4 * MIB)  # as it is
    disk("unmount", folder)
    assert path.read_bytes() == content


def test_read_only(disk, make, folder, tmp_path):
    path, content = make("vhdx")
    before = path.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    disk("mount", path, folder, "--read-only")
    disk("mount", path, other, "-r")  # those who only look do not disturb each other
    assert "in use" in disk("mount", path, other, code=3).stderr
    assert (other / "disk").read_bytes() == content
    disk("unmount", other)
    assert stat.S_IMODE(os.stat(folder / "disk").st_mode) == 0o400
    with pytest.raises(OSError) as caught:
        os.open(folder / "disk", os.O_RDWR)
    assert caught.value.errno == errno.EROFS
    disk("unmount", folder)
    assert path.read_bytes() == before


# ---- beginning and ending ----

def test_one_at_a_time(disk, run, partita, make, image, folder):
    """A guest's disk is not mounted, and a mounted one is no guest's."""
    path, _ = make("vhdx")
    kernel = image(images.say("up\n") + images.HALT)
    disk("mount", path, folder)
    for words in (["compact", path], ["resize", path, "1G"], ["mount", path, folder]):
        assert "in use" in disk(*words, code=3).stderr
    done = run("run", "-k", kernel, "--disk", path)
    assert done.returncode != 0 and "in use" in done.stderr
    disk("unmount", folder)
    guest = subprocess.Popen([partita, "run", "-k", kernel, "--disk", path], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE)
    try:
        assert guest.stdout.readline() == b"up\n"
        for more in ([], ["--read-only"], ["--foreground"]):
            done = disk("mount", path, folder, *more, code=3)
            assert done.stderr == f"partita: disk mount: {path}: in use by another process\n"
        assert str(folder) not in mounts()
    finally:
        guest.kill()
        guest.communicate()
    disk("mount", path, folder)


def test_wrong_words_are_told(disk, tmp_path, folder):
    path = tmp_path / "a.vhdx"
    disk("create", path, "16M")
    assert "an image and a folder are wanted" in disk("mount", path, code=2).stderr
    assert "a folder is wanted" in disk("unmount", code=2).stderr
    assert "No such file" in disk("mount", path, tmp_path / "none", code=3).stderr
    assert "not a folder" in disk("mount", path, path, code=3).stderr
    assert "No such file" in disk("mount", tmp_path / "none.vhdx", folder, code=3).stderr
    assert "not a VHDX file" in disk("mount", __file__, folder, "--format", "vhdx", code=3).stderr
    assert "no disk is mounted there" in disk("unmount", folder, code=3).stderr
    assert "no disk is mounted there" in disk("unmount", "/proc", code=3).stderr
    assert "No such file" in disk("unmount", tmp_path / "none", code=3).stderr


def test_names_with_blanks_and_commas(disk, tmp_path):
    path, place = tmp_path / "a, b\\c.vhdx", tmp_path / "a folder, with"
    place.mkdir()
    disk("create", path, "16M")
    for given in (place, place.name, f"./{place.name}/"):
        disk("mount", path.name, given, cwd=tmp_path)
        assert os.path.ismount(place)
        disk("unmount", given, cwd=tmp_path)
        assert not os.path.ismount(place)


def test_busy_is_told_and_stays_mounted(disk, make, folder):
    path, content = make("vhdx")
    disk("mount", path, folder)
    with open(folder / "disk", "rb"):
        assert "still uses it" in disk("unmount", folder, code=3).stderr
    assert (folder / "disk").read_bytes() == content
    disk("unmount", folder)


def test_umount_of_the_system_ends_it_too(disk, make, folder):
    path, content = make("vhdx")
    disk("mount", path, folder)
    with open(folder / "disk", "r+b", buffering=0) as file:
        content[100:105] = b"fresh"
        os.pwrite(file.fileno(), b"fresh", 100)
    subprocess.run(["umount", folder] if os.geteuid() == 0 else ["fusermount3", "-u", folder], check=True)
    wait_until(lambda: not in_use(disk, path))
    assert content_of(disk, path) == content
    assert not json.loads(disk("info", path, "--json").stdout)["dirty"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(partita, disk, make, folder, how):
    path, content = make("vhdx")
    child = subprocess.Popen([partita, "disk", "mount", path, folder, "--foreground"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == f"{folder}/disk: 24M\n"
    fd = os.open(folder / "disk", os.O_RDWR)
    content[12345:12355] = b"0123456789"
    os.pwrite(fd, b"0123456789", 12345)
    child.send_signal(how)  # with the file open
    said = child.communicate(timeout=30)
    close_dead(fd)
    assert child.returncode == 0 and said == ("", "")
    assert str(folder) not in mounts()
    facts = json.loads(disk("info", path, "--json").stdout)
    assert not facts["in_use"] and not facts["dirty"]
    assert content_of(disk, path) == content


def test_foreground_ends_by_unmount(partita, disk, make, folder):
    path, _ = make("raw")
    child = subprocess.Popen([partita, "disk", "mount", path, folder, "-F", "-q"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, text=True)
    wait_until(lambda: str(folder) in mounts())
    disk("unmount", folder)
    said, _ = child.communicate(timeout=30)
    assert child.returncode == 0 and said == ""


@pytest.mark.parametrize("how", ["fsync", "dsync"])
def test_what_was_durable_survives_a_kill(disk, folder, tmp_path, how):
    """The file's metadata is in memory until then: without a flush these bytes would be gone."""
    path = tmp_path / "a.vhdx"
    disk("create", path, "256M", "--block-size", "1M")
    disk("mount", path, folder)
    data = random.Random(9).randbytes(3 * MIB + 100)
    fd = os.open(folder / "disk", os.O_RDWR | (os.O_DSYNC if how == "dsync" else 0))
    assert os.pwrite(fd, data, 100 * MIB - 50) == len(data)
    if how == "fsync":
        os.fsync(fd)
    fresh = os.open(folder / "disk", os.O_RDWR)
    os.pwrite(fresh, b"n" * 5 * MIB, 200 * MIB)  # not flushed: it may be lost
    os.kill(process_of(folder), signal.SIGKILL)
    wait_until(lambda: not in_use(disk, path))
    close_dead(fd)
    close_dead(fresh)
    with pytest.raises(OSError) as caught:
        os.stat(folder / "disk")
    assert caught.value.errno == errno.ENOTCONN
    done = disk("unmount", folder if how == "fsync" else "./folder/", code=3, cwd=tmp_path)
    assert "its process had ended before" in done.stderr and str(folder) not in mounts()
    disk("mount", path, folder)
    with open(folder / "disk", "rb") as file:
        file.seek(100 * MIB - 50)
        assert file.read(len(data)) == data
    disk("unmount", folder)
    disk("check", path)


def test_a_full_host_is_told(partita, disk, folder, tmp_path):
    """Writes fail, reads go on, and unmount says that something is lost."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or libc.mount(b"small", os.fsencode(place), b"tmpfs", 0, b"size=16m") != 0:
        pytest.skip("a small tmpfs cannot be mounted")
    try:
        path = place / "a.vhdx"
        disk("create", path, "256M", "--block-size", "1M")
        disk("mount", path, folder)
        with open(folder / "disk", "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"first", 0)
            os.fsync(file.fileno())
            with pytest.raises(OSError) as caught:
                for offset in range(0, 64 * MIB, MIB):
                    os.pwrite(file.fileno(), b"y" * MIB, MIB + offset)
            assert caught.value.errno == errno.ENOSPC
            assert os.pread(file.fileno(), 5, 0) == b"first"
        done = disk("unmount", folder, code=3)
        assert f"{path}: what was written last may be lost: a write had failed" in done.stderr
        assert str(folder) not in mounts()
        disk("info", path)
    finally:
        libc.umount2(os.fsencode(place), MNT_DETACH)
