# SPDX-License-Identifier: MIT
"""The RADOS store on a real Ceph: the contract, and everything that goes wrong.

The contract suites are t_store and t_store_keys; the rest drives tests/tools/storecat.c,
whose operations must all end within the store's timeout, whatever Ceph does.
"""

import os
import re
import subprocess
import threading

import pytest

from pylib import proc

# Short: placement groups of a single OSD that stood still for longer than its read lease (16 s)
# may stay "laggy" until it is started anew.
TIMEOUT_MS = 2000
SLACK_MS = 1800     # of a loaded machine; less than a second timeout
LONG_MS = 60000     # where Ceph is there, and answers sooner or later


def program(name):
    path = os.path.join(proc.BUILD, "tests", name)
    if not os.path.exists(path):
        raise proc.Missing(f"{path}, which `make units helpers` builds")
    return path


def environ(**more):
    """librados is not built for the thread sanitizer: it sees races in there that are none."""
    tsan = os.environ.get("TSAN_OPTIONS", "") + ":ignore_noninstrumented_modules=1"
    return {**os.environ, "TSAN_OPTIONS": tsan, **more}


class Store:
    """A running storecat."""

    def __init__(self, url, timeout_ms=TIMEOUT_MS):
        self.timeout_ms = int(timeout_ms * proc.SCALE)
        self.log = []
        self.popen = subprocess.Popen([program("storecat"), url, str(self.timeout_ms)], text=True,
                                      errors="surrogateescape", env=environ(),
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, start_new_session=True)
        proc.base().tell(f"+{self.popen.pid}")
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()

    def read_log(self):
        for line in self.popen.stderr:
            self.log.append(line.rstrip("\n"))

    def send(self, *fields):
        self.popen.stdin.write("\t".join(str(f) for f in fields) + "\n")
        self.popen.stdin.flush()

    def receive(self):
        line = self.popen.stdout.readline()
        assert line, f"storecat: {proc.status_text(self.popen.wait())}: {self.log}"
        return line.rstrip("\n").split("\t")

    def __call__(self, *fields):
        """The answer without its time, which must be within the timeout."""
        self.send(*fields)
        result, took_ms, *rest = self.receive()
        most_ms = self.timeout_ms + SLACK_MS * proc.SCALE
        most_ms += 1000 if fields[0] == "list" else 0       # librados ends it, a second later
        assert int(took_ms) < most_ms, (fields, result, took_ms)
        return result if not rest else (result, *rest)

    def sure(self, *fields):
        """The answer of a store that is there; asked again while none comes in time."""
        late = False

        def ask():
            nonlocal late
            answer = self(*fields)
            if "ETIMEDOUT" in (answer, answer[0]):
                late = True
                return None
            return ("0" if late and answer == "EEXIST" else answer,)
        return proc.wait_until(ask, 60, fields)[0]

    def many(self, op, n, prefix, size):
        self.send(op, n, prefix, size)
        assert self.receive() == ["started"]

    def join(self):
        """{result: count} of the operations under way."""
        self.send("join")
        slowest, *results = self.receive()
        assert int(slowest) < self.timeout_ms + SLACK_MS * proc.SCALE, (slowest, results)
        return {name: int(count) for name, count in (r.split("=") for r in results)}

    def put_all(self, n, prefix, size):
        """Again while some time out: an OSD that was started just now may be slow.  Whether one of
        those happened is unknown, but it happened whole or not at all."""
        def put():
            self.many("put-many", n, prefix, size)
            results = set(self.join())
            assert results <= {"0", "EEXIST", "ETIMEDOUT"}, results
            return results <= {"0", "EEXIST"}
        proc.wait_until(put, 60, f"{n} of {prefix} put")

    def get_until(self, key, ms):
        """The result of a get that has less time than the store's timeout, if ms is less."""
        self.send("get-until", key, ms)
        took_ms, result = self.receive()
        assert int(took_ms) < min(ms, self.timeout_ms) + SLACK_MS * proc.SCALE, (result, took_ms)
        return result.split("=")[0]

    def health(self):
        """(up?, sentence)"""
        self.send("health")
        state, _, error = self.receive()
        return state == "up", error

    def free_bytes(self):
        self.send("health")
        return int(self.receive()[1])

    def wait_health(self, up, pattern="", deadline=60):
        def check():
            state, error = self.health()
            return state == up and re.search(pattern, error) and (pattern or not error)
        proc.wait_until(check, deadline, f"health {'up' if up else 'down'} {pattern!r}: "
                                         f"{self.health()}, log {self.log}")

    def logged(self, pattern):
        return [line for line in self.log if re.search(pattern, line)]

    def wait_logged(self, pattern):
        return proc.wait_until(lambda: self.logged(pattern), 30, f"the log says {pattern!r}")

    def is_not_repeated(self, pattern):
        """Told again only if there was something else in between: a connection that took long."""
        self.wait_logged(pattern)
        log = self.log[:]
        return not any(re.search(pattern, a) and re.search(pattern, b) for a, b in zip(log, log[1:]))

    def close(self):
        """How long store_close() took, in ms.  One that hangs is killed, and fails."""
        timer = threading.Timer(proc.scaled(60), self.popen.kill)
        timer.start()
        try:
            self.send("close")
            word, took_ms = self.receive()
        finally:
            timer.cancel()
        assert word == "closed"
        assert self.popen.wait(proc.scaled(30)) == 0, self.log
        self.reader.join(10)
        return int(took_ms)


