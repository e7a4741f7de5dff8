# SPDX-License-Identifier: MIT
"""The phases of bench/together, and one line of figures for each minute of them.

    prepare     a few hours are written, archived and released: what is always cold
    before      the upload alone, at full speed; nothing is due
    together    upload at a pace that can be kept up for ever, archiving, release, cold reading, tar,
                retention
    burst       the same with an upload at full speed
    after       the upload alone again, at full speed

The daemon is started anew where that changes `archive_after`, which is what makes the reaper idle.
At full speed a cache fills whatever archives it: those phases end when a third of the room is left.
Each begins with a full page cache.  A virtual machine gives free memory back to its host, and
whoever writes a page of it first pays for that: up to ten times the time of the write, so an upload
into free memory is not to be compared with one that finds none.
"""

import collections
import json
import os
import subprocess
import threading
import time

from pylib import proc

from systems import cpu_s

STREAM = os.path.join(proc.BUILD, "bench", "stream")
LEFT = 1 / 3        # of the room, at which an upload at full speed ends
ROOM_BYTES = 3 << 30     # at which a run ends
KEPT = 2            # hours that are never removed
IDLE = {"archive_after": "1h", "release_after": "24h"}
BUSY = {"archive_after": "2s", "release_after": "3s"}
WRITING = ("mkdir", "create", "write", "close")
OTHERS = ("open", "read", "unlink", "rmdir")


