# SPDX-License-Identifier: MIT
"""An FTP tree that exists is adopted in place: it is served at once however large it is, tiered
like what comes later, and a plain tree again after umount.

What belongs to whom is test_belonging.py's; who is named inside the tree, test_fs_mount.py's.
"""

import os
import socket
import subprocess

import pytest

from pylib import captures, proc, tree

CAMERAS, HOURS, FILES = 100, 25, 400
COLD = captures.camera_name(7)          # the camera whose files are tiered at once
COLD_FILES = HOURS * FILES
WITH_BYTES = 20                         # every 20th file; the others are empty


def hours():
    """The directories of the large tree."""
    for number in range(CAMERAS):
        for hour in range(HOURS):
            yield captures.directory(captures.camera_name(number), captures.START + 3600 * hour)


def names_of(directory):
    """{name: bytes} of one of them."""
    stem = "_".join(directory.split("/")[1:])
    return {f"{stem}_{i // 60:02}_{i % 60:02}_{i:04}_{i % 2}.jpg":
            f"{directory} {i}".encode() * 9 if i % WITH_BYTES == 0 else b""
            for i in range(FILES)}


def make_hour(root, directory):
    os.makedirs(f"{root}/{directory}")
    fd = os.open(f"{root}/{directory}", os.O_RDONLY | os.O_DIRECTORY)
    for name, data in names_of(directory).items():
        file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=fd)
        if data:
            os.write(file, data)
        os.close(file)
    os.close(fd)


def same_hour(root, directory):
    want, have = names_of(directory), {}
    with os.scandir(f"{root}/{directory}") as entries:
        for entry in entries:
            have[entry.name] = b""
            if want.get(entry.name) or entry.stat(follow_symlinks=False).st_size:
                with open(entry.path, "rb") as file:
                    have[entry.name] = file.read()
    assert have.keys() == want.keys(), f"other names in {directory}"
    assert have == want, f"other bytes in {directory}"


