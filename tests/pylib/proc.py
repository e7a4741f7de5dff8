# SPDX-License-Identifier: MIT
"""Temporary directories, processes, ports, and waiting with a deadline.

Everything a test run makes lies below one base directory on the machine's
disk (/var/tmp, or $EBB_TMP): short, because socket paths are limited, and
open to traverse, because some servers run as unprivileged users.  Every
process group is told to the guard (guard.py), which removes it all when the
test runner dies without having done so.

    EBB_BUILD       where ebbfs and ebbctl are (build)
    EBB_DEPS        where tests/servers/setup put things (build/deps)
    EBB_TMP         where the base directory is made
    EBB_KEEP=1      leave the files (never the processes and mounts)
    EBB_TIME_SCALE  multiplies every deadline (valgrind, a loaded machine)
"""

import atexit
import itertools
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("EBB_BUILD", os.path.join(REPO, "build")))
DEPS = os.path.abspath(os.environ.get("EBB_DEPS", os.path.join(REPO, "build", "deps")))
SCALE = float(os.environ.get("EBB_TIME_SCALE", "1"))

SERVICE_PORTS = (8000, 9999)        # below what the kernel gives to clients
GIVEN_PORTS = set()
PASSIVE_PORTS = (10000, 32000)      # for FTP data: wide, TIME_WAIT eats them


class Missing(Exception):
    """Something that `make setup-test` installs is not here."""

    def __init__(self, what):
        super().__init__(f"{what} is missing: run `make setup-test`")


class Late(AssertionError):
    """A deadline passed."""


def scaled(seconds):
    return seconds * SCALE


def wait_until(predicate, deadline=60, what=None, ignoring=(), every=0.02):
    """Calls predicate until it returns something true, and returns that.

    deadline is in seconds, before scaling: generous, since it matters on failure
    alone, and machines are loaded.  Exceptions of the types in
    `ignoring` count as "not yet"; the last of them is shown when time is up.
    """
    end = time.monotonic() + scaled(deadline)
    last = None
    while True:
        try:
            value = predicate()
            if value:
                return value
            last = value
        except ignoring as err:
            last = err
        if time.monotonic() >= end:
            name = what or getattr(predicate, "__name__", "predicate")
            raise Late(f"not within {scaled(deadline):g} s: {name} (last: {last!r})")
        time.sleep(every)


def need_program(name, path=None):
    """The path of a program; Missing when it is not there."""
    found = shutil.which(name, path=path or os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Missing(name)
    return found


def free_port():
    """A TCP port of 127.0.0.1 on which nothing listens at this moment; another one each time."""
    for _ in range(200):
        port = random.SystemRandom().randint(*SERVICE_PORTS)
        if port in GIVEN_PORTS:
            continue
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            GIVEN_PORTS.add(port)
            return port
    raise OSError("no free port between %d and %d" % SERVICE_PORTS)


def port_open(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def tail(path, lines=40):
    """The last lines of a log, indented, for an error message."""
    try:
        with open(path, errors="backslashreplace") as file:
            text = file.read()[-65536:].splitlines()[-lines:]
    except OSError as err:
        return f"    (no log: {err})"
    return "\n".join("    " + line for line in text) or "    (empty)"


# --- the base directory and the guard -----------------------------------------

class Base:
    """The directory everything is in, and the guard that watches over it."""

    def __init__(self):
        parent = os.path.realpath(os.environ.get("EBB_TMP", "/var/tmp"))
        self.path = tempfile.mkdtemp(prefix="ebb-", dir=parent)
        os.chmod(self.path, 0o711)
        self.owner = os.getpid()
        self.numbers = itertools.count(1)
        guard = os.path.join(os.path.dirname(__file__), "guard.py")
        self.guard = subprocess.Popen([sys.executable, guard, self.path], text=True,
                                      stdin=subprocess.PIPE, start_new_session=True)

    def tell(self, line):
        if self.owner != os.getpid():
            return
        try:
            self.guard.stdin.write(line + "\n")
            self.guard.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def close(self):
        """The guard cleans up what is left, which should be nothing."""
        if self.owner == os.getpid() and not self.guard.stdin.closed:
            self.guard.stdin.close()
            self.guard.wait()


_base = None


def base():
    global _base
    if _base is None or _base.owner != os.getpid():
        _base = Base()
        atexit.register(_base.close)
    return _base


def close_base():
    if _base is not None:
        _base.close()


def tempdir(name="t"):
    """A new directory below the base, mode 0711.

    Its path is short, 32 bytes or so: sockets are made below it (107 bytes at
    most), and pjdfstest makes them with long names (47 bytes are left to us).
    """
    one = base()
    prefix = re.sub(r"[^A-Za-z0-9_]+", "-", name.removeprefix("test_"))[:6]
    path = os.path.join(one.path, f"{prefix}-{next(one.numbers)}")
    os.mkdir(path)
    os.chmod(path, 0o711)
    return path


def remove(path):
    """Removes a tree, never crossing into something that is still mounted."""
    if os.environ.get("EBB_KEEP"):
        return
    inside = mounts_below(path)
    if inside:
        raise AssertionError(f"still mounted, not removing {path}: {inside}")
    shutil.rmtree(path, ignore_errors=True)


def mounts_below(path):
    """Mount points at or below path, the deepest first.

    path has no links in it, and is not touched: its mount may hang.
    """
    found = []
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4])
            if point == path or point.startswith(path + "/"):
                found.append(point)
    return found[::-1]


