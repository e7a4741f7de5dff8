# SPDX-License-Identifier: MIT
"""One ebbfs mount: its directories, its daemon, its ebbctl.

    m = Mount(options={"archive_after": "1s"})
    m.start()
    m.write("cam/a.jpg", b"...")
    m.archive("cam/a.jpg")
    assert m.state("cam/a.jpg") == "archived"
    m.kill()                    # SIGKILL, dead mount taken away
    m.start()                   # again on the same directories
    m.close()                   # always: unmounts, looks through the log

Tests get one from the fixture `mount`, which closes it.  The daemon runs in
the foreground (-f) and says by sd_notify when it is ready; it is given
EBB_FAILPOINTS when `failpoints` is set.  Everything lies in m.dir:

    m.path   mount point         m.cache  cache (m.path itself with in_place)
    m.meta   catalogue           m.store  directory of a dir: store
    m.log    output of the daemon, of all its runs

Paths given to methods are relative to the mount point.
"""

import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import time

from . import disk, proc, tree

# What a log must not hold unless the test expects it (Mount.expect_log).
SUSPICIOUS = re.compile(
    r"^ebbfs: error: |\bERROR\b|\bFATAL\b|\bPANIC\b|\bBUG\b|^<[0-3]>|[Aa]ssertion|"
    r"Sanitizer|runtime error:|double free|corrupted (size|double|top)|stack smashing|"
    r"lock order|terminate called|Segmentation fault", re.M)

UNJUDGED_S = 2.5    # a mount waits three seconds for its store, and begins without it
STATES = ("writing", "local", "archived", "released")

mounts = []         # all that are open, for the watchdog and for emergencies


def escaped(word):
    """A word of -o as people write it: a backslash has one more only where it needs that."""
    return re.sub(r",|\\(?=[,\\]|\Z)", lambda found: "\\" + found[0], word)


class StartError(AssertionError):
    """The daemon ended, or was not ready in time; .output is what it said."""

    def __init__(self, text, returncode, output):
        super().__init__(text)
        self.returncode, self.output = returncode, output


class CtlError(AssertionError):
    """ebbctl failed; .done is its CompletedProcess."""

    def __init__(self, done):
        super().__init__(f"{proc.status_text(done.returncode)}: {' '.join(done.args)}\n"
                         f"{done.stdout}{done.stderr}")
        self.done = done


