# SPDX-License-Identifier: MIT
"""A Ceph cluster of one node: a monitor, a manager, one OSD on 127.0.0.1.

    with Ceph() as ceph:
        pool = ceph.create_pool()
        m = Mount(store=ceph.url(pool))

Debian's daemons in the foreground, BlueStore in a sparse file, cephx on, ports
chosen at start so that two of them live side by side.  About 700 MB resident,
up in some 10 s.  Clients use ceph.conf (with its keyring) as client.admin, or
as a client of fewer rights made by add_client().
"""

import json
import os
import shutil
import signal
import subprocess
import uuid

from . import proc

CONF = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon osd min down reporters = 1
mon mgr beacon grace = 10
mon data avail warn = 1
mon data avail crit = 1
mgr stats period = 1
keyring = {dir}/keyring
run dir = {run}
admin socket = {run}/$name.$pid.asok
log file = {dir}/log/$name.log
mon data = {dir}/mon
mgr data = {dir}/mgr
osd data = {dir}/osd$id
osd objectstore = bluestore
bluestore block size = 21474836480
bluestore fsck quick fix on mount = false
osd memory target = 939524096
osd fast shutdown = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
"""

DAEMONS = {"mon": ["ceph-mon", "-i", "a"], "mgr": ["ceph-mgr", "-i", "x"],
           "osd": ["ceph-osd", "-i", "0"]}


class Ceph:
    def __init__(self, directory=None):
        self.directory = directory or proc.tempdir("ceph")
        self.conf = self.path("ceph.conf")
        self.keyring = self.path("keyring")
        self.daemons = {}               # name -> proc.Process
        self.made = False
        self.pools = 0

    def path(self, *names):
        return os.path.join(self.directory, *names)

    # --- coming up and going down ---------------------------------------------

    def start(self):
        """All daemons, on the data of last time if there is any."""
        for argv in DAEMONS.values():
            proc.need_program(argv[0])
        try:
            if self.made:
                self.start_daemon("mon")
                self.start_daemon("mgr")
                self.start_osd()
            else:
                self.make()
        except BaseException:
            self.kill()
            raise
        return self

    def make(self):
        for name in ("mon", "osd0", "mgr", "log", "run"):
            os.makedirs(self.path(name), exist_ok=True)
        run = self.path("run")
        if len(run) > 70:       # a socket's path has 107 bytes at most
            raise AssertionError(f"the path is too long for a socket, set EBB_TMP: {run}")
        fsid = str(uuid.uuid4())
        ports = [proc.free_port(), proc.free_port()]
        with open(self.conf, "w", encoding="ascii") as file:
            file.write(CONF.format(fsid=fsid, v2=ports[0], v1=ports[1], dir=self.directory, run=run))
        proc.run("ceph-authtool", "--create-keyring", self.keyring, "--gen-key", "-n", "mon.",
                 "--cap", "mon", "allow *")
        proc.run("ceph-authtool", self.keyring, "--gen-key", "-n", "client.admin", "--cap", "mon",
                 "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        proc.run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a",
                 f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]", self.path("monmap"))
        proc.run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", self.path("monmap"),
                 "--keyring", self.keyring)
        self.start_daemon("mon")
        self.append_key(self.ceph("auth", "get-or-create", "mgr.x", "mon", "allow profile mgr",
                                  "osd", "allow *"))
        self.start_daemon("mgr")
        osd = str(uuid.uuid4())
        secret = proc.run("ceph-authtool", "--gen-print-key").stdout.strip()
        self.ceph("osd", "new", osd, "-i", "-", input=json.dumps({"cephx_secret": secret}))
        proc.run("ceph-authtool", self.keyring, "-n", "osd.0", "--add-key", secret, "--cap", "mon",
                 "allow profile osd", "--cap", "osd", "allow *")
        proc.run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.start_osd()
        self.made = True

    def append_key(self, text):
        with open(self.keyring, "a", encoding="ascii") as file:
            file.write(text)

    def start_daemon(self, name):
        log = self.path("log", name + ".out")
        self.daemons[name] = proc.Process([*DAEMONS[name], "-c", self.conf, "-f"], log,
                                          cwd=self.directory)
        if name == "mon":
            self.daemons[name].wait_ready(self.answers, 60, "Ceph's monitor")

    def answers(self):
        try:
            return proc.run("ceph", "-c", self.conf, "--connect-timeout", "5", "quorum_status",
                            check=False, deadline=15).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def osd_epoch(self):
        """(up, epoch since when) of the OSD, as the monitor sees it."""
        osd = self.json("osd", "dump")["osds"]
        return (osd[0]["up"] == 1, osd[0]["up_from"]) if osd else (False, 0)

    def start_osd(self):
        """Returns when the OSD is up and every placement group active."""
        before = self.osd_epoch()[1]
        self.start_daemon("osd")
        self.daemons["osd"].wait_ready(
            lambda: self.osd_epoch()[0] and self.osd_epoch()[1] > before, 90, "Ceph's OSD")
        self.wait_clean()

    def wait_clean(self, deadline=60):
        def clean():
            stat = self.json("pg", "stat")
            states = stat.get("pg_summary", stat)
            wanted = sum(p["pg_num"] for p in self.json("osd", "pool", "ls", "detail"))
            return states["num_pgs"] == wanted and \
                all(s["name"] == "active+clean" for s in states["num_pg_by_state"])
        proc.wait_until(clean, deadline, "placement groups active+clean", every=0.1)

    def stop_osd(self, kill=False):
        """Without an OSD every operation of a client waits, or times out."""
        self.stop_daemon("osd", kill)

    def stop_daemon(self, name, kill=False):
        process = self.daemons.pop(name, None)
        if process:
            process.kill() if kill else process.stop(30)    # pylint: disable=W0106

    def pause(self):
        """All daemons stand still (SIGSTOP): connections stay, nothing answers."""
        for process in self.daemons.values():
            process.send(signal.SIGSTOP)

    def resume(self):
        for process in self.daemons.values():
            process.send(signal.SIGCONT)

    def pause_osd(self):
        self.daemons["osd"].send(signal.SIGSTOP)

    def resume_osd(self):
        self.daemons["osd"].send(signal.SIGCONT)

    def stop(self):
        for name in ("osd", "mgr", "mon"):
            self.stop_daemon(name)

    def kill(self):
        """SIGKILL to everything at once; start() brings it up again."""
        for name in ("osd", "mgr", "mon"):
            self.stop_daemon(name, kill=True)

    def running(self):
        return sorted(n for n, process in self.daemons.items() if process.running())

    def mend(self):
        """All daemons run, none stands still, and placement groups are active."""
        self.resume()
        for name in ("mon", "mgr"):
            if name not in self.running():
                self.start_daemon(name)
        if "osd" not in self.running():
            self.start_osd()
        try:
            self.wait_clean(20)
        except proc.Late:       # "laggy": it stood still for longer than its read lease
            self.stop_osd(kill=True)
            self.start_osd()

    def close(self):
        self.kill()
        if not os.environ.get("EBB_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    # --- commands ---------------------------------------------------------------

    def ceph(self, *args, **more):
        """The ceph command (half a second each: it is Python); its output."""
        done = proc.run("ceph", "-c", self.conf, "--connect-timeout", "30", *args, **more)
        return done.stdout

    def json(self, *args):
        return json.loads(self.ceph("-f", "json", *args))

    def rados(self, pool, *args, namespace=None, check=True, **more):
        """The rados command on a pool; a CompletedProcess with text output."""
        where = ["-p", pool] + (["-N", namespace] if namespace else [])
        return proc.run("rados", "-c", self.conf, *where, *args, check=check, **more)

    def ls(self, pool, namespace=None):
        """Names of all objects, sorted.  (A newline in a name splits it.)"""
        return sorted(self.rados(pool, "ls", namespace=namespace).stdout.splitlines())

    def get(self, pool, name, namespace=None):
        path = self.path("object")
        self.rados(pool, "get", name, path, namespace=namespace)
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        return data

    def put(self, pool, name, data, namespace=None):
        path = self.path("object")
        with open(path, "wb") as file:
            file.write(data)
        self.rados(pool, "put", name, path, namespace=namespace)
        os.unlink(path)

    def rm(self, pool, name, namespace=None):
        self.rados(pool, "rm", name, namespace=namespace)

    def stat(self, pool, name, namespace=None):
        """The size of an object, None when there is none."""
        done = self.rados(pool, "stat", name, namespace=namespace, check=False)
        if done.returncode and "No such file" in done.stderr:
            return None
        assert not done.returncode, done.stderr
        return int(done.stdout.rsplit("size ", 1)[1])

    def xattrs(self, pool, name, namespace=None):
        """{name: bytes} of an object's extended attributes."""
        names = self.rados(pool, "listxattr", name, namespace=namespace).stdout.split()
        return {n: self.rados(pool, "getxattr", name, n, namespace=namespace)
                .stdout.encode(errors="surrogateescape") for n in names}

    # --- pools, clients, no room --------------------------------------------------

    def create_pool(self, name=None, pgs=8):
        """A new pool, ready for use; its name."""
        self.pools += 1
        name = name or f"ebb{self.pools}"
        self.ceph("osd", "pool", "create", name, str(pgs))
        self.ceph("osd", "pool", "application", "enable", name, "ebb")
        self.wait_clean()
        return name

    def delete_pool(self, name):
        self.ceph("osd", "pool", "rm", name, name, "--yes-i-really-really-mean-it")

    def url(self, pool, namespace=None, client=None):
        """The store= URL; client is a name that add_client() was given."""
        where = pool + (f"/{namespace}" if namespace else "")
        conf = self.client_conf(client) if client else self.conf
        return f"rados:{where}?conf={conf}" + (f"&id={client}" if client else "")

    def client_conf(self, client):
        return self.path(f"ceph.client.{client}.conf")

    def add_client(self, name, **caps):
        """A client with these capabilities: add_client("ro", mon="allow r", osd="allow r").

        Returns the path of a ceph.conf with a keyring that holds its key only.
        """
        args = [word for kind, cap in caps.items() for word in (kind, cap)]
        text = self.ceph("auth", "get-or-create", f"client.{name}", *args)
        keyring = self.path(f"ceph.client.{name}.keyring")
        with open(keyring, "w", encoding="ascii") as file:
            file.write(text)
        with open(self.conf, encoding="ascii") as file:
            conf = file.read().replace(f"keyring = {self.keyring}", f"keyring = {keyring}")
        with open(self.client_conf(name), "w", encoding="ascii") as file:
            file.write(conf)
        return self.client_conf(name)

    def remove_client(self, name):
        self.ceph("auth", "rm", f"client.{name}")

    def set_full(self, pool=None, failsafe=False):
        """No room: by a quota on the pool (EDQUOT for who sets FULL_TRY), or,
        without a pool, on the OSD, for all pools (ENOSPC).  Others wait silently; at the OSD's
        failsafe ratio those, too, who set FULL_FORCE alone."""
        if pool is None:
            self.ceph("tell", "osd.0", "injectfull", "failsafe" if failsafe else "full")
            self.wait_pool_flag(None, "full", True)
            return
        if not self.ls(pool):
            self.put(pool, "filler", b"x")
        self.ceph("osd", "pool", "set-quota", pool, "max_objects", "1")
        self.wait_pool_flag(pool, "full_quota", True)

    def unset_full(self, pool=None):
        if pool is None:
            self.ceph("tell", "osd.0", "injectfull", "none")
            self.wait_pool_flag(None, "full", False)
            return
        self.ceph("osd", "pool", "set-quota", pool, "max_objects", "0")
        self.wait_pool_flag(pool, "full_quota", False)

    def wait_pool_flag(self, pool, flag, want):
        """Waits for a flag of a pool, or of all pools when pool is None."""
        def check():
            pools = [p for p in self.json("osd", "pool", "ls", "detail")
                     if pool in (None, p["pool_name"])]
            assert pools, f"no pool {pool}"
            return all((flag in p["flags_names"].split(",")) == want for p in pools)
        proc.wait_until(check, 60, f"{flag} {'set' if want else 'unset'} on pool {pool}", every=0.2)
        epoch = self.json("osd", "dump")["epoch"]
        proc.wait_until(lambda: self.json("tell", "osd.0", "status")["newest_map"] >= epoch, 30,
                        f"osd map {epoch} at the OSD")
