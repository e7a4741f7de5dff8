# SPDX-License-Identifier: MIT
"""Cleans up after a test runner, however it ended.

usage: guard.py BASE, with a pipe from the runner as standard input.

"+PGID" and "-PGID" lines say which process groups exist.  When the pipe
closes, because the runner is done or was killed, what is left goes: process
groups, mounts below BASE, BASE itself.  The guard is in a session of its own
so that an interrupt at the terminal does not reach it.
"""

import os
import shutil
import signal
import subprocess
import sys


def main():
    from proc import group_members, mounts_below
    path = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        if group_members(group):
            print(f"guard: killing process group {group}", file=sys.stderr)
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass
    for _ in range(20):
        points = mounts_below(path)
        if not points:
            break
        for point in points:
            print(f"guard: unmounting {point}", file=sys.stderr)
            subprocess.run(["umount", "-l", point], check=False)
    if not mounts_below(path) and not os.environ.get("EBB_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main()