class Mount:
    """See above.  Arguments:

    store       "dir" (m.store), or any URL of DESIGN.md: "mem:", "rados:pool?conf=..."
    options     {name: value} for -o; True gives the bare name, None leaves it out
    cache_fs    "disk", or "tmpfs", "ext4", "xfs": a file system of its own for
                the cache (m.disk; `disk_mib` is its size)
    in_place    the cache is the mount point
    failpoints  "name=action,name=action" or a dict of the same
    env         more environment for the daemon
    wrapper     argv put before the daemon's, such as ["valgrind", "-q"]
    build       where ebbfs and ebbctl are, if not $EBB_BUILD
    """

    busy_deadline = 60      # how long stop() puts up with "target is busy"

    def __init__(self, store="dir", options=None, *, es=None, cache_fs="disk", disk_mib=512,
                 in_place=False, failpoints=None, env=None, wrapper=(), build=None, name="m"):
        self.dir = proc.tempdir(name)
        self.disk = None
        self.build = build or proc.BUILD
        self.path = os.path.join(self.dir, "mnt")
        self.store = os.path.join(self.dir, "store")
        self.meta = os.path.join(self.dir, "meta", "catalogue.db")
        self.log = os.path.join(self.dir, "log")
        self.options = dict(options or {})
        self.failpoints = failpoints
        self.env = dict(env or {})
        self.wrapper = list(wrapper)
        self.cwd = "/"                  # where the daemon is started
        self.process = None             # proc.Process of a foreground daemon
        self.daemon_pid = None          # of a background one
        self.runs = 0
        self.expected_log = []
        self.statuses = []              # STATUS= lines of sd_notify
        for path in (self.store, os.path.dirname(self.meta)):
            os.mkdir(path)
        os.mkdir(self.path)
        if cache_fs == "disk":
            self.cache = self.path if in_place else os.path.join(self.dir, "cache")
        else:
            self.disk = disk.Disk(cache_fs, self.dir, disk_mib)
            self.cache = os.path.join(self.disk.path, "tree")
            if in_place:
                os.rmdir(self.path)
                self.path = self.cache
        os.makedirs(self.cache, exist_ok=True)
        self.store_url = "dir:" + self.store if store == "dir" else store
        if es:
            self.options["es"] = es
        mounts.append(self)

    # --- the daemon -----------------------------------------------------------

    def argv(self, *more):
        """The daemon's command line as it would be started now."""
        pairs = {"cache": self.cache, "meta": self.meta, "store": self.store_url, **self.options}
        texts = [name if value is True else escaped(f"{name}={value}")
                 for name, value in pairs.items() if value is not None]
        return [*self.wrapper, self.program("ebbfs"), self.path, "-o", ",".join(texts), *more]

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.access(path, os.X_OK):
            raise AssertionError(f"{path} is not there: run `make` (or set EBB_BUILD)")
        return path

    def environment(self):
        env = {"EBB_TEST_MOUNT": self.dir, "ASAN_OPTIONS": os.environ.get(
            "ASAN_OPTIONS", "abort_on_error=0:detect_leaks=1:strict_string_checks=1"),
               "UBSAN_OPTIONS": os.environ.get("UBSAN_OPTIONS", "print_stacktrace=1"),
               "TSAN_OPTIONS": os.environ.get("TSAN_OPTIONS", "second_deadlock_stack=1"),
               **self.env}
        points = self.failpoints
        if points:
            if isinstance(points, dict):
                points = ",".join(f"{name}={action}" for name, action in points.items())
            env["EBB_FAILPOINTS"] = points
        return env

    def start(self, deadline=90, **options):
        """Starts the daemon and returns when it is ready; StartError otherwise.

        Keyword arguments change m.options for good.
        """
        assert not self.running(), "already running"
        assert not self.process, "the last daemon ended: call wait_exit() or kill() first"
        self.options.update(options)
        self.runs += 1
        address = f"ebb-{secrets.token_hex(8)}"
        begun = time.monotonic()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind("\0" + address)
            self._note(f"--- run {self.runs}: {' '.join(self.argv('-f'))}")
            offset = os.path.getsize(self.log)
            self.process = proc.Process(
                self.argv("-f"), self.log, cwd=self.cwd,
                env={**self.environment(), "NOTIFY_SOCKET": "@" + address})
            ready = self._wait_notify(notify, deadline)
        if not ready:
            late = self.process.running()
            stacks = self.stacks() if late else ""
            code = self.process.kill()
            self.process = None
            self.unmount_lazily()
            with open(self.log, errors="backslashreplace") as file:
                file.seek(offset)
                output = file.read()
            why = f"not ready within {proc.scaled(deadline):g} s" if late else \
                proc.status_text(code)
            raise StartError(f"ebbfs did not start: {why}\n  {' '.join(self.argv('-f'))}\n"
                             f"{proc.tail(self.log)}\n{stacks}", None if late else code, output)
        assert self.mounted(), f"READY=1 without a mount on {self.path}"
        if time.monotonic() - begun > UNJUDGED_S:
            self._wait_verdict()
        return self

    def _wait_verdict(self):
        """A store that is there is known to be this mount's, as it is where it is not slow."""
        def known():
            if not self.running():
                return True
            status = self.status()
            store = status["store"]
            return store["volume_ok"] or status["readonly"] or \
                (store["error"] and "not connected yet" not in store["error"])
        proc.wait_until(known, 60, "a store that is known", ignoring=(CtlError,))

    def _note(self, text):
        with open(self.log, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text + "\n")

    def _wait_notify(self, notify, deadline):
        """True at READY=1; False when the daemon ended or time is up."""
        poll = select.poll()
        poll.register(notify, select.POLLIN)
        poll.register(self.process.pidfd, select.POLLIN)
        end = time.monotonic() + proc.scaled(deadline)
        while (left := end - time.monotonic()) > 0:
            events = dict(poll.poll(left * 1000))
            if notify.fileno() in events:
                for line in notify.recv(8192).decode(errors="replace").splitlines():
                    if line == "READY=1":
                        return True
                    if line.startswith("STATUS="):
                        self.statuses.append(line[7:])
            elif events:
                return False
        return False

    def start_fails(self, deadline=90, **options):
        """For bad input: expects the daemon to end by itself, with an exit
        status other than 0 and without leaving a mount.  Returns its output."""
        try:
            self.start(deadline, **options)
        except StartError as err:
            return self.failed_by_itself(err)
        raise AssertionError("ebbfs started, and should not have")

    def failed_by_itself(self, err):
        assert err.returncode is not None, str(err)
        assert err.returncode > 0, str(err)
        assert not self.mounted(), "a mount was left behind"
        return err.output

    def start_refused(self):
        """start_fails() where it is the store that does not belong: a mount waits for it three
        seconds, begins without it, and turns read-only when it is known; then once more."""
        for _ in range(5):
            try:
                self.start()
            except StartError as err:
                return self.failed_by_itself(err)
            self.expect_log("it is read-only now")
            proc.wait_until(lambda: self.status()["readonly"], 60, "a mount that is read-only")
            self.stop()
        raise AssertionError("ebbfs started, and should not have")

    def start_background(self, deadline=90):
        """As a user does, without -f: returns when the command has returned."""
        self.runs += 1
        self._note(f"--- run {self.runs}: {' '.join(self.argv())}")
        with open(self.log, "ab") as log:
            code = subprocess.run(self.argv(), stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, check=False, timeout=proc.scaled(deadline),
                                  cwd=self.cwd, env={**os.environ, **self.environment()}).returncode
        if code:
            raise StartError(f"ebbfs did not start: {proc.status_text(code)}\n"
                             f"{proc.tail(self.log)}", code, "")
        assert self.mounted(), f"exit status 0 without a mount on {self.path}"
        pids = self.processes()
        assert pids, "exit status 0 and no daemon"
        self.daemon_pid = pids[0]
        proc.base().tell(f"+{os.getpgid(self.daemon_pid)}")
        return self

    def processes(self):
        """Living processes that were started for this mount."""
        mark = f"EBB_TEST_MOUNT={self.dir}".encode()
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                pass
        return found

    @property
    def pid(self):
        """Of the daemon (with a wrapper: of the wrapper)."""
        return self.process.pid if self.process else self.daemon_pid

    def running(self):
        if self.process:
            return self.process.running()
        return self.daemon_pid is not None and self.daemon_pid in self.processes()

    def mounted(self):
        return self.path in proc.mounts_below(self.path)

    def stop(self, deadline=60):
        """Unmounts, and waits for the daemon to end, within the deadline, with exit status 0."""
        def umount():
            done = proc.run("umount", self.path, check=False)
            if done.returncode and "busy" not in done.stderr:
                raise AssertionError(f"umount: {done.stderr}")
            return done.returncode == 0
        try:
            proc.wait_until(umount, self.busy_deadline, f"umount {self.path} (busy)")
        except BaseException:
            self.kill()
            raise
        self.wait_exit(deadline, want=0)

    def terminate(self, deadline=60):
        """SIGTERM, after which the daemon must unmount and end with status 0."""
        os.kill(self.pid, signal.SIGTERM)
        self.wait_exit(deadline, want=0)
        assert not self.mounted(), "SIGTERM left the mount"

    def wait_exit(self, deadline=60, want=None):
        """Waits until the daemon has ended by itself; its return code.

        For failpoints that end it.  A dead mount is taken away.
        """
        code = None
        try:
            if self.process:
                code = self.process.wait(deadline)
            else:
                proc.wait_until(lambda: not self.processes(), deadline, "end of the daemon")
        except proc.Late as err:
            raise proc.Late(f"{err}\n{self.stacks()}\n{proc.tail(self.log)}") from None
        finally:
            self.kill()
        if want is not None and code not in (want, None):
            raise AssertionError(f"ebbfs: {proc.status_text(code)}, not {want}\n"
                                 f"{proc.tail(self.log)}")
        return code

    def kill(self, umount=True):
        """SIGKILL at this instant; umount=False leaves the dead mount."""
        if self.process:
            self.process.kill()
            self.process = None
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        proc.wait_until(lambda: not self.processes(), 60, "end of a killed daemon")
        self.daemon_pid = None
        if umount:
            self.unmount_lazily()

    def unmount_lazily(self):
        if self.mounted():
            proc.run("umount", "-l", self.path)

    def restart(self, kill=False, **options):
        """stop() or kill(), then start() on the same directories."""
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start(**options)

    def stacks(self):
        """What the daemon's threads are doing, for the message of a hang."""
        lines = []
        for pid in self.processes():
            done = None
            if os.access("/usr/bin/gdb", os.X_OK):
                try:
                    done = proc.run("gdb", "-p", str(pid), "-batch", "-nx", "-ex",
                                    "thread apply all bt 12", check=False, deadline=30)
                except subprocess.TimeoutExpired:
                    pass
            lines.append(f"process {pid}:")
            if done and done.stdout:
                lines += ["    " + line for line in done.stdout.splitlines()
                          if line.startswith(("Thread", "#"))]
                continue
            for task in os.listdir(f"/proc/{pid}/task"):
                for what in ("comm", "wchan", "syscall"):
                    try:
                        with open(f"/proc/{pid}/task/{task}/{what}") as file:
                            lines.append(f"    {task} {what}: {file.read().strip()}")
                    except OSError:
                        pass
        return "\n".join(lines)

    # --- ebbctl ---------------------------------------------------------------

    def ctl(self, *args, check=False, deadline=120, **more):
        """Runs ebbctl -m MOUNT ARGS; a CompletedProcess with text output."""
        argv = [self.program("ebbctl"), "-m", self.path, *args]
        done = proc.run(*argv, check=False, deadline=deadline, **more)
        if done.returncode < 0 or SUSPICIOUS.search(done.stderr or ""):
            raise CtlError(done)
        if check and done.returncode:
            raise CtlError(done)
        return done

    def status(self):
        """`ebbctl status --json`, parsed."""
        return json.loads(self.ctl("status", "--json", check=True).stdout)

    def state(self, path):
        """The state of one file, one of STATES."""
        text = self.ctl("state", self.full(path), check=True).stdout
        state, tab, _ = text.partition("\t")
        assert tab and state in STATES, f"ebbctl state {path!r}: {text!r}"
        return state

    def states(self, *paths):
        """{path: state} of many files at once (no newlines in names)."""
        lines = self.ctl("state", *map(self.full, paths), check=True).stdout.splitlines()
        assert len(lines) == len(paths), lines
        return {path: line.partition("\t")[0] for path, line in zip(paths, lines)}

    def info(self, path):
        """`ebbctl state --json` of one file: size, crc, object, url."""
        found = json.loads(self.ctl("state", "--json", self.full(path), check=True).stdout)
        return found[0] if isinstance(found, list) else found

    def archive(self, *paths):
        self._archive_or_release("archive", paths)

    def release(self, *paths):
        self._archive_or_release("release", paths)

    def _archive_or_release(self, what, paths):
        """Again while the kernel has not told yet that one of them was closed."""
        def done():
            found = self.ctl(what, *(map(self.full, paths) if paths else ["--all"]))
            if found.returncode and not re.search("it is (being written|open)", found.stderr):
                raise CtlError(found)
            return found.returncode == 0
        proc.wait_until(done, 60, f"{what} {paths}")

    def restore(self, *paths):
        self.ctl("restore", *(map(self.full, paths) if paths else ["--all"]), check=True)

    def rest(self, *paths):
        """Files of less than a second are archived another time, and so in another pack."""
        paths = [self.local(path) for path in paths]
        proc.wait_until(lambda: time.time() - max(os.stat(p).st_ctime for p in paths) > 1.2, 30,
                        "files at rest")

    def drain(self, deadline=120):
        self.ctl("drain", check=True, deadline=deadline)

    def locate(self, name):
        """[(state, path, url)]; empty when unknown."""
        done = self.ctl("locate", name)
        if done.returncode not in (0, 1):
            raise CtlError(done)
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]

    def wait_state(self, path, state, deadline=90):
        proc.wait_until(lambda: self.state(path) == state, deadline, f"{path!r} {state}",
                        every=0.05)

    # --- files ----------------------------------------------------------------

    def full(self, path):
        return os.path.join(self.path, path)

    def local(self, path):
        """The path in the cache (only where the cache is a tree of its own)."""
        return os.path.join(self.cache, path)

    def write(self, path, data, mode="wb", mkdirs=True):
        if mkdirs:
            os.makedirs(os.path.dirname(self.full(path)), exist_ok=True)
        with open(self.full(path), mode) as file:
            file.write(data)

    def read(self, path):
        with open(self.full(path), "rb") as file:
            return file.read()

    def snapshot(self, **more):
        return tree.snapshot(self.path, **more)

    # --- the log --------------------------------------------------------------

    def log_text(self):
        with open(self.log, errors="backslashreplace") as file:
            return file.read()

    def wait_log(self, pattern, deadline=90):
        """Waits until the log holds the regular expression; the match."""
        return proc.wait_until(lambda: re.search(pattern, self.log_text(), re.M), deadline,
                               f"'{pattern}' in the log")

    def expect_log(self, *patterns):
        """Lines that match one of these are not suspicious in this test."""
        self.expected_log += [re.compile(p) for p in patterns]

    def suspicious_lines(self):
        """And what a sanitizer has to say: all of it, not only where it begins."""
        found, report = [], False
        for line in self.log_text().splitlines():
            suspicious = SUSPICIOUS.search(line) and not line.startswith("--- run ") and \
                not any(p.search(line) for p in self.expected_log)
            report = report and not re.match("=+$", line)
            if report or suspicious:
                found.append(line)
            report = report or suspicious and re.search("Sanitizer: ", line)
        return found

    def close(self):
        """Unmounts whatever happened; then complains about all that was not right."""
        if self not in mounts:
            return
        mounts.remove(self)
        complaints = []
        try:
            if self.running() and self.mounted():
                self.stop()
            elif self.running():
                complaints.append("the daemon was running and not mounted\n" + self.stacks())
            elif self.process:
                complaints.append("the daemon had ended unasked: "
                                  + proc.status_text(self.process.popen.returncode))
        except Exception as err:    # pylint: disable=broad-except
            complaints.append(str(err))
        finally:
            self.kill()
            if self.disk:
                try:
                    self.disk.close()
                except AssertionError as err:
                    complaints.append(str(err))
        if os.path.exists(self.log):
            complaints += [f"in the log: {line}" for line in self.suspicious_lines()]
        tail = proc.tail(self.log) if complaints else ""
        proc.remove(self.dir)
        if complaints:
            raise AssertionError("\n".join(complaints) + "\nend of the log:\n" + tail)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()



def break_all():
    """For the watchdog: ends every daemon, so that nobody waits in a mount.

    Returns what they were doing.
    """
    text = []
    for mount in list(mounts):
        text.append(f"{mount.path}:\n{mount.stacks()}\n{proc.tail(mount.log)}")
        for pid in mount.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return "\n".join(text)
