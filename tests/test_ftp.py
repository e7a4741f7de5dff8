# SPDX-License-Identifier: MIT
"""Cameras and services as they really come: vsftpd, ProFTPD and Pure-FTPd write into the
mount and serve from it, while the reaper runs with ages of a second.
"""

import calendar
import io
import os
import random
import threading
import time

import pytest

from pylib import captures, promises

KINDS = ["vsftpd", "proftpd", "proftpd-hidden", "pure-ftpd"]
FAST = {"archive_after": "1s", "release_after": "1s", "trash_grace": "1h"}
UID = 2001


@pytest.fixture(params=KINDS)
def site(request, mount, ftp_server):
    """A mount that an FTP server serves; both are there for the test."""
    m = mount(options=FAST)
    os.chown(m.path, UID, UID)
    os.chmod(m.path, 0o755)
    return m, ftp_server(request.param, m.path, uid=UID, gid=UID)


def utc(stamp):
    """Seconds since 1970 of YYYYMMDDHHMMSS."""
    return calendar.timegm(time.strptime(stamp, "%Y%m%d%H%M%S"))


def released(m, *paths):
    """Waits until the reaper has released them by itself."""
    for path in paths:
        m.wait_state(path, "released", deadline=60)


def test_upload_archive_release_download(site):
    m, server = site
    files = [(path, data) for path, data in captures.files(seed=3, count=4)]
    with server.connect() as ftp:
        for path, data in files:
            ftp.makedirs(os.path.dirname(path))
            ftp.put(path, data)
    released(m, *[path for path, _ in files])
    assert not any(names for _, _, names in os.walk(m.cache)), "the buffer is not empty"
    with server.connect() as ftp:
        for path, data in files:
            assert ftp.get(path) == data
            assert ftp.size(path) == len(data)
            mtime = os.stat(m.full(path)).st_mtime
            assert abs(utc(ftp.mdtm(path)) - mtime) <= 1
            assert ftp.get(path, rest=100) == data[100:]
        directory = os.path.dirname(files[0][0])
        want = sorted(os.path.basename(p) for p, _ in files if os.path.dirname(p) == directory)
        assert ftp.names(directory) == want
        assert len(ftp.list(directory)) >= len(want)
    st = os.stat(m.full(files[0][0]))
    assert (st.st_uid, st.st_gid) == (UID, UID)


def test_change_what_is_released(site):
    m, server = site
    with server.connect() as ftp:
        ftp.makedirs("cam/d")
        for name in ("a", "b", "c", "e"):
            ftp.put(f"cam/d/{name}", name.encode() * 5000)
    released(m, *[f"cam/d/{n}" for n in ("a", "b", "c", "e")])
    want = {f"cam/d/{n}": n.encode() * 5000 for n in ("a", "b", "c", "e")}
    with server.connect() as ftp:
        ftp.append("cam/d/a", b"tail")
        want["cam/d/a"] += b"tail"
        ftp.rename("cam/d/b", "cam/d/b2")
        want["cam/d/b2"] = want.pop("cam/d/b")
        ftp.delete("cam/d/c")
        del want["cam/d/c"]
        ftp.put("cam/d/e", b"written anew")
        want["cam/d/e"] = b"written anew"
        ftp.set_mtime("cam/d/b2", "20200102030405")
        assert ftp.mdtm("cam/d/b2") == "20200102030405"
        ftp.mkd("cam/empty")
        ftp.rmd("cam/empty")
    promises.same(m, want, "after the session")
    promises.check(m, want, orphans=False)
    m.restart(kill=True)
    promises.same(m, want, "after kill -9")


def test_resume_a_cut_upload(site):
    m, server = site
    data = random.Random(5).randbytes(300_000)
    with server.connect() as ftp:
        ftp.makedirs("cam/d")
        ftp.cut("cam/d/x", data[:100_000])
    server.wait_idle()
    have = os.path.getsize(m.full("cam/d/x")) if os.path.exists(m.full("cam/d/x")) else 0
    assert have <= 100_000
    with server.connect() as ftp:
        if have == 0:
            ftp.put("cam/d/x", data)
        elif server.can_resume_stor:
            ftp.put("cam/d/x", data[have:], rest=have)
        else:
            ftp.append("cam/d/x", data[have:])
    assert m.read("cam/d/x") == data
    released(m, "cam/d/x")
    assert m.read("cam/d/x") == data


def test_many_clients_while_the_reaper_runs(site):
    m, server = site
    want, errors, lock = {}, [], threading.Lock()

    def camera(n):
        rng = random.Random(n)
        try:
            with server.connect() as ftp:
                ftp.makedirs(f"cam{n}/2026/11/22/10")
                for i in range(15):
                    path = f"cam{n}/2026/11/22/10/{i}_1.jpg"
                    data = rng.randbytes(rng.randrange(1000, 40_000))
                    ftp.put(path, data)
                    with lock:
                        want[path] = data
                    if i % 4 == 3:
                        old = f"cam{n}/2026/11/22/10/{rng.randrange(i)}_1.jpg"
                        back = io.BytesIO()
                        ftp.retrbinary(f"RETR {old}", back.write)
                        assert back.getvalue() == want[old], old
        except BaseException as err:    # pylint: disable=broad-except
            errors.append(err)

    threads = [threading.Thread(target=camera, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    promises.same(m, want, "after the uploads")
    released(m, *sorted(want)[:5])
    promises.check(m, want, orphans=False)
    assert promises.tree_of(m) == want


def test_temporary_names_are_not_archived(mount):
    m = mount(options=FAST)
    names = [".in.x.jpg.", ".pureftpd-upload.1234", "x.part", "x.tmp", ".x.jpg.filepart"]
    for name in names:
        m.write(f"cam/{name}", b"half")
    m.write("cam/whole", b"whole")
    released(m, "cam/whole")
    m.drain()
    assert m.states(*[f"cam/{n}" for n in names]) == {f"cam/{n}": "local" for n in names}
    os.rename(m.full("cam/.in.x.jpg."), m.full("cam/x.jpg"))
    released(m, "cam/x.jpg")
    assert m.read("cam/x.jpg") == b"half"
