# SPDX-License-Identifier: MIT
"""The servers that the other tests lean on do what those tests will ask.

Each is used here on a plain directory, without ebbfs: a failure of these is a
failure of the test bed.
"""

import concurrent.futures
import ftplib
import os

import pytest

from pylib import disk, ftp, posix, proc


@pytest.fixture(params=ftp.KINDS)
def server(request, ftp_server, tmpdir_below):
    root = os.path.join(tmpdir_below, "root")
    os.mkdir(root)
    os.chown(root, 2001, 2001)
    return ftp_server(request.param, root)


def blob(size, seed=1):
    return bytes((i * 131 + i // 7 + seed) & 0xFF for i in range(size))


def test_ftp_store_and_fetch(server):
    data = blob(300_000)
    with server.connect() as c:
        c.put("a.jpg", data)
        assert c.get("a.jpg") == data
        assert c.get("a.jpg", rest=299_990) == data[-10:]
        assert c.size("a.jpg") == len(data)
        c.put("a.jpg", data[:1000])
        assert c.get("a.jpg") == data[:1000]
    st = os.stat(os.path.join(server.root, "a.jpg"))
    assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (2001, 2001, 0o644)


def test_ftp_resume_and_append(server):
    data = blob(50_000)
    with server.connect() as c:
        c.put("r.jpg", data[:20_000])
        if server.can_resume_stor:
            c.put("r.jpg", data[20_000:], rest=20_000)
        else:
            with pytest.raises(ftplib.error_perm, match="501"):
                c.put("r.jpg", data[20_000:], rest=20_000)
            c.voidcmd("NOOP")
            c.append("r.jpg", data[20_000:])
        assert c.get("r.jpg") == data
        c.append("r.jpg", b"tail")
        assert c.get("r.jpg") == data + b"tail"


def test_ftp_names(server):
    with server.connect() as c:
        c.makedirs("cam/2017/12/15")
        c.makedirs("cam/2017/12/15")
        c.put("cam/2017/12/15/x.tmp", b"one")
        c.rename("cam/2017/12/15/x.tmp", "cam/2017/12/15/x.jpg")
        c.put("cam/2017/12/15/y.jpg", b"two")
        c.rename("cam/2017/12/15/y.jpg", "cam/2017/12/15/x.jpg")
        assert c.names("cam/2017/12/15") == ["x.jpg"]
        assert c.get("cam/2017/12/15/x.jpg") == b"two"
        assert any(line.endswith(" x.jpg") for line in c.list("cam/2017/12/15"))
        if server.has_mlsd:
            assert "x.jpg" in dict(c.mlsd("cam/2017/12/15"))
        with pytest.raises(ftplib.error_perm):
            c.rmd("cam/2017/12/15")
        c.delete("cam/2017/12/15/x.jpg")
        assert c.names("cam/2017/12/15") == []
        c.rmd("cam/2017/12/15")
        assert c.names("cam/2017") == ["12"]
        with pytest.raises(ftplib.error_perm):
            c.get("nothing")


def test_ftp_times(server):
    with server.connect() as c:
        c.put("t.jpg", b"x")
        c.set_mtime("t.jpg", "20171215155649")
        assert c.mdtm("t.jpg") == "20171215155649"
    assert os.stat(os.path.join(server.root, "t.jpg")).st_mtime == 1513353409


def test_ftp_wrong_password(server):
    with ftplib.FTP(timeout=30) as c:
        c.connect("127.0.0.1", server.port)
        with pytest.raises(ftplib.error_perm, match="530"):
            c.login(server.user, "wrong")


@pytest.mark.parametrize("vanish", [False, True], ids=["data-cut", "client-gone"])
def test_ftp_cut_upload(server, vanish):
    """What the recommended settings leave of an upload that was cut."""
    data = blob(200_000)
    with server.connect() as c:
        c.cut("cut.jpg", data, vanish=vanish)
    server.wait_idle()
    left = os.listdir(server.root)
    if server.kind == "vsftpd" and vanish:
        # Its session may die of the reply it cannot send before it removes
        # the file: delete_failed_uploads is no promise.
        assert left in ([], ["cut.jpg"])
    else:
        assert left == ([] if server.kind in ("vsftpd", "proftpd-hidden") else ["cut.jpg"])
    with server.connect() as c:
        assert c.put("cut.jpg", b"again").startswith("226")
        assert c.get("cut.jpg") == b"again"


def test_vsftpd_keeps_failed_uploads_unless_told(ftp_server, tmpdir_below):
    os.chown(tmpdir_below, 2001, 2001)
    server = ftp_server("vsftpd", tmpdir_below, settings={"delete_failed_uploads": "NO"})
    with server.connect() as c:
        assert c.cut("cut.jpg", blob(200_000)).startswith("426")
        assert c.size("cut.jpg") == 200_000


def test_ftp_many_clients(server):
    def client(n):
        with server.connect() as c:
            c.makedirs(f"cam{n}/2017")
            for i in range(20):
                data = blob(5000 + 13 * i, n)
                c.put(f"cam{n}/2017/{i}.jpg", data)
                assert c.get(f"cam{n}/2017/{i}.jpg") == data
            return len(c.names(f"cam{n}/2017"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client, range(8))) == [20] * 8


def test_ftp_nothing_left(server):
    client = server.connect()
    group = server.process.pid
    assert proc.group_members(group)
    server.stop()
    client.close()
    assert not proc.group_members(group)
    assert not proc.port_open(server.port)


# --- Ceph -----------------------------------------------------------------------

def test_ceph_objects(ceph):
    pool = ceph.create_pool()
    assert ceph.ls(pool) == []
    data = blob(300_000)
    ceph.put(pool, "cam/2017/a.jpg", data)
    ceph.put(pool, "b", b"", namespace="other")
    assert ceph.get(pool, "cam/2017/a.jpg") == data
    assert ceph.stat(pool, "cam/2017/a.jpg") == len(data)
    assert ceph.stat(pool, "nothing") is None
    assert (ceph.ls(pool), ceph.ls(pool, "other")) == (["cam/2017/a.jpg"], ["b"])
    ceph.rados(pool, "setxattr", "cam/2017/a.jpg", "size", "300000")
    assert ceph.xattrs(pool, "cam/2017/a.jpg") == {"size": b"300000"}
    ceph.rm(pool, "cam/2017/a.jpg")
    assert ceph.ls(pool) == []
    ceph.delete_pool(pool)
    assert ceph.rados(pool, "ls", check=False).returncode


def test_ceph_goes_and_comes_back(ceph):
    pool = ceph.create_pool()
    ceph.put(pool, "a", b"1")
    for kill in (False, True):
        ceph.stop_osd(kill=kill)
        assert ceph.running() == ["mgr", "mon"]
        ceph.start_osd()
        assert ceph.get(pool, "a") == b"1"
    ceph.kill()
    assert ceph.running() == []
    ceph.start()
    assert ceph.get(pool, "a") == b"1"
    ceph.pause()
    assert ceph.rados(pool, "--rados-osd-op-timeout", "1", "--client-mount-timeout", "1", "get",
                      "a", "-", check=False).returncode
    ceph.resume()
    proc.wait_until(lambda: ceph.get(pool, "a") == b"1", 60)
    ceph.delete_pool(pool)


def test_ceph_full(ceph):
    pool = ceph.create_pool()
    ceph.set_full(pool)
    put = ceph.rados(pool, "--rados-osd-op-timeout", "2", "put", "b", ceph.conf, check=False)
    assert put.returncode
    ceph.unset_full(pool)
    ceph.put(pool, "b", b"2")
    ceph.set_full()
    put = ceph.rados(pool, "--rados-osd-op-timeout", "2", "put", "b", ceph.conf, check=False)
    assert put.returncode
    ceph.unset_full()
    ceph.put(pool, "b", b"2")
    ceph.delete_pool(pool)


def test_ceph_clients(ceph):
    pool = ceph.create_pool()
    ceph.put(pool, "a", b"1")
    conf = ceph.add_client("reader", mon="allow r", osd=f"allow r pool={pool}")
    assert ceph.url(pool, "n", "reader") == f"rados:{pool}/n?conf={conf}&id=reader"
    rados = ["rados", "-c", conf, "-n", "client.reader", "-p", pool]
    assert proc.run(*rados, "ls").stdout == "a\n"
    assert "not permitted" in proc.run(*rados, "rm", "a", check=False).stderr
    ceph.remove_client("reader")
    assert proc.run(*rados, "ls", check=False).returncode
    ceph.delete_pool(pool)


# --- Elasticsearch, OpenSearch ------------------------------------------------

@pytest.fixture(params=["elasticsearch", "opensearch"])
def es(request):
    return request.getfixturevalue(request.param)


def test_search_documents(es):
    index = es.create_index()
    es.index_many(index, {f"f{i}.jpg": {"filename": f"f{i}.jpg", "n": i} for i in range(100)})
    assert es.index(index, {"filename": "é \"x\".jpg"}, id="é \"x\".jpg") == "é \"x\".jpg"
    assert es.get(index, "é \"x\".jpg") == {"filename": "é \"x\".jpg"}
    assert es.get(index, "nothing") is None
    assert es.count(index) == 101
    assert es.search(index, {"terms": {"filename": ["f1.jpg", "f7.jpg", "no"]}}).keys() == \
        {"f1.jpg", "f7.jpg"}
    reply = es.request("POST", "/_bulk", "".join(f"{line}\n" for line in (
        f'{{"update":{{"_index":"{index}","_id":"f1.jpg"}}}}', '{"doc":{"synced_to_ceph":true}}',
        f'{{"update":{{"_index":"{index}","_id":"no"}}}}', '{"doc":{"synced_to_ceph":true}}')))
    assert [item["update"]["status"] for item in reply["items"]] == [200, 404]
    assert es.get(index, "f1.jpg") == {"filename": "f1.jpg", "n": 1, "synced_to_ceph": True}
    es.delete_index(index)


def test_search_goes_and_comes_back(es):
    index = es.create_index()
    es.index(index, {"a": 1}, id="x")
    url = es.url
    for end in (es.stop, es.kill):
        end()
        assert not proc.port_open(es.port)
        es.start()
        assert es.url == url and es.get(index, "x") == {"a": 1}
    es.delete_index(index)


# --- pjdfstest, fsx -------------------------------------------------------------

@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_pjdfstest_on_the_native_file_system(tmpdir_below, kind):
    """The reference of the mount's tests: nothing fails here."""
    os.mkdir(os.path.join(tmpdir_below, "work"))
    with disk.Disk(kind, tmpdir_below) as d:
        results = posix.pjdfstest(d.path, os.path.join(tmpdir_below, "work"))
    assert len(results) > 390
    assert [name for name, word in results.items() if word == "FAILED"] == []
    assert len([name for name, word in results.items() if word == "skipped"]) < 20


def test_fsx_on_the_native_file_system(tmpdir_below):
    posix.fsx(os.path.join(tmpdir_below, "file"), seed=5, operations=2000)
