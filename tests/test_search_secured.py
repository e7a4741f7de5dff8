# SPDX-License-Identifier: MIT
"""An Elasticsearch that lets nobody in without a password or an API key, over TLS.

Whatever it refuses: what is wrong is said in words that name the option to look at, nothing
is released and nothing is lost, and once it is corrected everything is told.
"""

import os
import secrets

import pytest

from pylib import proc, search
from servers.faultsearch import make_tls

FAST = {"archive_after": "1h", "release_after": "1h"}


@pytest.fixture(scope="module")
def secured():
    server = search.Search("elasticsearch", secured=True)
    try:
        yield server.start()
    finally:
        server.close()


class Site:
    """A mount with one archived file whose document waits to be told."""

    def __init__(self, mount, server, directory, **options):
        self.server, self.directory = server, directory
        self.index = server.create_index("t" + secrets.token_hex(4))
        server.index(self.index, {"filename": "a.jpg", "ftpurl": "ftp://host/cam/a.jpg",
                                  "synced_to_ceph": False}, "a.jpg", refresh=True)
        self.m = mount(options={**FAST, **options}, es=f"{server.url}/{self.index}")
        self.m.expect_log("cannot tell elasticsearch of files: .*they wait until that is corrected")
        self.m.write("cam/a.jpg", b"x" * 1000)
        self.m.archive("cam/a.jpg")

    def refused(self, *words):
        """It says why, and keeps the outbox."""
        def down():
            found = self.m.status()["sinks"][0]
            return found if not found["up"] and all(w in found["error"] for w in words) else None
        sink = proc.wait_until(down, 60, f"an error that says {words}", every=0.2)
        assert sink["waiting"] > 0, sink
        assert not self.doc()["synced_to_ceph"]
        return sink["error"]

    def not_released(self):
        done = self.m.ctl("release", self.m.full("cam/a.jpg"))
        assert done.returncode == 1 and self.m.state("cam/a.jpg") == "archived"

    def told(self):
        proc.wait_until(lambda: self.m.status()["sinks"][0]["waiting"] == 0, 90, "it is told",
                        every=0.2)
        assert self.doc()["synced_to_ceph"] is True
        self.m.release("cam/a.jpg")
        assert self.m.read("cam/a.jpg") == b"x" * 1000

    def doc(self):
        return self.server.get(self.index, "a.jpg")


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(text + "\n")
    return path


def new_key(server, privileges):
    """(id, the file's content) of a key that may do only this, to any index."""
    role = {"indices": [{"names": ["t*"], "privileges": privileges}]}
    made = server.request("POST", "/_security/api_key", {
        "name": secrets.token_hex(4), "role_descriptors": {"ebbfs": role}})
    return made["id"], made["encoded"]


def test_wrong_password(mount, secured, tmpdir_below):
    secret = write(tmpdir_below, "password", "wrong")
    site = Site(mount, secured, tmpdir_below, es_user="elastic", es_password_file=secret,
                es_ca=secured.ca)
    error = site.refused("401", "es_user", "es_password_file")
    assert "wrong" not in error and "es_api_key" not in error
    write(tmpdir_below, "password", secured.password)       # no restart is needed
    site.told()


def test_revoked_api_key(mount, secured, tmpdir_below):
    """A key that may read and write the index and nothing else is enough."""
    ident, encoded = new_key(secured, ["read", "write"])
    site = Site(mount, secured, tmpdir_below, es_ca=secured.ca,
                es_api_key_file=write(tmpdir_below, "key", encoded))
    site.told()
    secured.request("DELETE", "/_security/api_key", {"ids": [ident]})
    site.m.write("cam/a.jpg", b"x" * 1000)      # told of, so told again
    site.m.archive("cam/a.jpg")
    secured.index(site.index, {"filename": "a.jpg", "synced_to_ceph": False}, "a.jpg")
    error = site.refused("401", "es_api_key_file")
    assert encoded not in error and "es_password" not in error
    said = site.m.ctl("lost")
    assert said.returncode == 1 and "es_api_key_file" in said.stderr
    write(tmpdir_below, "key", new_key(secured, ["read", "write"])[1])
    site.m.restart()        # not needed, but for the time between two tries
    site.told()


def test_api_key_that_may_too_little(mount, secured, tmpdir_below):
    key = write(tmpdir_below, "key", new_key(secured, ["read"])[1])
    site = Site(mount, secured, tmpdir_below, es_ca=secured.ca, es_api_key_file=key,
                es_id="", es_find="filename")
    assert "security_exception" in site.refused("403", "es_api_key_file", "what it may do")
    site.not_released()
    assert site.m.ctl("lost").returncode == 0       # needs no more than to read
    write(tmpdir_below, "key", new_key(secured, ["read", "write"])[1])
    site.m.restart()
    site.told()


def test_unknown_ca(mount, secured, tmpdir_below):
    other = os.path.join(tmpdir_below, "other")
    os.mkdir(other)
    secret = write(tmpdir_below, "password", secured.password)
    site = Site(mount, secured, tmpdir_below, es_user="elastic", es_password_file=secret)
    site.refused("cannot trust", "certificate", "es_ca")
    site.m.restart(es_ca=make_tls(other)[0])
    site.refused("cannot trust", "certificate", "es_ca")
    assert "es_ca" in site.m.ctl("lost").stderr
    site.m.restart(es_ca=secured.ca)
    site.told()


def test_certificate_of_another_host(mount, secured, tmpdir_below):
    """The CA is right, and vouches for another name."""
    secret = write(tmpdir_below, "password", secured.password)
    site = Site(mount, secured, tmpdir_below, es_user="elastic", es_password_file=secret,
                es_ca=secured.ca)
    site.told()
    site.m.restart(es=f"https://other.localhost:{secured.port}/{site.index}")
    said = site.m.ctl("lost")
    assert said.returncode == 1 and "es_ca" in said.stderr and "cannot trust" in said.stderr


def test_plain_http_to_a_tls_server(mount, secured, tmpdir_below):
    site = Site(mount, secured, tmpdir_below, es_user="elastic", es_ca=secured.ca,
                es_password_file=write(tmpdir_below, "password", secured.password))
    site.told()
    site.m.restart(es=f"http://127.0.0.1:{secured.port}/{site.index}")
    said = site.m.ctl("lost")
    assert said.returncode == 1 and "write https:// in es=" in said.stderr
