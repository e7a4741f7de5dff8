# SPDX-License-Identifier: MIT
"""ebbctl: what it prints, what it answers, and what it does to files."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pylib import proc

STRANGE = ["new\nline", "tab\there", "quote\"'", "back\\slash", "sp ace", "percent%41", "x" * 255,
           os.fsdecode(b"bad\xff\xfeutf"), "ünïcode", "-dash", "*?["]
OWN = {"pack_below": "0"}        # an object for each file
COMMANDS = ["status", "state", "archive", "release", "restore", "drain", "locate", "verify",
            "lost", "trash", "rebuild"]


def ebbctl(*args, **more):
    """Without -m."""
    return proc.run(os.path.join(proc.BUILD, "ebbctl"), *args, check=False, **more)


def alone(m, *args, also=(), **more):
    """Without -m, in a mount namespace where m's ebbfs (None: no ebbfs) is the only one, but
    for those of `also`."""
    keep = ":".join(["", *(one.path for one in ([m] if m else []) + list(also)), ""])
    script = """
        umount_others() {
            while read -r _ _ _ _ point rest; do
                case $rest in *" - fuse.ebbfs "*)
                    case $1 in *":$point:"*) ;; *) umount -l "$(printf %b "$point")";; esac;;
                esac
            done </proc/self/mountinfo
        }
        umount_others "$1"; shift; exec "$@"
    """
    return proc.run("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", keep,
                    os.path.join(proc.BUILD, "ebbctl"), *args, check=False, **more)


def socket_of(m):
    dev = os.stat(m.path).st_dev
    return f"/run/ebbfs/{os.major(dev)}-{os.minor(dev)}.sock"


def is_removed(path):
    """Nothing is there, or the socket of another mount, which has the device's number now."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            return False
    return True


def fill(m, n=5, folder="cam/2017", size=3000):
    data = {}
    for i in range(n):
        data[f"{folder}/{i:03}_0.jpg"] = os.urandom(size + i)
    for path, content in data.items():
        m.write(path, content)
    return data


def fill_and_close(m, n):
    """Also for others: the last close is told of when it is over."""
    data = fill(m, n)
    for path in data:
        m.wait_state(path, "local")
    return data


@pytest.fixture
def m(mount):
    """Nothing happens by itself."""
    return mount(options={**OWN, "archive_after": "1d", "release_after": "30d"})


# --- the command line -----------------------------------------------------------

@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    done = ebbctl(command, "--help")
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith("usage: ebbctl ") and "Exit status:" in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_help_of_all():
    done = ebbctl("--help")
    assert done.returncode == 0
    assert re.findall(r"^  ([a-z]+) ", done.stdout, re.M)[:len(COMMANDS)] == COMMANDS
    assert re.fullmatch(r"ebbctl \d+\.\d+\.\d+\n", ebbctl("--version").stdout)


@pytest.mark.parametrize("args", [
    [], ["nonsense"], ["--nonsense"], ["state"], ["archive"], ["release"], ["restore"], ["locate"],
    ["locate", "a/b"], ["locate", "a", "b"], ["locate", ""], ["archive", "--all", "x"],
    ["drain", "x"], ["status", "x"], ["status", "--all"], ["archive", "--dry-run", "--all"],
    ["trash", "nonsense"], ["trash", "restore"], ["trash", "empty", "x"], ["trash", "--yes"],
    ["trash", "empty", "--yes", "--dry-run"], ["state", "-m"], ["rebuild"],
    ["rebuild", "-o", "meta=/x"], ["rebuild", "-o", "meta=/x,store=dir:/y,node=5"],
    ["rebuild", "-o", "meta=/x,store=dir:/y,cache=/z"], ["-m", "/", "rebuild", "-o", "meta=/x"]])
def test_misuse(args):
    done = ebbctl(*args)
    assert done.returncode == 2, done
    assert not done.stdout and done.stderr.startswith("ebbctl: ") or "--nonsense" in args


def test_which_mount(mount, m):
    other = mount()
    done = ebbctl("status")
    assert done.returncode == 2 and "-m MOUNTPOINT" in done.stderr
    assert m.path in done.stderr and other.path in done.stderr
    done = alone(None, "status")
    assert done.returncode == 3 and "no ebbfs is mounted" in done.stderr
    done = alone(m, "status", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["mountpoint"] == m.path
    for args in (["-m", "/", "status"], ["status", "-m", "/usr"]):
        done = ebbctl(*args)
        assert done.returncode == 3 and "no ebbfs is mounted there" in done.stderr
    done = ebbctl("-m", "/nonsense", "status")
    assert done.returncode == 3 and "No such file" in done.stderr
    # -m may stand behind the command, and be any path that leads there
    link = os.path.join(m.dir, "link")
    os.symlink(m.path, link)
    m.write("cam/a.jpg", b"1")
    for path in (m.path + "//", link, m.full("cam")):
        done = ebbctl("status", "--json", "-m", path)
        assert done.returncode == 0 and json.loads(done.stdout)["mountpoint"] == m.path


# --- the socket -------------------------------------------------------------------

def test_socket(m):
    path = socket_of(m)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat("/run/ebbfs").st_mode) == 0o755
    m.stop()
    proc.wait_until(lambda: is_removed(path), 10, f"{path} removed")


