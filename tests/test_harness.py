# SPDX-License-Identifier: MIT
"""The harness itself, tried on a stand-in for ebbfs (servers/fake)."""

import os
import random
import signal
import subprocess
import sys

import pytest

from pylib import captures, disk, ebb, proc, tree

FAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers", "fake")


def fake(mount, **more):
    return mount(build=FAKE, **more)


def test_start_write_stop(mount):
    m = fake(mount, failpoints={"archive.put": "kill"})
    m.write("cam/2017/a.jpg", b"hello")
    assert m.read("cam/2017/a.jpg") == b"hello"
    with open(m.local("cam/2017/a.jpg"), "rb") as file:
        assert file.read() == b"hello"
    assert m.state("cam/2017/a.jpg") == "local"
    assert m.states("cam", "cam/2017") == {"cam": "local", "cam/2017": "local"}
    assert m.status() == {"mount": m.path}
    assert m.locate("nothing") == []
    assert m.wait_log("EBB_FAILPOINTS=archive.put=kill")
    assert m.statuses == ["mounted"]
    m.stop()
    assert not m.running() and not m.mounted() and m.processes() == []
    m.start()
    assert m.read("cam/2017/a.jpg") == b"hello"


def test_ctl_errors(mount):
    m = fake(mount)
    with pytest.raises(ebb.CtlError, match="no such file"):
        m.state("nothing")
    assert m.ctl("state", "nothing").returncode == 1


def test_kill_and_restart(mount):
    m = fake(mount)
    m.write("a", b"1")
    m.kill()
    assert not m.mounted()
    m.start()
    m.restart(kill=True, archive_after="1s")
    assert m.read("a") == b"1"
    assert m.options["archive_after"] == "1s"
    os.kill(m.pid, signal.SIGKILL)
    assert m.wait_exit() == -signal.SIGKILL
    m.start()
    m.terminate()


def test_background(mount):
    m = fake(mount, start=False)
    m.start_background()
    assert m.running()
    m.write("a", b"1")
    m.stop()
    assert not m.running()
    m.start_background()
    m.kill()
    assert not m.running() and not m.mounted()


def test_start_fails(mount):
    m = fake(mount, start=False)
    assert "unknown option" in m.start_fails(nonsense="1")
    m.options.clear()
    m.env["FAKE_EBBFS"] = "exit"
    m.expect_log("cannot start")
    assert "cannot start" in m.start_fails()
    m.env["FAKE_EBBFS"] = "hang"
    with pytest.raises(ebb.StartError, match="not ready within"):
        m.start(deadline=0.5)
    assert not m.running()


def test_close_complains():
    for how, complaint in ("log", "in the log: ERROR: something"), ("", "ended unasked"):
        m = ebb.Mount(build=FAKE, env={"FAKE_EBBFS": how}).start()
        if not how:
            os.kill(m.pid, signal.SIGKILL)
            m.process.wait()
        with pytest.raises(AssertionError, match=complaint):
            m.close()
        assert not os.path.exists(m.dir)


def test_stop_of_the_deaf():
    m = ebb.Mount(build=FAKE, env={"FAKE_EBBFS": "deaf"}).start()
    with pytest.raises(proc.Late, match="did not end"):
        m.stop(deadline=0.5)
    assert not m.processes()
    m.close()


def test_busy_is_not_left_behind():
    m = ebb.Mount(build=FAKE).start()
    m.busy_deadline = 0.3
    with open(m.full("open"), "w", encoding="ascii"):
        with pytest.raises(AssertionError, match="busy"):
            m.close()
    assert proc.mounts_below(m.dir) == [] and m.processes() == []


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs"])
@pytest.mark.parametrize("in_place", [False, True])
def test_cache_on(mount, kind, in_place):
    m = fake(mount, cache_fs=kind, in_place=in_place)
    m.write("a", b"1" * 4096)
    m.restart()
    assert m.read("a") == b"1" * 4096
    assert os.stat(m.full("a")).st_dev != os.stat(m.dir).st_dev


def test_disk_remount(tmpdir_below):
    with disk.Disk("ext4", tmpdir_below, size_mib=32) as d:
        tree_before = tree.snapshot(d.path)
        d.umount()
        assert os.listdir(d.path) == []
        d.mount("noatime")
        assert tree.diff(tree_before, tree.snapshot(d.path)) == []