@pytest.fixture
def store(afterwards):      # pylint: disable=unused-argument  (a pool outlives it)
    made = []

    def make(*args, **more):
        made.append(Store(*args, **more))
        return made[-1]
    yield make
    for one in made:
        if one.popen.poll() is None:
            one.popen.kill()
            one.popen.wait()
        proc.base().tell(f"-{one.popen.pid}")


# --- the contract -----------------------------------------------------------------

@pytest.mark.parametrize("namespace", [None, "ebb one"], ids=["default", "namespace"])
@pytest.mark.parametrize("suite", ["t_store", "t_store_keys"])
def test_contract(ceph, pool, namespace, suite):
    url = ceph.url(pool, namespace)
    done = subprocess.run([program(suite)], env=environ(EBB_TEST_RADOS=url), text=True,
                          errors="replace", capture_output=True, timeout=proc.scaled(280),
                          check=False)
    assert done.returncode == 0, (
        f"EBB_TEST_RADOS='{url}' {suite}\n{done.stdout}\n{done.stderr}")
    assert ceph.ls(pool, namespace) == []


def test_as_the_tools_see_it(ceph, pool, store):
    s = store(ceph.url(pool, "ns"), timeout_ms=LONG_MS)
    assert s("put", "cam/2017/a_0.jpg", "node/1", "123456789") == "0"
    assert ceph.get(pool, "cam/2017/a_0.jpg", namespace="ns") == b"123456789"
    assert ceph.xattrs(pool, "cam/2017/a_0.jpg", namespace="ns") == {
        "ebb.attempt": b"node/1", "ebb.crc32c": b"e3069283", "ebb.size": b"9",
        "ebb.path": b"cam/2017/a_0.jpg"}
    s.send("url", "cam/a b")
    assert s.receive() == [f"rados://{pool}/ns/cam/a%20b"]
    # What others put is an object without an attempt: seen, and never dropped as ours.
    ceph.put(pool, "foreign", b"abc", namespace="ns")
    assert s("verify", "foreign") == ("0", "3", "364b3fb7", "")
    assert s("put", "foreign", "node/1", "x") == "EEXIST"
    assert s("drop", "foreign", "node/1") == "ESTALE"
    assert s("drop", "foreign", "") == "EINVAL"
    assert ceph.stat(pool, "foreign", namespace="ns") == 3
    s.close()


def test_free_bytes(ceph, pool, store):
    s = store(ceph.url(pool), timeout_ms=LONG_MS)
    proc.wait_until(lambda: s.free_bytes() > 1 << 30, 30, "free bytes known")
    ceph.ceph("osd", "pool", "set-quota", pool, "max_bytes", str(100 << 20))
    proc.wait_until(lambda: s.free_bytes() == 100 << 20, 30, "the quota known")
    s.close()


# --- what it cannot be used with ---------------------------------------------------

def test_missing_pool(ceph, pool, store):
    name = pool + "-later"
    s = store(ceph.url(name))
    assert s("get", "k") == ("ETIMEDOUT", "")
    s.wait_health(False, f"no pool '{name}'.*ceph osd pool create {name}")
    # It is made: what waits goes on by itself, and nobody restarted anything.
    ceph.create_pool(name)
    s.wait_health(True)
    assert s.sure("put", "k", "node/1", "x") == "0"
    assert s.sure("get", "absent") == ("ENOENT", "")
    assert s.is_not_repeated("no pool")
    s.close()
    ceph.delete_pool(name)


