# SPDX-License-Identifier: MIT
"""Where the demonstration lies, and how it is taken away: for demo/demo and demo/demo-stop.

Everything is below build/demo ($EBB_DEMO for another place): mnt, cache, store, meta, ftp.  What
runs there is found by what the kernel and /proc say, not by what a former run wrote down.
"""

import os
import shutil
import signal
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))
sys.dont_write_bytecode = True

from pylib import proc      # noqa: E402  (the path comes first)

HERE = os.path.realpath(os.environ.get("EBB_DEMO", os.path.join(TOP, "build", "demo")))
MNT, CACHE, STORE, META, FTP = (
    os.path.join(HERE, name) for name in ("mnt", "cache", "store", "meta", "ftp"))
CONF = os.path.join(FTP, "vsftpd.conf")
EBBFS, EBBCTL = (os.path.join(proc.BUILD, name) for name in ("ebbfs", "ebbctl"))


class Trouble(Exception):
    """A sentence for the user."""


def say(text="", **how):
    print(text, flush=True, **how)


def need_root(command):
    if os.geteuid() != 0:
        raise Trouble(f"only root can mount and unmount: {command}")


def short(path):
    """As one would type it in the tree."""
    near = os.path.relpath(path, TOP)
    return path if near.startswith("..") else near


def processes(program, *arguments):
    """Those whose command line begins like this; of the program the name counts."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
        except OSError:
            continue
        if words and os.path.basename(words[0]) == program and \
                words[1:len(arguments) + 1] == list(arguments):
            found.append(int(pid))
    return found


def daemons():
    return processes("ebbfs", MNT)


def servers():
    """vsftpd and its sessions."""
    return processes("vsftpd", CONF)


def mounted():
    return MNT in proc.mounts_below(MNT)


def users():
    """Processes whose working directory or open files are in the mount."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root"]
        try:
            links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            pass
        for link in links:
            try:
                if (os.readlink(link) + "/").startswith(MNT + "/"):
                    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                        found.append(f"{file.read().strip()} (process {pid})")
                    break
            except OSError:
                pass
    return found


def unmount():
    def gone():
        return not mounted() or subprocess.run(["umount", MNT], stderr=subprocess.DEVNULL,
                                               check=False).returncode == 0
    if not daemons():       # it was killed, what it left cannot be busy
        if mounted():
            subprocess.run(["umount", "-l", MNT], check=True)
        return
    try:
        proc.wait_until(gone, 60, "umount", every=0.1)
        proc.wait_until(lambda: not daemons(), 60, "the end of ebbfs")
    except proc.Late as err:
        inside = users()
        if inside:
            raise Trouble(f"{short(MNT)} is in use by {', '.join(inside)}: leave it, "
                          "and try again") from None
        raise Trouble(str(err)) from None


def stop():
    """True if there was anything to take away."""
    if not os.path.isdir(HERE) and not mounted():
        return False
    for pid in servers():
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    proc.wait_until(lambda: not servers(), 60, "the end of vsftpd")
    unmount()
    for path in (CACHE, STORE, META, FTP):
        shutil.rmtree(path, ignore_errors=True)
    for path in (MNT, HERE):
        if os.path.isdir(path):
            os.rmdir(path)
    return True