class Stream:
    """bench/stream.c: told what to do by lines, answers with lines."""

    def __init__(self, directory, args):
        os.makedirs(directory)
        self.directory, self.files, self.cameras = directory, args.files, args.cameras
        self.hour_bytes = args.files * args.cameras * sum(args.sizes) // len(args.sizes)
        self.popen = subprocess.Popen(
            [STREAM, directory, str(args.cameras), str(args.files),
             ",".join(map(str, args.sizes))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.slow = []
        self.ear = threading.Thread(target=self.listen, daemon=True)
        self.ear.start()

    def listen(self):
        self.slow += (line.strip() for line in self.popen.stderr)

    def tell(self, *words):
        self.popen.stdin.write(" ".join(map(str, words)) + "\n")
        self.popen.stdin.flush()

    def report(self):
        self.tell("report")
        line = self.popen.stdout.readline()
        if not line:
            raise AssertionError(f"stream ended: {proc.status_text(self.popen.wait())}: "
                                 f"{self.slow[-3:]}")
        return json.loads(line)

    def path(self, camera, number):
        return os.path.join(self.directory, f"{camera:03}", f"{number // self.files:05}",
                            f"{number:07}.dat")

    def hour(self, camera, hour):
        return os.path.dirname(self.path(camera, hour * self.files))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.stdin.close()
        code = self.popen.wait(30)
        self.ear.join(5)
        assert code == 0, f"stream: {proc.status_text(code)}: {self.slow[-3:]}"


class Tar(threading.Thread):
    """Reads one cold hour of a camera after the other, as who copies them."""

    def __init__(self, run, stream):
        super().__init__(daemon=True)
        self.run_, self.stream, self.ended = run, stream, threading.Event()
        self.hours, self.bytes, self.cpu_s, self.range = 0, 0, 0.0, (KEPT, KEPT)

    def run(self):
        number, due = 0, time.monotonic()
        while not self.ended.wait(max(0, due - time.monotonic())):
            due = max(due, time.monotonic() - 1) + self.run_.args.tar_every
            low, high = self.range
            kept = list(range(KEPT)) + list(range(low, high))
            hour = kept[number // self.stream.cameras % len(kept)]
            path = self.stream.hour(number % self.stream.cameras, hour)
            number += 1
            with subprocess.Popen(["tar", "cf", "-", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, cwd="/") as popen:
                while chunk := popen.stdout.read(1 << 20):
                    self.bytes += len(chunk)
                said = popen.stderr.read()
                _, status, usage = os.wait4(popen.pid, 0)
                popen.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s += usage.ru_utime + usage.ru_stime
            self.hours += 1
            removed = KEPT <= hour < self.run_.removed_to   # while it was read
            if popen.returncode and not removed:
                self.run_.complaints.append(f"tar {path}: {popen.returncode}: {said[-300:]!r}")


def page_cache_bytes():
    with open("/proc/meminfo", encoding="ascii") as file:
        found = dict(line.split(":") for line in file)
    return int(found["Cached"].split()[0]) << 10


def memory(pid):
    """Resident bytes: all, those that are the daemon's own, and of the catalogue's mapping."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        found = dict(line.split(":", 1) for line in file if ":" in line)
    return {name: int(found[key].split()[0]) << 10 for name, key in
            (("rss_bytes", "VmRSS"), ("anon_bytes", "RssAnon"), ("peak_bytes", "VmHWM"))}


class Run:
    def __init__(self, args, mount, ceph):
        self.args, self.mount, self.ceph = args, mount, ceph
        self.lines, self.complaints, self.slow, self.last = [], [], [], None
        self.began, self.tar = time.monotonic(), None
        self.low = self.removed_to = self.cold_to = KEPT     # hours, but for those that are kept
        self.room = None

    # --- phases ---

    def everything(self, stream):
        self.prepare(stream)
        self.room = self.free_bytes()
        self.phase("before", self.args.alone, stream, 0)
        self.remove_all(stream)
        self.mount.restart(**BUSY)
        self.tar = Tar(self, stream)
        self.tar.start()
        stream.tell("readers", self.args.readers, self.args.reads)
        self.phase("together", self.args.minutes, stream, self.args.rate)
        if self.args.burst:
            self.phase("burst", self.args.burst, stream, 0)
        stream.tell("readers", 0, 0)
        self.tar.ended.set()
        self.tar.join(300)
        self.tar = None
        self.remove_all(stream)
        self.mount.restart(**IDLE)
        proc.wait_until(lambda: not self.mount.status()["trash"]["files"], 1200, "an empty trash",
                        every=0.2)
        self.phase("after", self.args.alone, stream, 0)
        found = stream.report()
        if found["errors"]:
            self.complaints.append(f"{found['errors']} requests failed; the first: {found['error']}")
        self.slow = list(stream.slow)

    def prepare(self, stream):
        self.say("writing what is to be cold")
        stream.tell("writers", self.args.writers, 0)
        proc.wait_until(lambda: stream.report()["hours"] >= KEPT, 600, "cold hours", every=0.2)
        stream.tell("writers", 0, 0)
        self.mount.restart(**BUSY)
        self.mount.ctl("drain", deadline=1200, check=True)
        stream.tell("cold", KEPT, 0, 0)
        self.mount.restart(**IDLE)

    def remove_all(self, stream):
        """Of what was uploaded alone.  Nobody removes afterwards: the mount is not in use."""
        self.removed_to = self.cold_to = max(self.removed_to, self.next_hours(stream))
        stream.tell("remove", self.low, self.removed_to)
        proc.wait_until(lambda: self.removed_to == self.low or
                        stream.report()["removed"] >= self.removed_to, 1200,
                        "hours removed that were uploaded alone", every=0.2)

    def fill_page_cache(self):
        """With the zeros of a file without blocks, which are the first pages to go."""
        path = os.path.join(os.path.dirname(self.mount.cache), "zeros")
        with open(path, "wb") as file:
            file.truncate(int(self.args.page_cache * 1e9))
        with open(path, "rb", buffering=0) as file:
            chunk = bytearray(1 << 20)
            while file.readinto(chunk):
                pass
        # Kept until the next time: its pages would be free with it.

    def phase(self, name, minutes, stream, rate):
        if rate == 0:
            self.fill_page_cache()
        self.say(f"{name}, {minutes:g} minutes, "
                 + (f"{rate} files/s" if rate else "at full speed"))
        stream.tell("writers", self.args.writers, rate)
        self.line(name, stream, first=True)
        end = time.monotonic() + minutes * 60
        due, full = time.monotonic(), False
        every = min(self.args.every, minutes * 60)
        while due < end - every / 2 and not full:
            due += every
            while not full and (left := due - time.monotonic()) > 0:
                time.sleep(min(left, 0.5))
                self.retention(stream)
                full = self.is_full(rate)
            self.line(name, stream)
        stream.tell("writers", 0, 0)

    # --- retention ---

    def free_bytes(self):
        room = os.statvfs(self.mount.cache)
        return room.f_bavail * room.f_frsize

    def is_full(self, rate):
        """Objects that are not dropped as fast as hours are removed must not fill the machine."""
        free = self.free_bytes()
        assert free > ROOM_BYTES, "the medium is nearly full"
        return rate == 0 and free < LEFT * self.room

    def retention(self, stream):
        """Which hours are cold, and which of those are too old for the room there is."""
        hours = min(self.next_hours(stream), 1 << 30)
        most = max(2, min(int(self.args.room * 1e9 / stream.hour_bytes),
                          self.args.most // (stream.files * stream.cameras)))
        while self.tar and self.cold_to < hours and self.is_cold(stream, self.cold_to):
            self.cold_to += 1
        self.removed_to = max(self.removed_to, self.cold_to - most)
        stream.tell("cold", KEPT, self.removed_to, self.cold_to)
        stream.tell("remove", self.low, self.removed_to)
        if self.tar:
            self.tar.range = (self.removed_to, self.cold_to)

    @staticmethod
    def next_hours(stream):
        """Hours that all cameras are through with."""
        def newest(camera):
            names = os.listdir(os.path.join(stream.directory, f"{camera:03}"))
            return max(map(int, names), default=0)
        return min(newest(camera) for camera in range(stream.cameras))

    def is_cold(self, stream, hour):
        ends = [stream.path(camera, number) for camera in (0, stream.cameras - 1)
                for number in (hour * stream.files, (hour + 1) * stream.files - 1)]
        return not any(os.path.lexists(self.local(path)) for path in ends)

    def local(self, path):
        return os.path.join(self.mount.cache, os.path.relpath(path, self.mount.path))

    # --- figures ---

    def snapshot(self, stream):
        found, status = stream.report(), self.mount.status()
        cpu = {"daemon": cpu_s(self.mount.process.pid), **found["cpu_s"],
               "tar": self.tar.cpu_s if self.tar else 0.0}
        for name, process in (self.ceph.daemons if self.ceph else {}).items():
            cpu[name] = cpu_s(process.pid)
        return {"at": time.monotonic(), "stream": found, "status": status, "cpu": cpu,
                "tar_bytes": self.tar.bytes if self.tar else 0}

    def line(self, phase, stream, first=False):
        now, before = self.snapshot(stream), self.last
        self.last = now
        if first:
            return
        seconds = now["at"] - before["at"]

        def rate(get):
            return (get(now) - get(before)) / seconds
        kinds, status = now["stream"]["kinds"], now["status"]
        requests = {kind: kinds[kind] for kind in WRITING + OTHERS}
        line = {"phase": phase, "at_s": now["at"] - self.began, "seconds": seconds,
                "files_s": kinds["file"]["n"] / seconds,
                "mb_s": rate(lambda s: s["stream"]["written_bytes"]) / 1e6,
                "archived_s": rate(lambda s: s["status"]["since_start"]["archived"]),
                "released_s": rate(lambda s: s["status"]["since_start"]["released"]),
                "put_mb_s": rate(lambda s: s["status"]["store"]["bytes_put"]) / 1e6,
                "cold_s": kinds["cold"]["n"] / seconds,
                "cold_p99_ms": kinds["cold"]["p99_us"] / 1e3,
                "tar_mb_s": rate(lambda s: s["tar_bytes"]) / 1e6,
                "removed_s": kinds["unlink"]["n"] / seconds,
                "longest_ms": max(k["max_us"] for k in requests.values()) / 1e3,
                "longest": max(requests, key=lambda k: requests[k]["max_us"]),
                "requests": {kind: {"p99_ms": k["p99_us"] / 1e3, "max_ms": k["max_us"] / 1e3}
                             for kind, k in requests.items()},
                "late_ms": kinds["sleep"]["max_us"] / 1e3,
                "file_p99_ms": kinds["file"]["p99_us"] / 1e3,
                "errors": now["stream"]["errors"], "refused": status["fuse"]["parked"]["refused"],
                "backlog_s": status["oldest_unarchived_s"],
                "backlog_files": status["local"]["files"],
                "trash_files": status["trash"]["files"],
                "store_free_bytes": status["store"]["free_bytes"],
                "store_errors": status["store"]["errors"] + status["store"]["timeouts"],
                "descriptors": len(os.listdir(f"/proc/{self.mount.process.pid}/fd")),
                "page_cache_bytes": page_cache_bytes(), **memory(self.mount.process.pid),
                "meta_bytes": sum(entry.stat().st_size for entry in
                                  os.scandir(os.path.dirname(self.mount.meta))),
                "cpu": {name: (now["cpu"][name] - before["cpu"].get(name, 0)) / seconds
                        for name in now["cpu"]}}
        self.lines.append(line)
        self.show(line)

    def show(self, line):
        cpu = " ".join(f"{name} {share:.2f}" for name, share in line["cpu"].items() if share > .005)
        self.say(f"{line['files_s']:6.0f} files/s in, {line['archived_s']:6.0f}/s archived, "
                 f"{line['cold_s']:5.0f}/s cold (p99 {line['cold_p99_ms']:.0f} ms), tar "
                 f"{line['tar_mb_s']:.0f} MB/s, {line['removed_s']:5.0f}/s removed; file p99 "
                 f"{line['file_p99_ms']:.1f} ms, longest {line['longest']} "
                 f"{line['longest_ms']:.0f} ms (who only sleeps {line['late_ms']:.0f}); rss {line['rss_bytes'] >> 20} anon "
                 f"{line['anon_bytes'] >> 20} MiB, {line['descriptors']} fds, backlog "
                 f"{line['backlog_files']} files {line['backlog_s']} s, trash "
                 f"{line['trash_files']}, cache {line['page_cache_bytes'] >> 20} MiB; cpu {cpu}")

    def say(self, text):
        print(f"together: {time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def phases(self):
        """Of each: seconds, means of the rates and of the CPUs, the longest requests."""
        found = collections.OrderedDict()
        for name in dict.fromkeys(line["phase"] for line in self.lines):
            mine = [line for line in self.lines if line["phase"] == name]
            seconds = sum(line["seconds"] for line in mine)
            mean = {key: sum(line[key] * line["seconds"] for line in mine) / seconds
                    for key in mine[0] if key.endswith(("files_s", "mb_s", "archived_s", "cold_s",
                                                        "released_s", "removed_s"))}
            found[name] = {
                "seconds": seconds, **mean,
                "cpu": {who: sum(line["cpu"].get(who, 0) * line["seconds"] for line in mine) / seconds
                        for who in {w: 0 for line in mine for w in line["cpu"]}},
                "late_ms": max(line["late_ms"] for line in mine),
                "longest_ms": {kind: max(line["requests"][kind]["max_ms"] for line in mine)
                               for kind in WRITING + OTHERS},
                "p99_ms": {kind: max(line["requests"][kind]["p99_ms"] for line in mine)
                           for kind in WRITING + OTHERS}}
        return found
