# SPDX-License-Identifier: MIT
"""The state table, exhaustively: every state of a file x every operation.

Each operation is done on the mount, on a file in each state, and on a plain
directory; result (or errno) and what can be seen afterwards must be the same, at
once, after kill -9 and a new start, and after everything was archived and released.
"""

import errno
import mmap
import os
import stat

import pytest

from pylib import linux, promises

STATES = ["local", "writing", "changed", "archived", "released"]
SIZE = 9000
OPTIONS = {"archive_after": "1h", "release_after": "1h"}


def content(name):
    seed = name.encode() * (SIZE // len(name) + 1)
    return seed[:SIZE]


def prepare(m, d, names):
    """{state: {name: path}}: files `names` in each state; the ones being written stay open."""
    held = []
    for state in STATES:
        for name in names:
            m.write(f"{d}/{state}/{name}", content(name))
            os.chmod(m.full(f"{d}/{state}/{name}"), 0o640)
    todo = [m.full(f"{d}/{s}/{n}") for s in ("changed", "archived", "released") for n in names]
    m.ctl("archive", *todo, check=True)
    m.ctl("release", *[p for p in todo if "/released/" in p], check=True)
    for name in names:
        with open(m.local(f"{d}/changed/{name}"), "r+b") as file:   # behind ebbfs's back
            file.write(content(name))
        held.append(open(m.full(f"{d}/writing/{name}"), "r+b"))
    for state in STATES:
        want = {"changed": "local"}.get(state, state)
        for name in names:
            assert m.state(f"{d}/{state}/{name}") == want, (state, name)
    return held


def prepare_plain(root, names):
    for state in STATES:
        os.makedirs(f"{root}/{state}")
        for name in names:
            with open(f"{root}/{state}/{name}", "wb") as file:
                file.write(content(name))
            os.chmod(f"{root}/{state}/{name}", 0o640)


# --- operations: op(dir) on file "a", with "b" beside it; what they return is compared

def op_read(d):
    with open(f"{d}/a", "rb") as f:
        f.seek(4090)
        part = f.read(20)
        f.seek(0)
        return part, f.read()


def op_stat(d):
    st = os.stat(f"{d}/a")
    return st.st_size, stat.S_IMODE(st.st_mode), st.st_nlink, st.st_uid, st.st_gid


def op_chmod(d):
    os.chmod(f"{d}/a", 0o604)
    return op_stat(d)


def op_chown(d):
    os.chown(f"{d}/a", 1234, 4321)
    return op_stat(d)


def op_utimens(d):
    os.utime(f"{d}/a", ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))
    return os.stat(f"{d}/a").st_mtime_ns, os.stat(f"{d}/a").st_atime_ns


def op_truncate_to_nothing(d):
    os.truncate(f"{d}/a", 0)


def op_truncate_shorter(d):
    os.truncate(f"{d}/a", 5000)


def op_truncate_longer(d):
    os.truncate(f"{d}/a", 12345)


def op_append(d):
    with open(f"{d}/a", "ab") as f:
        f.write(b"tail")
        return f.tell()


def op_overwrite(d):
    with open(f"{d}/a", "r+b") as f:
        f.seek(100)
        f.write(b"0123456789")
        f.seek(95)
        return f.read(20)


def op_rewrite(d):
    with open(f"{d}/a", "wb") as f:
        f.write(b"new")


def op_open_for_writing_and_close(d):
    os.close(os.open(f"{d}/a", os.O_WRONLY))


def op_write_while_read(d):
    with open(f"{d}/a", "rb") as r, open(f"{d}/a", "r+b") as w:
        before = r.read(10)
        w.write(b"ABCDEFGHIJKLMN")
        w.flush()
        r.seek(0)
        return before, r.read(20)