def test_removed_pool(ceph, pool, store):
    """A pool that goes away is not an object that is not there."""
    s = store(ceph.url(pool))
    assert s.sure("put", "k", "node/1", "x") == "0"
    ceph.delete_pool(pool)

    def gone():     # the OSD serves it until its disk has the new map
        result = s("get", "k")[0]
        assert result != "ENOENT"
        return result in ("EIO", "ETIMEDOUT")
    proc.wait_until(gone, 30, "a pool that is gone")
    s.wait_health(False, "no pool|was removed")
    for op in (("get", "k"), ("stat", "k"), ("verify", "k"), ("drop", "k", "node/1"),
               ("put", "k", "node/1", "x"), ("list", "")):
        result = s(*op)
        assert (result if isinstance(result, str) else result[0]) == "ETIMEDOUT", op
    ceph.create_pool(pool)
    s.wait_health(True)
    assert s.sure("get", "k") == ("ENOENT", "")
    s.close()


def test_refused_key(ceph, pool, store):
    conf = ceph.add_client("wrong", mon="allow r", osd="allow rw")
    keyring = ceph.path("ceph.client.wrong.keyring")
    with open(keyring, encoding="ascii") as file:
        good = file.read()
    with open(keyring, "w", encoding="ascii") as file:
        key = proc.run("ceph-authtool", "--gen-print-key").stdout.strip()
        file.write(f"[client.wrong]\n\tkey = {key}\n")
    s = store(f"rados:{pool}?conf={conf}&id=wrong")
    assert s("put", "k", "node/1", "x") == "ETIMEDOUT"
    s.wait_health(False, "refuse client.wrong.*ceph auth get client.wrong")
    # The right key is found without a restart.
    with open(keyring, "w", encoding="ascii") as file:
        file.write(good)
    s.wait_health(True)
    assert s.sure("put", "k", "node/1", "x") == "0"
    assert s.is_not_repeated("refuse")
    s.close()


def test_missing_key_and_conf(ceph, pool, store):
    s = store(f"rados:{pool}?conf={ceph.conf}&id=nobody")
    s.wait_health(False, "client.nobody")
    s.close()
    missing = ceph.path("missing.conf")
    s = store(f"rados:{pool}?conf={missing}")
    s.wait_health(False, "cannot read.*missing.conf.*conf=")
    assert s("stat", "k") == "ETIMEDOUT"
    s.close()


def test_no_caps(ceph, pool, store):
    ceph.add_client("ro", mon="allow r", osd=f"allow r pool={pool}")
    s, rw = (store(ceph.url(pool, client=client), timeout_ms=LONG_MS) for client in ("ro", None))
    assert rw("put", "k", "node/1", "text") == "0"
    assert s("get", "k") == ("4", "text")
    assert s("put", "l", "node/1", "x") == "EACCES"
    assert s("drop", "k", "node/1") == "EACCES"
    assert s("get", "k") == ("4", "text")
    s.wait_health(True, "ceph auth caps")
    assert len(s.wait_logged("may write|caps to write")) == 1
    ceph.add_client("none", mon="allow r")
    n = store(ceph.url(pool, client="none"), timeout_ms=LONG_MS)
    assert n("get", "k") == ("EACCES", "")
    assert n("verify", "k") == "EACCES"
    n.wait_health(True, "caps to read")
    for one in (s, rw, n):
        one.close()


# --- full ---------------------------------------------------------------------------

@pytest.mark.parametrize("what", ["quota", "osd"])
def test_full(ceph, pool, store, what):
    s = store(ceph.url(pool), timeout_ms=LONG_MS)
    assert s("put", "k", "node/1", "text") == "0"
    assert s("put", "stays", "node/1", "text") == "0"     # it is full without the other, too
    which = pool if what == "quota" else None
    ceph.set_full(which)
    try:
        def full():
            return s("put", "l", "node/1", "x") == ("EDQUOT" if what == "quota" else "ENOSPC") or \
                s("drop", "l", "node/1") and False
        proc.wait_until(full, 30, "the put is refused")
        s.wait_health(True, "quota|room")
        # It says so at once, where Ceph's default is to wait in silence; reads and drops go on.
        assert s("get", "k") == ("4", "text")
        assert s("drop", "k", "node/1") == "0"
        s.many("put-many", 100, "m", 1000)
        assert s.join() == {"EDQUOT" if what == "quota" else "ENOSPC": 100}
        assert len(s.wait_logged("quota|No space")) == 1
    finally:
        ceph.unset_full(which)
    # Nobody writes, and still it is noticed.
    s.wait_health(True)
    assert len(s.wait_logged("has room again")) == 1    # after health does
    assert s("put", "l", "node/1", "x") == "0"
    assert s("list", ".ebb/probe") == ("0", "0")
    s.close()