def test_only_root(m):
    os.chmod(socket_of(m), 0o666)
    done = proc.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                    m.program("ebbctl"), "-m", m.path, "status", check=False)
    assert done.returncode == 3
    os.chmod(socket_of(m), 0o600)
    done = proc.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                    m.program("ebbctl"), "-m", m.path, "status", check=False)
    assert done.returncode == 3 and "only root" in done.stderr


def test_dead_daemon(m):
    m.kill(umount=False)
    done = m.ctl("status")
    assert done.returncode == 3 and "does not run" in done.stderr and "umount -l" in done.stderr
    m.unmount_lazily()
    m.start()
    assert m.status()["mountpoint"] == m.path


def test_stale_socket_is_replaced(m):
    path = socket_of(m)
    m.kill()
    m.start()
    assert m.ctl("status").returncode == 0


# Of a process that strace looks at, a leak sanitizer cannot say anything.
TRACED = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


@pytest.mark.parametrize("command", [("archive", "--all"), ("drain",)])
def test_ends_while_files_come(m, command):
    """What came before is done; what comes meanwhile is not waited for."""
    data = fill(m, 20)
    ended = threading.Event()

    def upload():
        number = 0
        while not ended.wait(0.02):
            m.write(f"cam/2017/late{number:05}", b"late")
            number += 1
    with ThreadPoolExecutor() as pool:
        writer = pool.submit(upload)
        try:
            done = m.ctl(*command, deadline=60)
        finally:
            ended.set()
        writer.result()
    assert done.returncode == 0, done.stderr
    assert set(m.states(*data).values()) == {"archived" if command[0] == "archive" else "released"}
    m.drain()
    assert set(m.states(*(f"cam/2017/{name}" for name in os.listdir(m.full("cam/2017")))).values()) \
        == {"released"}


def test_ends_while_files_come_and_looking_takes_long(mount):
    """Also where what comes while a directory is looked at is no longer new when its turn comes."""
    m = mount(env=TRACED, options={"archive_after": "1h"})
    data = fill(m, 40)
    ended = threading.Event()

    def upload():
        number = 0
        while not ended.wait(0.05):
            with open(m.local(f"cam/2017/late{number:05}"), "wb") as file:
                file.write(b"late")
            number += 1
    with ThreadPoolExecutor() as pool, \
            subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=newfstatat",
                              "-e", "inject=newfstatat:delay_enter=40000", "-p", str(m.pid)],
                             stderr=subprocess.DEVNULL) as tracer:
        proc.wait_traced(m.pid)
        writer = pool.submit(upload)
        try:
            done = m.ctl("archive", "--all", deadline=60)
        finally:
            ended.set()
            tracer.terminate()
        writer.result()
    assert done.returncode == 0, done.stderr
    assert set(m.states(*data).values()) == {"archived"}


def test_dead_mounts_are_not_meant(mount, m):
    """Without -m, what a killed daemon left does not stand beside the mount that lives."""
    dead = mount()
    dead.kill(umount=False)
    done = alone(m, "status", "--json", also=[dead])
    assert done.returncode == 0 and json.loads(done.stdout)["mountpoint"] == m.path
    done = alone(dead, "status")
    assert done.returncode == 3 and "does not run" in done.stderr
    dead.unmount_lazily()


def test_dead_sockets_are_removed(m):
    """Those of daemons that were killed and whose mounts had other devices."""
    m.stop()
    old = os.stat(m.dir).st_mtime - 3600
    dead, lives, young = paths = [f"/run/ebbfs/9999-{os.getpid()}{n}.sock" for n in range(3)]
    servers = [socket.socket(socket.AF_UNIX) for _ in paths]
    try:
        for server, path in zip(servers, paths):
            server.bind(path)
        servers[1].listen(4)
        for path in (dead, lives):      # from now on any daemon that starts may look at them
            os.utime(path, (old, old))
        m.start()
        assert [os.path.exists(path) for path in (dead, lives, young)] == [False, True, True]
    finally:
        for server, path in zip(servers, paths):
            server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


# Longer than a start takes, and less than LOCK_MS of tools/mount_ctl.c: all that start wait for it.
SLOW_UNLINK = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=unlink",
               "-e", "inject=unlink:delay_enter=1000000"]


def held(m):
    """{(thread, its call)} of those that a tracer does not let go on."""
    found = set()
    for task in (f"/proc/{pid}/task/{tid}" for pid in m.processes()
                 for tid in os.listdir(f"/proc/{pid}/task")):
        with open(f"{task}/status", errors="replace") as status, open(f"{task}/syscall") as call:
            if "\nState:\tt" in status.read():
                found.add((task, call.read()))
    return found


def wait_slow(m, started):
    """Until one is held for more than the moment that each call of a traced thread takes; or none
    will be: another daemon has removed the dead socket."""
    looks = []

    def same():
        looks.append(held(m))
        return started.done() or len(looks) >= 10 and set.intersection(*looks[-10:])
    proc.wait_until(same, 90, "a thread held at its call", ignoring=(OSError,), every=0.01)