def memory_kib(m, field="VmRSS"):
    with open(f"/proc/{m.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))


def files_in(status, *states):
    return sum(status[state]["files"] for state in states)


def on_tmpfs(mount, mib, inodes, **options):
    """A mount to start later: cache and store in memory, where many files cost little."""
    m = mount(start=False, in_place=True, cache_fs="tmpfs", disk_mib=mib, options=options)
    proc.run("mount", "-o", f"remount,nr_inodes={inodes}", m.disk.path)
    m.store = os.path.join(m.disk.path, "store")
    m.store_url = "dir:" + m.store
    os.mkdir(m.store)
    return m


@pytest.mark.deadline(600)
def test_a_million_files(mount):
    """100 cameras, 2,500 directories; the files of one camera are due, all others are young.

    The scan is held to 100,000 files a second, so that it lasts while we look at what there is.
    """
    m = on_tmpfs(mount, 3072, 2000000, archive_after="24h", release_after="24h",
                 scan_rate="100000", rule=f"{COLD}/* archive_after=1s release_after=1s")
    everything = list(hours())
    cold = [d for d in everything if d.startswith(COLD)]
    total = len(everything) * FILES
    for directory in everything:
        make_hour(m.path, directory)

    # there at once
    m.start()
    before = memory_kib(m)
    assert sorted(os.listdir(m.path)) == sorted({d.split("/")[0] for d in everything})
    same_hour(m.path, everything[1777])
    young = f"{everything[-1]}/{min(names_of(everything[-1]))}"
    assert m.state(young) == "local"
    m.write("new/2017/a", b"new")
    assert m.status()["scanning"], "the scan was over before anybody could look"

    # counted in the background, in bounded memory
    proc.wait_until(lambda: not m.status()["scanning"], 200, "the end of the scan", every=0.2)
    def counted():
        status = m.status()
        assert files_in(status, "archived", "released") <= COLD_FILES
        # those that are just being archived are counted twice for a moment
        return files_in(status, "local", "archived", "released") == total + 1
    proc.wait_until(counted, 60, "all counted, once")
    # A directory costs some 400 bytes, and rows have pages in SQLite's cache: 20 MiB are usual.  A name
    # kept for each file would cost 150 MiB and more.
    if os.path.basename(m.build) not in ("asan", "tsan"):
        assert memory_kib(m, "VmHWM") - before < 64 << 10

    # what is due is tiered, by directory, and nothing else
    def tiered():
        status = m.status()
        return [status[state]["files"] for state in ("local", "archived", "released")] == \
            [total + 1 - COLD_FILES, 0, COLD_FILES]
    proc.wait_until(tiered, 200, "the release of a camera's files", every=0.5)
    for directory in everything[::67] + cold[:2]:
        same_hour(m.path, directory)
    name = min(names_of(cold[3]))
    where = {path: state for state, path, _ in m.locate(name)}
    assert where.pop(f"{cold[3]}/{name}") == "released"
    assert len(where) == CAMERAS - 1 and set(where.values()) == {"local"}

    # a plain tree without what is released, and with it when that was restored
    m.stop()
    assert not any(files for _, _, files in os.walk(m.full(COLD)))
    m.start(rule=None)
    m.restore()
    assert m.status()["scanning"], "this was to be a restart in the middle of the scan"
    m.stop()
    assert m.read("new/2017/a") == b"new"
    os.unlink(m.full("new/2017/a"))
    os.removedirs(m.full("new/2017"))
    assert sorted(os.listdir(m.path)) == sorted({d.split("/")[0] for d in everything})
    for directory in everything:
        same_hour(m.path, directory)


# --- 10,000 files, and whatever else lies in a tree ---------------------------------------------

STRANGE = [b"new\nline", b'quo"te\'s', b"\xff\xfe bytes", b"x" * 255, "ä€😀".encode(), b" ", b"-rf",
           b"a\\b", b"%41", b"*?[", b".hidden", b".ebb"]


def make_strange(root):
    """Returns how many plain files there are, and how many that stay local."""
    plain = 0
    for d in (b"", b"odd", b"d\xff\n"):
        os.makedirs(os.path.join(root, d), exist_ok=True)
        for name in STRANGE[:-1] if d == b"" else STRANGE:
            with open(os.path.join(root, d, name), "wb") as file:
                file.write(name * 20)
            plain += 1
    deep = os.path.join(root, *[b"d%02d-of-many-directories" % i for i in range(100)])
    os.makedirs(deep)
    with open(os.path.join(deep, b"deep"), "wb") as file:
        file.write(b"deep")
    with open(os.path.join(root, b"odd", b"sparse"), "wb") as file:
        file.truncate(5 << 20)
    with open(os.path.join(root, b"odd", b"nobody's"), "wb") as file:
        os.fchown(file.fileno(), 65534, 65534)
        os.fchmod(file.fileno(), 0o400)
    os.utime(os.path.join(root, b"odd", b"nobody's"), ns=(1, 1513351800123456789))
    plain += 3
    odd = os.path.join(root, b"odd")
    os.symlink(b"nowhere/\xff", odd + b"/dangling")
    os.symlink(b"../odd", odd + b"/to a directory")
    os.mkfifo(odd + b"/fifo")
    os.mknod(odd + b"/null", 0o20666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(odd)
        try:
            s.bind("socket")
        finally:
            os.chdir("/")
    with open(odd + b"/one name", "wb") as file:
        file.write(b"hard linked")
    os.link(odd + b"/one name", os.path.join(root, b"another name"))
    os.makedirs(os.path.join(root, b"empty", b"too"))
    return plain, 7


def test_whatever_lies_in_a_tree(mount):
    """Names, kinds and attributes stay what they are while all that is plain is archived and
    released, and in the tree that umount leaves; so does what a process goes on to write that
    was inside before."""
    m = on_tmpfs(mount, 512, 50000, archive_after="1s", release_after="1s", trash_grace="0s")
    for directory in list(hours())[::100]:
        make_hour(m.path, directory)
    plain, others = make_strange(os.fsencode(m.path))
    plain += CAMERAS * HOURS // 100 * FILES
    upload = os.path.join("odd", "upload")
    with open(m.full(upload), "wb") as file:
        file.write(b"begun before")
    before = tree.snapshot(m.path)
    with subprocess.Popen(["tee", "-a", m.full(upload)], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, cwd=m.full("odd")) as writer:
        try:
            proc.wait_until(lambda: os.readlink(f"/proc/{writer.pid}/fd/3") == m.full(upload), 60,
                            "tee's file", ignoring=(OSError,))
            m.start()
            m.expect_log("still inside")
            proc.wait_until(lambda: m.status()["released"]["files"] == plain, 120,
                            "the release of all plain files", every=0.3)
            assert m.state(upload) == "local", "it was open for writing"
            assert m.status()["other"]["files"] == others
            assert tree.diff(before, tree.snapshot(m.path)) == []
        finally:
            writer.communicate(b", gone on after")
    m.wait_state(upload, "released", 60)
    assert m.read(upload) == b"begun before, gone on after"
    after = tree.snapshot(m.path)
    assert tree.diff(before, {**after, upload: before[upload]}) == []

    m.restart(release_after="24h", rule=None)
    m.restore()
    proc.wait_until(lambda: m.status()["released"]["files"] == 0, 60, "nothing released")
    m.stop()
    assert tree.diff(after, tree.snapshot(m.path)) == []