# --- processes ----------------------------------------------------------------

def wait_traced(pid):
    """Until a tracer has all threads of a process."""
    def is_traced(task):
        with open(f"/proc/{pid}/task/{task}/status", errors="replace") as file:
            return "TracerPid:\t0\n" not in file.read()
    wait_until(lambda: all(map(is_traced, os.listdir(f"/proc/{pid}/task"))), 30,
               f"a tracer of process {pid}", ignoring=(OSError,))


def group_members(pgid):
    """Living processes of a process group; zombies do not count."""
    members = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", errors="replace") as file:
                state, _, group = file.read().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(group) == pgid and state not in "ZX":
            members.append(int(name))
    return members


def status_text(returncode):
    """A subprocess return code in words."""
    if returncode is not None and returncode < 0:
        try:
            return "killed by " + signal.Signals(-returncode).name
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exit status {returncode}"


class Process:
    """A program in a process group of its own, with its output in a log.

    Ends for certain: stop() asks the leader, then kills the whole group and
    waits until no member is left.
    """

    def __init__(self, argv, log, env=None, cwd=None, unset=()):
        self.argv = [os.fspath(arg) for arg in argv]
        self.log = log
        environ = {k: v for k, v in os.environ.items() if k not in unset}
        environ.update(env or {})
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=subprocess.STDOUT, env=environ, cwd=cwd,
                                          start_new_session=True)
        self.pid = self.popen.pid
        self.pidfd = os.pidfd_open(self.pid)
        base().tell(f"+{self.pid}")

    def running(self):
        return self.popen.poll() is None

    def send(self, number):
        if self.running():
            self.popen.send_signal(number)

    def wait(self, deadline=60):
        """The return code once it has ended; Late otherwise."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(scaled(deadline) * 1000):
            raise Late(f"{self.argv[0]} (process {self.pid}) did not end within "
                       f"{scaled(deadline):g} s")
        return self.popen.wait()

    def kill(self):
        """SIGKILL to the whole group; returns when nothing of it lives."""
        def gone():
            if self.popen.poll() is None or group_members(self.pid):
                try:
                    os.killpg(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                return False
            return True
        if self.pidfd is not None:
            wait_until(gone, 30, f"end of process group {self.pid} ({self.argv[0]})")
            os.close(self.pidfd)
            self.pidfd = None
            base().tell(f"-{self.pid}")
        return self.popen.returncode

    def stop(self, deadline=20, number=signal.SIGTERM):
        """Asks the leader to end, then makes sure.  Returns its return code."""
        if self.running():
            self.send(number)
            try:
                self.wait(deadline)
            except Late:
                pass
        return self.kill()

    def wait_ready(self, predicate, deadline, what):
        """wait_until(predicate), but gives up as soon as the process ended."""
        def check():
            if not self.running():
                return "ended"
            return predicate() and "ready"
        try:
            state = wait_until(check, deadline, what, ignoring=(OSError,))
        except Late as err:
            raise Late(f"{err}\n  {' '.join(self.argv)}\n{tail(self.log)}") from None
        if state == "ended":
            raise AssertionError(f"{what}: {status_text(self.popen.returncode)}\n"
                                 f"  {' '.join(self.argv)}\n{tail(self.log)}")


def run(*argv, check=True, deadline=120, env=None, **more):
    """subprocess.run with text output; a failure shows what it printed."""
    environ = {**os.environ, **env} if env else None
    argv = [os.fspath(arg) for arg in argv]
    done = subprocess.run(argv, text=True, errors="surrogateescape", env=environ,
                          capture_output=True, timeout=scaled(deadline), check=False,
                          **({"stdin": subprocess.DEVNULL} if "input" not in more else {}),
                          **more)
    if check and done.returncode:
        raise AssertionError(f"{status_text(done.returncode)}: {' '.join(argv)}\n"
                             f"{done.stdout}{done.stderr}")
    return done
