# SPDX-License-Identifier: MIT
"""pjdfstest and fsx, as tests/servers/setup built them.

Compare with the native file system's own results: what fails on the mount and
not there is ours.  On a machine without a cargo they count as skipped.
"""

import os
import re

import pytest

from . import disk, proc

BIN = os.path.join(proc.DEPS, "cargo", "bin")

# naptime: a clock that is advanced by a CPU which waits for its host stands still for a while.
NAPS_S = (0.05, 1)      # what fails with the first is asked again with the other
CONFIG = """\
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = %g
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"], ["bin", "bin"]]
"""


def program(name):
    """Its path; skips the test where there is no cargo to have built it."""
    path = os.path.join(BIN, name)
    if not os.access(path, os.X_OK):
        try:
            with open(os.path.join(proc.DEPS, "cargo", "WHY_NOT"), encoding="utf-8") as file:
                why = file.read().strip()
        except OSError:
            raise proc.Missing(name) from None
        pytest.skip(f"{name} {why}")
    return path


def pjdfstest(path, work, *patterns, deadline=600):
    """Runs it in `path`; {test: "ok", "FAILED" or "skipped"}.

    work is a directory for its configuration and for the second file system
    that it wants (EXDEV, EROFS).  The full output is in work/pjdfstest.log.
    """
    config = os.path.join(work, "pjdfstest.toml")
    os.chmod(path, 0o755)
    results = {}
    with disk.Disk("ext4", work, size_mib=64) as second:
        os.chmod(second.path, 0o755)
        for nap_s in NAPS_S:
            with open(config, "w", encoding="ascii") as file:
                file.write(CONFIG % nap_s)
            done = proc.run(program("pjdfstest"), "-v", "-c", config, "-p", path, "-s", second.path,
                            *patterns, check=False, deadline=deadline, cwd=work)
            with open(os.path.join(work, "pjdfstest.log"), "a", encoding="utf-8") as file:
                file.write(done.stdout + done.stderr)
            found = dict(re.findall(r"^(\S+::\S+)\s+(\w+)$", done.stdout, re.M))
            assert found, f"pjdfstest ran nothing:\n{done.stdout}{done.stderr}"
            results.update((name, word if word in ("ok", "skipped") else "FAILED")
                           for name, word in found.items())
            patterns = [name for name, word in results.items() if word == "FAILED"]
            if not patterns:
                break
    return results


def fsx(path, seed, operations=5000, work=None, config=None, deadline=300):
    """Runs fsx on the file `path`; fails with the command that repeats it."""
    args = ["-q", "-N", str(operations), "-S", str(seed), "-P", work or os.path.dirname(path)]
    if config:
        args += ["-f", config]
    done = proc.run(program("fsx"), *args, path, check=False, deadline=deadline)
    assert done.returncode == 0, (f"fsx: {proc.status_text(done.returncode)}; to repeat: "
                                  f"{' '.join(done.args)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