# --- away ---------------------------------------------------------------------------

def test_down_at_start(ceph, pool, store):
    """Nothing there at all: opening does not wait, operations end in time, all is well later."""
    ceph.kill()
    s = store(ceph.url(pool))
    s.many("put-many", 300, "waits", 1000)
    up, error = s.health()
    assert not up and error
    assert s.join() == {"ETIMEDOUT": 300}
    s.wait_health(False, "no monitor answers.*mon_host", 30)
    assert s("list", "") == ("ETIMEDOUT", "0")
    ceph.start()
    s.wait_health(True)
    assert s.sure("get", "waits1") == ("ENOENT", "")    # what timed out in the queue was never sent
    assert s.sure("put", "k", "node/1", "x") == "0"
    s.close()


def test_comes_up_in_time(ceph, pool, store):
    """What was issued before there was a connection waits for it."""
    ceph.pause()
    s = store(ceph.url(pool), timeout_ms=LONG_MS)
    s.many("put-many", 600, "early", 1000)
    ceph.resume()
    assert s.join() == {"0": 600}
    s.close()


@pytest.mark.parametrize("op,who,how", [
    ("put-many", "osd", "SIGSTOP"), ("get-many", "osd", "SIGKILL"),
    ("put-many", "all", "SIGKILL"), ("get-many", "all", "SIGSTOP")])
def test_dies_under_way(ceph, pool, store, how, who, op):
    s = store(ceph.url(pool))
    s.put_all(50, "before", 1000)
    assert s.health()[0]
    names = ["osd"] if who == "osd" else ["mon", "mgr", "osd"]
    proc.wait_until(lambda: s.get_until("before1", 60_000) == "0", 60, "a read in time")
    s.many(op, 1000, "before" if op == "get-many" else "under", 100_000)
    if how == "SIGSTOP":
        (ceph.pause_osd if who == "osd" else ceph.pause)()
    else:
        for name in names:
            ceph.stop_daemon(name, kill=True)
    results = s.join()
    assert set(results) <= {"0", "ETIMEDOUT", "ENOENT"}, results
    # Now it is surely away: everything ends in time, also what waits in the window.
    s.many("put-many", 600, "away", 100_000)
    assert set(s.join()) == {"ETIMEDOUT"}
    # One that has less time than those before it, in flight and waiting, is answered first.
    s.many("get-many", 1000, "before", 100_000)
    assert s.get_until("before1", 100) == "ETIMEDOUT"
    assert set(s.join()) == {"ETIMEDOUT"}
    assert s("verify", "before1") == "ETIMEDOUT"
    assert s("list", "")[0] != "0"
    s.wait_health(False, "ceph -s|no monitor")
    ceph.mend()
    s.wait_health(True)
    s.put_all(600, "away", 100_000)
    assert s.sure("get", "before1")[0] == "1000"
    assert s.sure("verify", "away7")[:2] == ("0", "100000")
    s.close()


def test_close_while_away(ceph, pool, store):
    """Closing waits for nothing longer than for its operations' timeouts."""
    s = store(ceph.url(pool))
    assert s.sure("put", "k", "node/1", "x") == "0"
    ceph.pause()
    s.many("put-many", 20, "lost", 1000)
    assert s.close() < s.timeout_ms + 3000 * proc.SCALE
    # Without anything under way, and never connected: librados' own connecting is waited for.
    s = store(ceph.url(pool))
    assert s.close() < s.timeout_ms + 3000 * proc.SCALE


def test_blocklisted(ceph, pool, store):
    s = store(ceph.url(pool), timeout_ms=LONG_MS)
    assert s("put", "k", "node/1", "x") == "0"
    for addr in client_addresses(ceph):
        ceph.ceph("osd", "blocklist", "add", addr)
    try:
        proc.wait_until(lambda: s.logged("blocklisted"), 60, f"it is noticed: {s.log}")
        s.wait_health(True)
        assert s("get", "k") == ("1", "x")
    finally:
        ceph.ceph("osd", "blocklist", "clear")
    s.close()


def client_addresses(ceph):
    """ADDRESS:PORT/NONCE of the clients that have a session with the monitor."""
    sessions = ceph.json("tell", "mon.a", "sessions")
    found = [f"{addr['addr']}/{addr['nonce']}" for one in sessions
             if one["entity_name"] == "client.admin" and one["con_type"] == "client"
             for addr in one["addrs"]["addrvec"]]
    assert found, sessions
    return found
