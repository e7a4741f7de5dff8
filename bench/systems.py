# SPDX-License-Identifier: MIT
"""What is compared: each system shows one directory at another path.

    system = Ebbfs(source, work)        source: the directory with the files; work: for the rest
    system.start(); system.path; system.cpu_s(); system.stop()

All are started by the same means, ended for certain, and given the options their manuals advise
for speed; `how` says which, for the report.  A system that is not installed has `missing()`.
"""

import os
import resource
import shutil
import time

from pylib import ebb, proc

DESCRIPTORS = 1 << 20       # wished for; passthrough_hp holds one for every file the kernel knows


def descriptors():
    """Most open files a process may have here; the limit is raised as far as we may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (DESCRIPTORS, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return limit
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def cpu_s(pid):
    """CPU seconds of all threads of a process so far, to the nanosecond."""
    try:
        return time.clock_gettime(~pid << 3 | 2)      # clock_getcpuclockid(3)
    except OSError:
        return 0.0


def memory(pid):
    """{"rss_bytes", "peak_bytes"} of a process."""
    names = {"VmRSS": "rss_bytes", "VmHWM": "peak_bytes"}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        pairs = [line.split() for line in file]
    return {names[p[0][:-1]]: int(p[1]) << 10 for p in pairs if p[0][:-1] in names}


class System:
    """The native directory, and what the others share."""

    name, how, program = "native", "the directory itself", None
    slow = False                # is given less to do
    files_max = None            # most files that it can serve at a time
    complaints = ()

    def __init__(self, source, work):
        self.source, self.work = source, work
        self.path = source

    @classmethod
    def missing(cls):
        return None if cls.program is None or shutil.which(cls.program) else cls.program

    def start(self):
        return self

    def stop(self):
        pass

    def pid(self):
        return None

    def cpu_s(self):
        return cpu_s(self.pid()) if self.pid() else 0.0

    def memory(self):
        return memory(self.pid()) if self.pid() else {}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Foreign(System):
    """Somebody else's FUSE file system: argv() runs it in the foreground."""

    def __init__(self, source, work):
        super().__init__(source, work)
        self.path = os.path.join(work, "mnt")
        self.process = None

    def argv(self):
        raise NotImplementedError

    def start(self):
        os.makedirs(self.path, exist_ok=True)
        self.process = proc.Process(self.argv(), os.path.join(self.work, "log"), cwd="/")
        self.process.wait_ready(lambda: os.path.ismount(self.path), 20, f"mount of {self.name}")
        return self

    def stop(self):
        if self.process is None:
            return
        if proc.run("umount", self.path, check=False).returncode:
            proc.run("umount", "-l", self.path, check=False)
        try:
            self.process.wait(20)
        except proc.Late:
            pass
        self.process.stop()
        self.process = None

    def pid(self):
        return self.process.pid


class Passthrough(Foreign):
    name = "passthrough_hp, io_uring"
    how = "libfuse's example, passthrough, -o io_uring,io_uring_q_depth=32"
    program = os.path.join(proc.REPO, "build", "bench", "passthrough_hp")
    more = ["-o", "allow_other,io_uring,io_uring_q_depth=32"]
    files_max = max(1000, descriptors() - 2000)

    def argv(self):
        return [self.program, "--foreground", *self.more, self.source, self.path]


class PassthroughDev(Passthrough):
    name = "passthrough_hp, /dev/fuse"
    how = "the same without -o io_uring"
    more = ["-o", "allow_other"]


class Mergerfs(Foreign):
    name = "mergerfs"
    options = ("allow_other,use_ino,cache.files=auto-full,cache.readdir=true,cache.attr=3600,"
               "cache.entry=3600,cache.symlinks=true,security_capability=false,xattr=nosys,"
               "category.create=ff")
    how = f"one branch, -o {options}"
    program = "mergerfs"

    def argv(self):
        return [self.program, "-f", "-o", self.options, self.source, self.path]


class Rclone(Foreign):
    name = "rclone"
    options = ["--vfs-cache-mode", "full", "--vfs-write-back", "1h", "--dir-cache-time", "1h",
               "--attr-timeout", "1h", "--allow-other"]
    how = f"rclone mount of a local remote, {' '.join(options)}"
    program = "rclone"
    slow = True

    def argv(self):
        return [self.program, "mount", self.source, self.path, *self.options, "--config",
                os.devnull, "--cache-dir", os.path.join(self.work, "cache")]


class Ebbfs(System):
    """The daemon as a site runs it; nothing is archived unless asked for."""

    name = "ebbfs"
    io_uring = "auto"
    how = "default options, archive_after=1h; cache, catalogue and store on the same medium"

    def __init__(self, source, work, store="dir"):
        super().__init__(source, work)
        self.mount = ebb.Mount(store=store, name="bench", options={
            "archive_after": "1h", "io_uring": self.io_uring, "new_cache": "yes"})
        self.mount.cache = source
        self.mount.meta = os.path.join(work, "meta", "catalogue.db")
        if store == "dir":
            self.mount.store_url = "dir:" + os.path.join(work, "store")
        for name in ("meta", "store"):
            os.makedirs(os.path.join(work, name), exist_ok=True)
        self.path = self.mount.path
        self.complaints = []

    @classmethod
    def missing(cls):
        path = os.path.join(proc.BUILD, "ebbfs")
        return None if os.access(path, os.X_OK) else path

    def start(self):
        self.mount.start()
        self.settle()
        return self

    def settle(self):
        """Returns when the look at what is in the cache, which follows each start, is over."""
        proc.wait_until(lambda: not self.mount.status()["scanning"], 120, "end of the scan")

    def stop(self):
        """Unmounts; start() may follow."""
        if self.mount.running():
            self.mount.stop()

    def remount(self):
        self.stop()
        self.start()

    def close(self):
        try:
            self.mount.close()
        except AssertionError as err:
            self.complaints.append(str(err))

    def pid(self):
        return self.mount.process.pid if self.mount.process else None

    def __exit__(self, *_):
        self.close()


class EbbfsDev(Ebbfs):
    name = "ebbfs, /dev/fuse"
    io_uring = "no"
    how = "the same with io_uring=no"


ALL = [System, Ebbfs, Passthrough, EbbfsDev, PassthroughDev, Mergerfs, Rclone]