def test_socket_of_the_next_mount(mount):
    """A daemon ends, and is slow between looking at its socket and removing it: the number of its
    device, and with it the path, is given to a new mount meanwhile, whose socket stays."""
    old = mount(env=TRACED)
    path = socket_of(old)
    with subprocess.Popen([*SLOW_UNLINK, "-P", path, "-p", str(old.pid)],
                          stderr=subprocess.DEVNULL):
        proc.wait_traced(old.pid)
        proc.run("umount", old.path)
        new = [mount()]
        while socket_of(new[-1]) != path and len(new) < 10:
            new.append(mount())
        old.wait_exit(want=0)
    assert [m.ctl("status").returncode for m in new] == [0] * len(new)


def test_socket_where_a_dead_one_was(mount):
    """A daemon finds a killed one's socket, and is slow to remove it: whoever has that path
    meanwhile keeps his."""
    first, dead = mount(), mount()
    path = socket_of(dead)
    dead.kill()
    os.utime(path, (0, 0))
    first.stop() # its number is the next one to be given, the dead one's follows
    slow = mount(start=False, wrapper=[*SLOW_UNLINK, "-P", path], env=TRACED)
    with ThreadPoolExecutor() as pool:
        started = pool.submit(slow.start)
        wait_slow(slow, started)
        new = mount()
        started.result()
    assert [m.ctl("status").returncode for m in (new, slow)] == [0, 0]


