# SPDX-License-Identifier: MIT
"""What meets what: changes of names that wait for one another, changes the kernel has
cached another truth of, and a power cut after fsync.
"""

import os
import random
import threading

from pylib import linux, proc

NAMES = 8       # of the top: half of them files, half directories of released files
BELOW = 4


def exchange(top, rng, rounds):
    for _ in range(rounds):
        a, b = rng.sample(range(NAMES), 2)
        linux.renameat2(f"{top}/{a}", f"{top}/{b}", linux.RENAME_EXCHANGE)


def write_below(top, rng, rounds):
    for _ in range(rounds):
        path = f"{top}/{rng.randrange(NAMES)}"
        try:
            if rng.random() < 0.7:
                path += f"/{rng.randrange(BELOW)}"
            with open(path, "r+b") as file:
                file.write(b"again")
        except (NotADirectoryError, IsADirectoryError):
            pass        # it changed its place


def test_exchange_of_files_and_directories(mount):
    """A restore has a file's claim and wants its directory's, an exchange wants both."""
    m = mount(options={"archive_after": "1s", "release_after": "0s"})
    top = m.full("top")
    for n in range(NAMES):
        for below in range(BELOW) if n % 2 else ("",):
            m.write(f"top/{n}/{below}".rstrip("/"), b"bytes of %d" % n)
    for seed in range(4):
        m.archive()
        m.release()
        proc.wait_until(lambda: not any(os.path.isdir(m.local(f"top/{n}")) for n in range(NAMES)),
                        60, "directories released")
        rng = [random.Random(100 * seed + i) for i in range(12)]
        threads = [threading.Thread(target=exchange if i % 2 else write_below,
                                    args=(top, rng[i], 60), daemon=True) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(proc.scaled(60))
            assert not thread.is_alive(), "stuck:\n" + m.stacks()
    kinds = [os.path.isdir(f"{top}/{n}") for n in range(NAMES)]
    assert kinds.count(True) == NAMES // 2
