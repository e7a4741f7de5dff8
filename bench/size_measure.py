# SPDX-License-Identifier: MIT
"""One round on a large catalogue: mount, look names up, locate, ls, find, unmount.

Cold: the catalogue's pages were dropped, and the kernel's names and inodes.  Warm: the same names
once more, with the names dropped and the pages there.  A lookup is the stat of a
name in a directory that is known already: one request.  The disk's pages are what the kernel says
it fetched for the daemon.
"""

import json
import os
import re
import socket
import statistics
import threading
import time

from pylib import proc

PAGE = 4096
WARM_UP = 10            # lookups in a directory until its inner pages are there
MIB = 1 << 20


def run(catalogue, args):
    mount = catalogue.mount()
    found = {}
    try:
        for state in ("cold", "warm"):
            if state == "cold":
                drop_pages(catalogue, args)
            began = time.monotonic()
            mount.start()
            found[f"mount_{state}_ms"] = (time.monotonic() - began) * 1e3
            if state == "cold":
                mount.stop()
        daemon = Daemon(mount)
        found["mount_rss_mib"] = daemon.field("VmRSS") / MIB
        lookups(found, mount, daemon, catalogue, args)
        locates(found, mount, catalogue, args)
        if catalogue.flat:
            listing(found, mount, daemon, catalogue, args)
        find(found, mount, daemon, catalogue, args)
        began = time.monotonic()
        mount.stop(deadline=600)
        found["umount_s"] = time.monotonic() - began
    finally:
        mount.close()
    return found


class Daemon:
    def __init__(self, mount):
        self.pid = mount.processes()[0]

    def field(self, name):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.M)[1]) * 1024

    def begin_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def pages_read(self):
        with open(f"/proc/{self.pid}/io", encoding="ascii") as file:
            return int(re.search(r"^read_bytes: (\d+)", file.read(), re.M)[1]) // PAGE


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def put(found, name, times_ns):
    for share in (50, 99):
        found[f"{name}_p{share}_us"] = percentile(times_ns, share / 100) / 1e3


def drop_pages(catalogue, args):
    """The catalogue's alone: those of the whole machine may take minutes."""
    if args.keep_caches:
        return
    fd = os.open(catalogue.meta, os.O_RDONLY)
    os.fdatasync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def drop_names(args):
    if args.keep_caches:
        return
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("2")


# ---- lookups --------------------------------------------------------------------------------


def look(mount, path, daemon=None):
    """(ns, pages from the disk) of one lookup in a directory that is known."""
    directory, name = os.path.split(path)
    fd = os.open(mount.full(directory), os.O_PATH | os.O_DIRECTORY)
    before = daemon.pages_read() if daemon else 0
    began = time.perf_counter_ns()
    os.stat(name, dir_fd=fd, follow_symlinks=False)
    spent = time.perf_counter_ns() - began
    os.close(fd)
    return spent, daemon.pages_read() - before if daemon else 0


def lookups(found, mount, daemon, catalogue, args):
    paths = catalogue.samples(args.lookups, 1)
    used = catalogue.directories(20, WARM_UP + 30, 2)
    drop_pages(catalogue, args)
    drop_names(args)
    cold = [look(mount, path, daemon) for path in paths]
    put(found, "lookup_cold", [ns for ns, _ in cold])
    found["lookup_cold_reads"] = statistics.mean(pages for _, pages in cold)
    found["lookup_cold_reads_p99"] = percentile([pages for _, pages in cold], 0.99)
    drop_pages(catalogue, args)
    drop_names(args)
    pages = [[look(mount, path, daemon)[1] for path in names][WARM_UP:] for names in used]
    pages = [n for some in pages for n in some]
    found["lookup_used_reads"] = statistics.mean(pages)
    found["lookup_used_reads_p99"] = percentile(pages, 0.99)
    for path in paths:      # what is dropped between the passes are names, not pages
        look(mount, path)
    drop_names(args)
    put(found, "lookup_warm", [look(mount, path)[0] for path in paths])


# ---- locate ---------------------------------------------------------------------------------


def locate(address, name):
    """ns of the daemon's answer, from connecting on."""
    request = json.dumps({"op": "locate", "name": name}).encode() + b"\n"
    began = time.perf_counter_ns()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        sock.sendall(request)
        text = b""
        while b'"done"' not in text:
            more = sock.recv(65536)
            assert more, text
            text += more
    spent = time.perf_counter_ns() - began
    assert b'"released"' in text, text
    return spent


def locates(found, mount, catalogue, args):
    device = os.stat(mount.path).st_dev
    address = f"/run/ebbfs/{os.major(device)}-{os.minor(device)}.sock"
    names = [os.path.basename(path) for path in catalogue.samples(args.lookups, 2)]
    drop_pages(catalogue, args)
    drop_names(args)
    put(found, "locate_cold", [locate(address, name) for name in names])
    put(found, "locate_warm", [locate(address, name) for name in names])
    whole = []
    for name in names[:50]:
        began = time.monotonic()
        assert mount.ctl("locate", name).returncode == 0
        whole.append(time.monotonic() - began)
    found["ebbctl_locate_p50_ms"] = statistics.median(whole) * 1e3


# ---- listings -------------------------------------------------------------------------------


def listing(found, mount, daemon, catalogue, args):
    drop_pages(catalogue, args)
    drop_names(args)
    daemon.begin_peak()
    before = daemon.field("VmRSS")
    began = time.monotonic()
    with os.scandir(mount.full("flat")) as entries:
        next(entries)
        found["ls_first_ms"] = (time.monotonic() - began) * 1e3
        names = 1 + sum(1 for _ in entries)
    found["ls_names_s"] = names / (time.monotonic() - began)
    found["ls_grown_mib"] = (daemon.field("VmHWM") - before) / MIB


class Inodes(threading.Thread):
    """How many inodes the daemon has, every tenth of a second: the most."""

    def __init__(self, mount):
        super().__init__(daemon=True)
        self.mount, self.most, self.end = mount, 0, threading.Event()

    def run(self):
        while not self.end.wait(0.2):
            self.most = max(self.most, self.mount.status()["fuse"].get("inodes", 0))


def find(found, mount, daemon, catalogue, args):
    drop_names(args)
    daemon.begin_peak()
    cameras = sorted(name for name in os.listdir(mount.path) if name != "flat")
    share = max(1, min(len(cameras), round(len(cameras) * args.walk / catalogue.paths)))
    watch = Inodes(mount)
    watch.start()
    began = time.monotonic()
    done = proc.run("find", *(mount.full(name) for name in cameras[:share]), "-type", "f",
                    "-printf", ".", deadline=7200)
    spent = time.monotonic() - began
    watch.end.set()
    watch.join()
    found["find_names"] = len(done.stdout)
    found["find_names_s"] = len(done.stdout) / spent
    found["find_peak_mib"] = daemon.field("VmHWM") / MIB
    found["find_inodes_peak"] = watch.most