def op_create_exclusive(d):
    os.close(os.open(f"{d}/a", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def op_unlink(d):
    os.unlink(f"{d}/a")


def op_unlink_while_open(d):
    with open(f"{d}/a", "rb") as f:
        os.unlink(f"{d}/a")
        st = os.fstat(f.fileno())
        return f.read(), st.st_nlink, st.st_size


def op_unlink_while_written(d):
    with open(f"{d}/a", "r+b") as f:
        os.unlink(f"{d}/a")
        f.write(b"gone")
        f.flush()
        os.fsync(f.fileno())
        os.fchmod(f.fileno(), 0o600)
        f.seek(0)
        return f.read(8), os.fstat(f.fileno()).st_nlink


def op_unlink_and_create(d):
    os.unlink(f"{d}/a")
    with open(f"{d}/a", "xb") as f:
        f.write(b"another")


def op_rename(d):
    os.rename(f"{d}/a", f"{d}/c")


def op_rename_over(d):
    os.rename(f"{d}/a", f"{d}/b")


def op_rename_to_another_directory(d):
    os.mkdir(f"{d}/sub")
    os.rename(f"{d}/a", f"{d}/sub/a")


def op_rename_noreplace(d):
    linux.renameat2(f"{d}/a", f"{d}/b", 1)


def op_rename_noreplace_free(d):
    linux.renameat2(f"{d}/a", f"{d}/c", 1)


def op_exchange(d):
    linux.renameat2(f"{d}/a", f"{d}/b", 2)


def op_exchange_with_local(d):
    with open(f"{d}/l", "wb") as f:
        f.write(b"local")
    linux.renameat2(f"{d}/a", f"{d}/l", 2)


def op_rename_local_over(d):
    with open(f"{d}/l", "wb") as f:
        f.write(b"local")
    os.rename(f"{d}/l", f"{d}/a")


def op_rename_while_open(d):
    with open(f"{d}/a", "rb") as f:
        os.rename(f"{d}/a", f"{d}/b")
        return f.read(10), os.fstat(f.fileno()).st_nlink


def op_link(d):
    os.link(f"{d}/a", f"{d}/c")
    return os.stat(f"{d}/a").st_nlink, os.stat(f"{d}/a").st_ino == os.stat(f"{d}/c").st_ino


def op_link_and_write(d):
    os.link(f"{d}/a", f"{d}/c")
    with open(f"{d}/c", "r+b") as f:
        f.write(b"both")
    with open(f"{d}/a", "rb") as f:
        return f.read(8)


def op_symlink_to(d):
    os.symlink("a", f"{d}/s")
    with open(f"{d}/s", "rb") as f:
        return f.read(5), os.readlink(f"{d}/s")


def op_mmap(d):
    with open(f"{d}/a", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mem:
        return mem[:10], mem[-10:]


def op_mmap_write(d):
    with open(f"{d}/a", "r+b") as f, mmap.mmap(f.fileno(), 0) as mem:
        mem[10:14] = b"mmap"
        mem.flush()
    with open(f"{d}/a", "rb") as f:
        return f.read(20)


def op_sendfile(d):
    with open(f"{d}/a", "rb") as f, open(f"{d}/c", "wb") as g:
        return os.sendfile(g.fileno(), f.fileno(), 0, SIZE)


def op_copy_file_range(d):
    with open(f"{d}/a", "rb") as f, open(f"{d}/c", "wb") as g:
        done = 0
        while done < SIZE:
            done += os.copy_file_range(f.fileno(), g.fileno(), SIZE - done)
        return done


def op_seek_hole(d):
    with open(f"{d}/a", "rb") as f:
        return f.seek(0, os.SEEK_DATA), f.seek(0, os.SEEK_HOLE)


def op_fallocate(d):
    with open(f"{d}/a", "r+b") as f:
        os.posix_fallocate(f.fileno(), 0, 20000)
    return os.stat(f"{d}/a").st_size


def op_lock(d):
    import fcntl
    with open(f"{d}/a", "r+b") as f, open(f"{d}/a", "rb") as g:
        fcntl.flock(f, fcntl.LOCK_EX)
        fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)


def op_rmdir_full(d):
    os.rmdir(d)


def op_unlink_all_and_rmdir(d):
    for name in os.listdir(d):
        os.unlink(f"{d}/{name}")
    os.rmdir(d)


def op_rename_directory(d):
    os.rename(d, d + "-moved")
    os.mkdir(d)
    with open(f"{d}/a", "wb") as f:
        f.write(b"in the new one")


def op_rename_directory_over_full(d):
    os.mkdir(f"{d}-x")
    os.rename(f"{d}-x", d)


def op_list(d):
    return sorted(os.listdir(d)), sorted((e.name, e.is_file()) for e in os.scandir(d))


def op_mkdir_over(d):
    os.mkdir(f"{d}/a")


def op_open_as_directory(d):
    os.open(f"{d}/a", os.O_RDONLY | os.O_DIRECTORY)


def op_below_a_file(d):
    os.stat(f"{d}/a/x")


OPERATIONS = [(name[3:], fn) for name, fn in sorted(globals().items()) if name.startswith("op_")]


def run(fn, directory):
    try:
        return "ok", fn(directory)
    except OSError as err:
        return "failed", errno.errorcode[err.errno]


def plain_tree(root):
    found = {}
    for base, _, files in os.walk(root):
        for name in files:
            full = os.path.join(base, name)
            with open(full, "rb") as file:
                st = os.lstat(full)
                found[os.path.relpath(full, root)] = (file.read(), stat.S_IMODE(st.st_mode),
                                                      st.st_uid, st.st_gid, st.st_nlink)
    return found


@pytest.mark.parametrize("name,fn", OPERATIONS, ids=[n for n, _ in OPERATIONS])
def test_every_state(mount, tmpdir_below, name, fn):
    m = mount(options=OPTIONS)
    prepare_plain(f"{tmpdir_below}/plain", ["a", "b"])
    held = prepare(m, "d", ["a", "b"])
    for state in STATES:
        want = run(fn, f"{tmpdir_below}/plain/{state}")
        have = run(fn, m.full(f"d/{state}"))
        assert have == want, f"{name} of a file that is {state}"
    for file in held:
        file.close()
    want = plain_tree(f"{tmpdir_below}/plain")
    assert plain_tree(m.full("d")) == want
    m.restart(kill=True)
    assert plain_tree(m.full("d")) == want
    m.drain()
    assert plain_tree(m.full("d")) == want
    m.ctl("verify", check=True)
    assert promises.tree_of(m) == {f"d/{p}": v[0] for p, v in want.items()}


def test_numbers_stay(mount):
    """Inode numbers and times are the same when archived, released, restored, restarted."""
    m = mount(options=OPTIONS)
    m.write("d/a", b"x" * 5000)
    os.utime(m.full("d/a"), ns=(1_300_000_000_000_000_001, 1_200_000_000_000_000_002))
    seen = []

    def look():
        st, up = os.stat(m.full("d/a")), os.stat(m.full("d"))
        seen.append((st.st_ino, st.st_mtime_ns, st.st_ctime_ns, st.st_size, st.st_mode,
                     up.st_ino, up.st_mtime_ns, up.st_ctime_ns))

    look()
    m.archive("d/a")
    look()
    m.release("d/a")
    look()
    m.restart()
    look()
    m.restart(kill=True)
    look()
    m.restore("d/a")
    look()
    m.restart()
    look()
    assert len(set(seen)) == 1, seen