def test_garbage(m):
    """What is no request gets a sentence or is closed, and harms nothing."""
    for text in (b"\n", b"{}\n", b"nonsense\n", b"[1,2]\n", b'{"op":5}\n', b'{"op":"nonsense"}\n',
                 b'{"op":"archive"}\n', b'{"op":"archive","paths":[1]}\n',
                 b'{"op":"archive","paths":["a\\u0000b"]}\n', b'{"op":"locate","name":"a/b"}\n',
                 b'{"op":"state","paths":["../..","//","a//b","/etc","./a"]}\n',
                 b'{"op":"trash-restore"}\n', b'{"op":"trash-empty","ids":["x"]}\n',
                 b'{"op":"state","paths":"x"}\n', b"{" * 5000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(proc.scaled(20))
            s.connect(socket_of(m))
            s.sendall(text)
            reply = b""
            while chunk := s.recv(65536):
                reply += chunk
        assert json.loads(reply.splitlines()[-1])["done"] == 1, (text, reply)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(socket_of(m))
        s.sendall(b'{"op":')
    assert m.ctl("status").returncode == 0


# --- state --------------------------------------------------------------------------

def test_state(m):
    data = fill(m, 3)
    a, b, c = data
    m.archive(a, b)
    m.release(a)
    paths = [m.full(p) for p in (a, b, c, "cam", "")]
    done = m.ctl("state", *paths)
    assert done.stdout == "".join(f"{s}\t{p}\n" for s, p in zip(
        ["released", "archived", "local", "local", "local"], paths))
    assert done.returncode == 0 and not done.stderr
    with open(m.full(c), "r+b"):
        assert m.state(c) == "writing"
    m.wait_state(c, "local")        # the last close is told of when it is over


def test_state_unknown(m):
    fill_and_close(m, 1)
    done = m.ctl("state", m.full("nothing"), m.full("cam"), "/etc/passwd", m.full("no/where"),
                 m.full("cam/2017/000_0.jpg"))
    assert done.returncode == 1
    assert done.stdout == f"local\t{m.full('cam')}\nlocal\t{m.full('cam/2017/000_0.jpg')}\n"
    assert len(done.stderr.splitlines()) == 3
    assert f"'{m.full('nothing')}': there is no such file" in done.stderr
    assert "'/etc/passwd': it is not in the mount" in done.stderr
    assert m.ctl("state", "/etc/passwd").returncode == 1


def test_state_json(m):
    data = fill(m, 2)
    a, b = data
    m.archive(a)
    m.release(a)
    os.symlink("x", m.full("link"))
    done = m.ctl("state", "--json", *(m.full(p) for p in (a, b, "cam", "link")), check=True)
    released, local, folder, link = json.loads(done.stdout)
    st = os.stat(m.full(a))
    assert released["path"] == m.full(a) and released["state"] == "released"
    assert released["size"] == len(data[a]) and released["ino"] == st.st_ino
    assert released["mtime"] == int(st.st_mtime) and released["type"] == "file"
    assert re.fullmatch("[0-9a-f]{8}", released["crc32c"])
    assert released["object"] == a and released["parts"] == 1
    assert released["url"] == f"file://{m.store}/{a}"
    assert local["crc32c"] is None and local["object"] is None
    assert local["url"] == f"file://{m.full(b)}" and local["size"] == len(data[b])
    assert folder["type"] == "directory" and folder["url"] is None
    assert link["type"] == "symlink" and link["state"] == "local"


def test_paths_like_ls(m):
    """Relative, with dots and slashes, through symlinks; the last component as it is."""
    fill_and_close(m, 1)
    os.symlink(m.full("cam"), os.path.join(m.dir, "outside"))
    os.symlink("cam", m.full("inside"))
    program = m.program("ebbctl")

    def states(*paths):
        done = proc.run(program, "-m", m.path, "state", *paths, cwd=m.full("cam"))
        assert done.stdout == "".join(f"local\t{p}\n" for p in paths)
    states("2017", "2017/", "./2017/000_0.jpg", ".", "..", "../cam/../cam/2017//000_0.jpg",
           os.path.join(m.dir, "outside/2017/000_0.jpg"), m.full("inside/2017"), m.full("inside"))
    done = proc.run(program, "-m", m.path, "state", os.path.join(m.dir, "outside"), check=False)
    assert done.returncode == 1 and "not in the mount" in done.stderr


def test_bind_mount(m):
    fill_and_close(m, 1)
    there = os.path.join(m.dir, "bind")
    os.mkdir(there)
    proc.run("mount", "--bind", m.full("cam"), there)
    try:
        done = ebbctl("-m", there, "state", f"{there}/2017/000_0.jpg", there)
        assert done.stdout == f"local\t{there}/2017/000_0.jpg\nlocal\t{there}\n", done
    finally:
        proc.run("umount", there)


def test_strange_names(m):
    for i, name in enumerate(STRANGE):
        m.write("d/" + name, b"%d" % i * 100)
    paths = [m.full("d/" + name) for name in STRANGE]
    m.archive(*("d/" + name for name in STRANGE))
    m.release("d")
    done = m.ctl("state", *paths, check=True)
    assert done.stdout == "".join(f"released\t{p}\n" for p in paths)
    for name, item in zip(STRANGE, json.loads(m.ctl("state", "--json", *paths).stdout)):
        text = name.replace("\udcff\udcfe", "%FF%FE")
        assert item["path"] == m.full("d/" + text) and item["object"] == "d/" + text
    for name in STRANGE:
        done = m.ctl("locate", "--", name)
        assert done.returncode == 0 and done.stdout.startswith(f"released\td/{name}\tfile://")
        assert m.ctl("verify", "--", m.full("d/" + name)).returncode == 0
        os.unlink(m.full("d/" + name))
        assert m.ctl("trash", "restore", "--", m.full("d/" + name)).returncode == 0
        assert m.read("d/" + name) == b"%d" % STRANGE.index(name) * 100


# --- moving ----------------------------------------------------------------------------

def test_move(m):
    data = fill(m, 5)
    first = list(data)[0]
    done = m.ctl("archive", m.full("cam"))
    assert done.returncode == 0 and done.stdout == "archived 5 files (%s)\n" % \
        re.search(r"\((.*)\)", done.stdout)[1]
    assert set(m.states(*data).values()) == {"archived"}
    # again: nothing to do is no failure
    assert m.ctl("archive", "--all").returncode == 0

    done = m.ctl("release", "--dry-run", m.full("cam"))
    assert done.returncode == 0 and "would have released 5 files" in done.stdout
    assert set(m.states(*data).values()) == {"archived"}
    done = m.ctl("release", "--json", m.full(first))
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["ok"] and result["command"] == "release"
    assert (result["done"], result["failed"], result["failures"]) == (1, 0, [])
    assert result["bytes"] == len(data[first]) and result["dry_run"] is False
    assert m.ctl("release", "--all").returncode == 0
    assert set(m.states(*data).values()) == {"released"}

    assert m.ctl("restore", m.full(first)).returncode == 0
    assert m.state(first) == "archived"
    m.restore()
    assert set(m.states(*data).values()) == {"archived"}
    for path, content in data.items():
        assert m.read(path) == content


def test_drain(m):
    data = fill(m, 5)
    done = m.ctl("drain")
    assert done.returncode == 0 and done.stdout.startswith("drained ")
    assert set(m.states(*data).values()) == {"released"}
    assert m.ctl("drain").returncode == 0


def test_some_fail(m):
    data = fill(m, 3)
    a, b, c = data
    with open(m.full(b), "r+b"):
        done = m.ctl("archive", "--json", *(m.full(p) for p in data), m.full("nothing"))
        result = json.loads(done.stdout)
        assert done.returncode == 1 and not result["ok"]
        assert {f["path"] for f in result["failures"]} == {b, "nothing"}
        assert f"cannot archive '{b}': " in done.stderr
        assert "cannot archive 'nothing': there is no such file" in done.stderr
        assert m.states(a, c) == {a: "archived", c: "archived"}
        # Only what is not there: not taken for "everything".
        assert m.ctl("release", m.full("nothing")).returncode == 1
        assert m.ctl("release", "/etc").returncode == 1
        assert m.states(a, c) == {a: "archived", c: "archived"}
        assert m.ctl("release", m.full(b)).returncode == 1
    m.wait_state(b, "local")
    assert m.read(b) == data[b]


# --- locate -------------------------------------------------------------------------------

def test_locate(m):
    data = fill(m, 2)
    a, b = data
    m.write("other/000_0.jpg", b"2")
    m.archive(a)
    m.release(a)
    assert sorted(m.locate("000_0.jpg")) == [
        ("local", "other/000_0.jpg", f"file://{m.full('other/000_0.jpg')}"),
        ("released", a, f"file://{m.store}/{a}")]
    assert m.locate("001_0.jpg") == [("local", b, f"file://{m.full(b)}")]
    m.archive(b)
    assert m.locate("001_0.jpg") == [("archived", b, f"file://{m.store}/{b}")]
    found = json.loads(m.ctl("locate", "--json", "000_0.jpg", check=True).stdout)
    assert {f["path"] for f in found} == {a, "other/000_0.jpg"} and "size" in found[0]
    done = m.ctl("locate", "nothing")
    assert done.returncode == 1 and not done.stdout and "no file of this name" in done.stderr
    assert m.ctl("locate", "cam").returncode == 1       # a directory is no file
    os.rename(m.full(a), m.full("cam/new"))
    assert m.locate("new") == [("released", "cam/new", f"file://{m.store}/{a}")]
    os.unlink(m.full("cam/new"))
    assert m.locate("new") == []


def test_locate_while_the_cache_is_looked_through(mount):
    """A file that is only local may be where the scan at start has not come to."""
    m = mount(start=False, options={"scan_rate": "1"})      # the root's files take it minutes
    os.mkdir(m.local("cam"))
    for name in ["cam/late.jpg", *(f"early{i}" for i in range(300))]:
        with open(m.local(name), "wb"):
            pass
    m.start()
    done = m.ctl("locate", "late.jpg")
    assert done.returncode == 1 and not done.stdout
    assert "still being looked through" in done.stderr
    m.restart(scan_rate=None)
    proc.wait_until(lambda: not m.status()["scanning"], 30, "the end of the scan")
    assert [path for _, path, _ in m.locate("late.jpg")] == ["cam/late.jpg"]
    done = m.ctl("locate", "nothing")
    assert done.returncode == 1 and done.stderr.endswith(": there is no file of this name\n")


# --- status ---------------------------------------------------------------------------------

def test_status(m):
    data = fill(m, 6)
    sizes = [len(v) for v in data.values()]
    paths = list(data)
    os.symlink("x", m.full("link"))
    m.archive(*paths[:4])
    m.release(*paths[:2])
    os.unlink(m.full(paths[0]))

    def settled():
        s = m.status()
        return not s["scanning"] and s
    s = proc.wait_until(settled, 60)
    assert s["local"] == {"files": 2, "bytes": sum(sizes[4:])}
    assert s["archived"] == {"files": 2, "bytes": sum(sizes[2:4])}
    assert s["released"] == {"files": 1, "bytes": sizes[1]}
    assert s["trash"] == {"files": 1, "bytes": sizes[0]}
    assert s["other"]["files"] == 1
    assert s["store"]["up"] and s["store"]["volume_ok"] and s["store"]["total_bytes"] > 0
    assert s["store"]["url"] == "dir:" + m.store and not s["readonly"] and s["sinks"] == []
    assert s["since_start"]["archived"] == 4 and s["since_start"]["released"] == 2
    assert 0 <= s["cache"]["used_pct"] <= 100 and s["journal"]["backlog_bytes"] >= 0
    assert re.fullmatch("[0-9a-f-]{36}", s["volume"]) and re.fullmatch("[0-9a-f-]{36}", s["node"])
    assert set(s["rates"]) == {"archive_files_per_s", "archive_bytes_per_s", "release_files_per_s"}

    fuse, before = s["fuse"], s["fuse"]["requests"]
    assert set(fuse["parked"]) == {"now", "store", "total", "refused"}
    assert fuse["parked"]["total"] >= 1 and fuse["parked"]["refused"] == 0   # the unlink waited
    assert fuse["inodes"] >= 1 and fuse["inodes_forgotten"] == 0 and fuse["passthrough"] in (True, False)
    assert before["unlink"] == 1 and before["symlink"] == 1 and before["create"] == len(paths)
    assert before["rmdir"] == 0 and "getxattr" in before
    for _ in range(3):
        os.statvfs(m.path)
    after = m.status()["fuse"]["requests"]
    assert after["statfs"] == before["statfs"] + 3 and set(after) == set(before)

    table = m.ctl("status", check=True).stdout
    assert re.search(r"^local +2 files", table, re.M)
    assert re.search(r"^released +1 files", table, re.M)
    assert re.search(r"^store +up", table, re.M)


def test_status_store_down(mount):
    rules = os.path.join(proc.tempdir("rules"), "rules")
    m = mount(store=f"fault:{rules}:mem:", options={**OWN, "archive_after": "1d", "store_timeout": "1s"})
    m.write("a", b"1")
    m.archive("a")
    with open(rules + "~", "w") as file:
        file.write("* down now\n")
    os.rename(rules + "~", rules)
    m.write("b", b"1")
    assert m.ctl("archive", m.full("b")).returncode == 1
    proc.wait_until(lambda: not m.status()["store"]["up"], 60)
    table = m.ctl("status", check=True).stdout
    assert re.search(r"^store +DOWN", table, re.M)
    done = m.ctl("verify")
    assert done.returncode == 1 and "did not answer" in done.stderr
    os.unlink(rules)
    proc.wait_until(lambda: m.ctl("archive", m.full("b")).returncode == 0, 60)
    m.expect_log(r"error: store 'fault:")


def test_status_sink_down(mount):
    m = mount(options={**OWN, "archive_after": "1d", "release_after": "30d"},
              es=f"http://127.0.0.1:{proc.free_port()}/captures")
    data = fill(m, 3)
    m.archive()
    s = proc.wait_until(lambda: "cannot reach" in ((s := m.status()["sinks"][0])["error"] or "")
                        and s, 60)
    assert s["name"] == "elasticsearch" and not s["up"]
    assert (s["waiting"], s["missing"], s["poisoned"]) == (3, 0, 0) and s["oldest_s"] >= 0
    assert re.search(r"^sink +DOWN +elasticsearch.* 3 waiting", m.ctl("status").stdout, re.M)
    assert set(m.states(*data).values()) == {"archived"}


# --- verify ----------------------------------------------------------------------------------

def test_verify(m):
    data = fill(m, 40)
    paths = list(data)
    m.archive()
    m.release(*paths[:20])
    done = m.ctl("verify")
    assert done.returncode == 0 and done.stdout.startswith("verified 40 files ("), done
    with open(os.path.join(m.store, paths[3]), "r+b") as file:
        file.write(bytes([data[paths[3]][0] ^ 1]))
    os.unlink(os.path.join(m.store, paths[30]))
    with open(os.path.join(m.store, paths[31]), "ab") as file:
        file.write(b"x")
    m.write("local", b"1")
    done = m.ctl("verify", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1 and result["failed"] == 3 and result["done"] == 40
    assert {f["path"] for f in result["failures"]} == {paths[3], paths[30], paths[31]}
    assert f"cannot verify '{paths[30]}': its object is missing" in done.stderr
    assert m.ctl("verify", m.full(paths[3])).returncode == 1
    assert m.ctl("verify", m.full(paths[4]), m.full("local")).returncode == 0
    assert m.ctl("verify", m.full("cam/2017")).returncode == 1
    assert m.ctl("verify", m.full("nothing")).returncode == 1
    m.expect_log(r"error: .*(verify|prove|object)")


def slow_store(mount, seconds, op="verify"):
    rules = os.path.join(proc.tempdir("rules"), "rules")
    m = mount(store=f"fault:{rules}:mem:", options={**OWN, "archive_after": "1d", "release_after": "30d"})
    data = fill(m, 48)
    m.archive()
    with open(rules + "~", "w") as file:
        file.write(f"{op} delay {seconds}s\n")
    os.rename(rules + "~", rules)
    return m, data


def verifying(m):
    """How many of the daemon's threads are at it."""
    count = 0
    for task in os.listdir(f"/proc/{m.pid}/task"):
        try:
            with open(f"/proc/{m.pid}/task/{task}/comm") as file:
                count += file.read().startswith("verify-")
        except OSError:
            pass
    return count


def test_progress_on_a_terminal(mount):
    m, _ = slow_store(mount, 1)
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(m.program("ebbctl"), ["ebbctl", "-m", m.path, "verify"])
    text = b""
    try:
        while select.select([fd], [], [], proc.scaled(60))[0] and (chunk := os.read(fd, 65536)):
            text += chunk
    except OSError:     # the end of a terminal
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    assert re.search(rb"verify \[#+\.+\] \d+ of 48 files", text), text
    assert b" left" in text and b"/s" in text
    assert text.endswith(b"\r\n") and b"verified 48 files" in text


def test_no_progress_in_a_pipe(mount):
    m, _ = slow_store(mount, 1)
    done = m.ctl("verify", check=True)
    assert done.stderr == "" and "\r" not in done.stdout


def test_cancelled_by_its_end(mount):
    """A client that goes away ends its command."""
    m, _ = slow_store(mount, 10)
    client = subprocess.Popen([m.program("ebbctl"), "-m", m.path, "verify"],
                              stdout=subprocess.PIPE)

    proc.wait_until(lambda: verifying(m), 60)
    client.send_signal(signal.SIGINT)
    client.wait()
    client.stdout.close()
    # 48 files, 16 at a time, 10 s each: all of them would take 30 s
    proc.wait_until(lambda: not verifying(m), 25)


def test_cancelled_by_umount(mount):
    m, _ = slow_store(mount, 5)
    client = subprocess.Popen([m.program("ebbctl"), "-m", m.path, "verify"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    proc.wait_until(lambda: verifying(m), 60)
    m.stop(deadline=30)
    assert client.wait(proc.scaled(30)) in (1, 3)
    client.communicate()


def test_many_at_once(mount):
    """Sixteen run; the next are told so."""
    m, _ = slow_store(mount, 3)
    argv = [m.program("ebbctl"), "-m", m.path, "verify"]
    clients = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for _ in range(20)]
    ends = [(c.communicate(timeout=proc.scaled(120)), c.returncode) for c in clients]
    refused = [err for (_, err), code in ends if code == 1]
    assert all("16 commands are running already" in err for err in refused)
    assert len(refused) >= 1 and all(code in (0, 1) for _, code in ends)


# --- trash --------------------------------------------------------------------------------------

def trash(m):
    return json.loads(m.ctl("trash", "--json", check=True).stdout)


def test_trash_removed(m):
    data = fill(m, 3)
    a, b, _ = data
    m.archive()
    m.release()
    before = os.stat(m.full(a))
    assert os.listdir(m.full("cam/2017")) and trash(m) == []
    os.unlink(m.full(a))
    os.unlink(m.full(b))
    assert sorted(os.listdir(m.full("cam/2017"))) == ["002_0.jpg"]      # the kernel keeps it
    items = trash(m)
    assert [i["path"] for i in items] == [a, b]
    assert items[0]["reason"] == "removed" and items[0]["size"] == len(data[a])
    assert items[0]["due"] - items[0]["removed"] == 24 * 3600
    line = m.ctl("trash", "list", check=True).stdout.splitlines()[0].split("\t")
    assert line[0] == str(items[0]["id"]) and line[-1] == a and len(line) == 6

    done = m.ctl("trash", "restore", m.full(a))
    assert done.returncode == 0 and done.stdout == f"brought back\t{a}\n", done
    assert sorted(os.listdir(m.full("cam/2017"))) == ["000_0.jpg", "002_0.jpg"]
    assert m.state(a) == "released" and m.read(a) == data[a]
    after = os.stat(m.full(a))
    assert (after.st_mtime_ns, after.st_mode, after.st_size) == (
        before.st_mtime_ns, before.st_mode, before.st_size)
    assert m.ctl("trash", "restore", str(items[1]["id"])).returncode == 0
    assert m.read(b) == data[b] and trash(m) == []
    assert m.ctl("verify").returncode == 0
    m.restart()
    assert m.read(a) == data[a] and m.read(b) == data[b]


def test_trash_replaced(m):
    """An older version comes back beside the newer one, wherever its object is."""
    m.write("f", b"one" * 100)
    versions = {}
    for text in (b"two", b"three", b"four"):
        m.archive("f")
        with open(m.full("f"), "wb") as file:
            file.write(text * 100)
    m.archive("f")
    items = trash(m)
    assert [i["path"] for i in items] == ["f"] * 3 and items[0]["reason"] == "replaced"
    done = m.ctl("trash", "restore", m.full("f"))
    assert done.returncode == 1 and "its name is taken" in done.stderr
    for i, item in enumerate(items):
        os.rename(m.full("f"), m.full(f"kept{i}"))
        done = m.ctl("trash", "restore", str(item["id"]))
        assert done.returncode == 0, done
        versions[item["id"]] = m.read("f")
    assert list(versions.values()) == [b"one" * 100, b"two" * 100, b"three" * 100]
    assert m.read("kept0") == b"four" * 100
    names = ["f", "kept0", "kept1", "kept2"]
    assert len({os.stat(m.full(n)).st_ino for n in names}) == 4
    m.archive()
    m.release()
    assert len({os.stat(m.full(n)).st_ino for n in names}) == 4
    assert [m.read(n) for n in names] == [b"three" * 100, b"four" * 100, b"one" * 100, b"two" * 100]


def test_trash_directory_gone(m):
    data = fill(m, 1)
    path = list(data)[0]
    m.archive()
    m.release()
    os.unlink(m.full(path))
    os.rmdir(m.full("cam/2017"))
    ident = str(trash(m)[0]["id"])
    done = m.ctl("trash", "restore", ident)
    assert done.returncode == 1 and "its directory 'cam/2017' is gone" in done.stderr
    os.mkdir(m.full("cam/2017"))
    assert m.ctl("trash", "restore", ident).returncode == 0
    assert m.read(path) == data[path]
    done = m.ctl("trash", "restore", ident)
    assert done.returncode == 1 and "no such entry" in done.stderr
    done = m.ctl("trash", "restore", m.full("cam/2017/none"))
    assert done.returncode == 1 and "nothing of this path" in done.stderr


def test_trash_empty(m):
    data = fill(m, 4)
    paths = list(data)
    m.archive()
    m.release()
    for path in paths[:3]:
        os.unlink(m.full(path))
    ids = [i["id"] for i in trash(m)]
    for args in ([], ["--dry-run"]):
        done = m.ctl("trash", "empty", *args)
        assert done.returncode == 0 and "would drop 3 for good" in done.stdout
    assert len(trash(m)) == 3 and os.path.exists(os.path.join(m.store, paths[0]))

    def empty(*args):
        """A row goes when the journal has it, which takes a second."""
        return m.ctl("trash", "empty", "--yes", *args).returncode == 0
    done = m.ctl("trash", "empty", "--yes", "999999")
    assert done.returncode == 1 and "'999999': there is no such entry" in done.stderr
    proc.wait_until(lambda: empty(str(ids[0])), 60)
    assert [i["id"] for i in trash(m)] == ids[1:]
    assert not os.path.exists(os.path.join(m.store, paths[0]))
    assert os.path.exists(os.path.join(m.store, paths[1]))
    proc.wait_until(empty, 60)
    assert trash(m) == [] and not os.path.exists(os.path.join(m.store, paths[1]))
    assert m.read(paths[3]) == data[paths[3]]
    assert m.ctl("trash", "restore", m.full(paths[0])).returncode == 1


# --- rebuild ----------------------------------------------------------------------------------------

def rebuild(m, *more, meta=None):
    options = ",".join([f"meta={meta or m.meta}", f"store=dir:{m.store}", *more])
    return ebbctl("rebuild", "-o", options)


def test_rebuild(m):
    data = fill(m, 20)
    data |= fill(m, 20, "cam/2018")
    paths = list(data)
    for name in STRANGE:
        data["d/" + name] = name.encode(errors="surrogateescape") * 3
        m.write("d/" + name, data["d/" + name])
    m.drain()
    os.rename(m.full(paths[0]), m.full("cam/renamed"))
    data["cam/renamed"] = data.pop(paths[0])
    os.rename(m.full("cam/2018"), m.full("cam/2019"))
    data = {p.replace("cam/2018", "cam/2019"): v for p, v in data.items()}
    os.unlink(m.full(paths[1]))
    gone = data.pop(paths[1])
    os.chmod(m.full("cam/renamed"), 0o600)
    before = m.snapshot()
    inodes = {p: os.stat(m.full(p)).st_ino for p in data}
    m.stop()

    done = rebuild(m)
    assert done.returncode == 1 and "exists" in done.stderr
    for suffix in ("", "-wal", "-shm", "-lock"):
        if os.path.exists(m.meta + suffix):
            os.unlink(m.meta + suffix)
    done = rebuild(m)
    assert done.returncode == 0, done
    assert f"{len(data)} archived files" in done.stdout and "last seconds" in done.stdout
    m.start()
    assert m.snapshot() == before
    assert {p: os.stat(m.full(p)).st_ino for p in data} == inodes
    for path, content in data.items():
        assert m.state(path) == "released" and m.read(path) == content
    assert m.ctl("trash", "restore", m.full(paths[1])).returncode == 0
    assert m.read(paths[1]) == gone
    assert m.ctl("verify").returncode == 0
    # and it goes on: a second loss
    m.write("after", b"1")
    m.drain()
    m.stop()
    second = m.meta + "2"
    done = rebuild(m, meta=second)
    assert done.returncode == 0, done
    m.meta = second
    m.start()
    assert m.read("after") == b"1" and m.read(paths[1]) == gone


def test_rebuild_fences(mount):
    """The former owner, still at work, turns read-only and destroys nothing."""
    m = mount(options={**OWN, "archive_after": "1d", "release_after": "30d", "trash_grace": "0s"})
    fill(m, 5)
    m.archive()
    proc.wait_until(lambda: m.status()["journal"]["backlog_bytes"] == 0, 60)
    done = rebuild(m, meta=m.meta + "2")
    assert done.returncode == 0, done
    m.write("new", b"1")
    assert m.ctl("archive", m.full("new")).returncode in (0, 1)
    proc.wait_until(lambda: m.status()["readonly"], 60)
    assert "READ-ONLY" in m.ctl("status").stdout
    assert m.ctl("release", "--all").returncode == 1
    m.expect_log(r"read-only")


def test_rebuild_of_nothing(tmpdir_below):
    os.mkdir(f"{tmpdir_below}/store")
    done = ebbctl("rebuild", "-o", f"meta={tmpdir_below}/c,store=dir:{tmpdir_below}/store")
    assert done.returncode == 1 and "holds no volume" in done.stderr
    done = ebbctl("rebuild", "-o", f"meta={tmpdir_below}/c,store=dir:{tmpdir_below}/none")
    assert done.returncode == 1 and "none" in done.stderr
    assert os.listdir(tmpdir_below) == ["store"]


# --- completion ---------------------------------------------------------------------------------------

def complete(*words):
    script = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ebbctl 2>/dev/null
                printf '%s\\n' "${COMPREPLY[@]}" """
    return proc.run("bash", "-c", script, "bash", os.path.join(proc.REPO, "dist/ebbctl.bash"),
                    *words).stdout.split("\n")[:-1]


def test_completion(m):
    assert complete("ebbctl", "") == COMMANDS
    assert complete("ebbctl", "re") == ["release", "restore", "rebuild"]
    assert complete("ebbctl", "-m", m.path, "st") == ["status", "state"]
    assert m.path in complete("ebbctl", "-m", "")
    assert complete("ebbctl", "trash", "") == ["list", "restore", "empty"]
    assert "--all" in complete("ebbctl", "release", "--") and "--dry-run" in complete(
        "ebbctl", "release", "--")
    m.write("cam/abc.jpg", b"1")
    assert complete("ebbctl", "state", m.full("cam/a")) == [m.full("cam/abc.jpg")]