def test_snapshots_differ(tmpdir_below):
    captures.write(tmpdir_below, seed=1, count=2, scale=0.1)
    os.symlink("there", os.path.join(tmpdir_below, "link"))
    odd = os.fsdecode(b"caf\xe9\n")
    with open(os.path.join(tmpdir_below, odd), "wb") as file:
        file.write(b"1")
    before = tree.snapshot(tmpdir_below)
    assert len([e for e in before.values() if e.type == "file"]) == 7
    with open(os.path.join(tmpdir_below, odd), "wb") as file:
        file.write(b"2")
    os.unlink(os.path.join(tmpdir_below, "link"))
    os.mkdir(os.path.join(tmpdir_below, "new"))
    lines = tree.diff(before, tree.snapshot(tmpdir_below), ignore=("mtime",))
    assert [line.split()[0] for line in lines] == ["differs:", "gone:", "new:"]
    assert "content" in lines[0] and "mtime" not in lines[0]


def check_jpeg(data):
    """Walks the markers and the restart intervals; (width, height)."""
    assert data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"
    at, size = 2, None
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2:at + 4], "big")
        assert data[at] == 0xFF
        if marker == 0xC0:
            size = (int.from_bytes(data[at + 7:at + 9], "big"),
                    int.from_bytes(data[at + 5:at + 7], "big"))
        at += 2 + length
        if marker == 0xDA:
            break
    markers = [data[i + 1] for i in range(at, len(data) - 1)
               if data[i] == 0xFF and data[i + 1] != 0]
    rows = size[1] // 8
    assert markers == [0xD0 + i % 8 for i in range(rows - 1)] + [0xD9]
    return size


def test_captures():
    made = dict(captures.files(seed=7, count=40))
    assert made == dict(captures.files(seed=7, count=40))
    assert len(made) == 120 and len(set(made.values())) == 120
    for path, data in made.items():
        camera, year, month, day, hour, name = path.split("/")
        assert name.startswith("_".join((year, month, day, hour))), path
        if path.endswith(".json"):
            assert 1000 <= len(data) <= 2000, path
        elif path.endswith("_0.jpg"):
            assert 50_000 <= len(data) <= 500_000 and check_jpeg(data)[0] == 1280, path
        else:
            assert 5_000 <= len(data) <= 50_000 and check_jpeg(data)[0] == 320, path
    assert len({path.split("/")[0] for path in made}) == 3


def test_wait_until():
    n = iter(range(100))
    assert proc.wait_until(lambda: next(n) == 3, 5)
    with pytest.raises(proc.Late, match="never.*last: False"):
        proc.wait_until(lambda: False, 0.05, "never")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_survives_the_runner(tmpdir_below, number):
    """A test run that is killed leaves no mount, no process and no file."""
    test = os.path.join(tmpdir_below, "test_it.py")
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "conftest.py")
    with open(os.path.join(tmpdir_below, "conftest.py"), "w", encoding="utf-8") as file:
        file.write(f"exec(open({ours!r}).read().replace('__file__', repr({ours!r})))\n")
    with open(test, "w", encoding="utf-8") as file:
        file.write(f"def test_it(mount):\n"
                   f"    m = mount(build={FAKE!r}, cache_fs='ext4', disk_mib=32)\n"
                   f"    open({tmpdir_below!r} + '/pid', 'w').write(str(m.pid))\n"
                   f"    import time; time.sleep(3600)\n")
    run = subprocess.Popen([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
                           env={**os.environ, "EBB_TMP": tmpdir_below}, start_new_session=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = os.path.join(tmpdir_below, "pid")
    proc.wait_until(lambda: os.path.exists(pid) and os.path.getsize(pid), 60)
    with open(pid, encoding="ascii") as file:
        daemon = int(file.read())
    os.kill(run.pid, number)
    run.wait()
    proc.wait_until(lambda: not proc.mounts_below(tmpdir_below), 60, "mounts gone")
    proc.wait_until(lambda: not proc.group_members(daemon), 60, "daemon gone")
    proc.wait_until(lambda: not [n for n in os.listdir(tmpdir_below) if n.startswith("ebb-")], 60,
                    "files gone")


def test_random_is_not_touched():
    """The generators have random sources of their own."""
    random.seed(1)
    first = random.random()
    random.seed(1)
    list(captures.files(3, 2))
    assert random.random() == first
