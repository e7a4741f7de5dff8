# SPDX-License-Identifier: MIT
"""vsftpd, ProFTPD and Pure-FTPd on 127.0.0.1, serving one directory.

    with FtpServer("vsftpd", root) as server:
        with server.connect() as ftp:
            ftp.put("camera/a.jpg", data)

One login user exists, chrooted into the root; files belong to server.uid and
server.gid.  The settings are those that ebbfs's manual recommends; pass
`settings` to differ.  The binaries are Debian's, unpacked below build/deps
(tests/servers/setup), so no system service is there.

vsftpd knows system users only.  It gets a passwd file of its own through
nss_wrapper, and not through a mount namespace, because in a namespace of its
own it would hold on to mounts that were unmounted and never see new ones.
PAM finds no file for the service "ebbfs-test" and takes Debian's
/etc/pam.d/other: pam_unix, which reads the hash from that passwd.
"""

import fcntl
import ftplib
import glob
import io
import os
import re
import socket
import struct

from . import proc

KINDS = ("vsftpd", "proftpd", "proftpd-hidden", "pure-ftpd")

SIOCOUTQ = 0x5411      # bytes sent and not yet acknowledged

ROOT = os.path.join(proc.DEPS, "ftp")


def binary(name):
    path = os.path.join(ROOT, name)
    if not os.access(path, os.X_OK):
        raise proc.Missing(f"build/deps/ftp/{name}")
    return path


def library_dir():
    found = glob.glob(os.path.join(ROOT, "usr/lib/*/libnss_wrapper.so"))
    if not found:
        raise proc.Missing("build/deps/ftp: libnss_wrapper.so")
    return os.path.dirname(found[0])


class Client(ftplib.FTP):
    """ftplib's client and the verbs tests want, always in binary mode."""

    def put(self, path, data, rest=None):
        """STOR, after REST when rest is given.  Parents must exist."""
        return self.storbinary("STOR " + path, io.BytesIO(data), rest=rest)

    def append(self, path, data):
        return self.storbinary("APPE " + path, io.BytesIO(data))

    def get(self, path, rest=None):
        parts = []
        self.retrbinary("RETR " + path, parts.append, rest=rest)
        return b"".join(parts)

    def size(self, filename):
        self.voidcmd("TYPE I")      # ProFTPD refuses SIZE in ASCII mode
        return super().size(filename)

    def mdtm(self, path):
        """Modification time as YYYYMMDDHHMMSS, in UTC."""
        return self.sendcmd("MDTM " + path).split()[1]

    def set_mtime(self, path, stamp):
        """MFMT, or for vsftpd, which has none, MDTM with a time."""
        verb = "MDTM" if self.server.kind == "vsftpd" else "MFMT"
        return self.sendcmd(f"{verb} {stamp} {path}")

    def list(self, path=""):
        """The lines of LIST."""
        lines = []
        self.retrlines(("LIST " + path).strip(), lines.append)
        return lines

    def names(self, path=""):
        """Base names by NLST, sorted; an empty directory is no error."""
        try:
            names = {name.rsplit("/", 1)[-1] for name in self.nlst(*filter(None, [path]))}
            return sorted(names - {".", ".."})
        except ftplib.error_perm as err:
            if str(err)[:3] in ("450", "550"):
                return []
            raise

    def makedirs(self, path):
        """MKD of every missing part of path."""
        done = ""
        for part in path.split("/"):
            done = f"{done}/{part}" if done else part
            try:
                self.mkd(done)
            except ftplib.error_perm as err:
                if str(err)[:3] not in ("521", "550"):
                    raise
                here = self.pwd()
                self.cwd(done)      # was it that it is there?
                self.cwd(here)

    def cut(self, path, data, verb="STOR", rest=None, vanish=False):
        """Begins an upload, sends data, then breaks the data connection (RST).

        The server has all of data in its hands by then.  Returns its error
        reply; with vanish=True the control connection is broken as well, as
        when a camera loses power, and there is nobody to reply to.
        """
        self.voidcmd("TYPE I")
        conn = self.transfercmd(f"{verb} {path}", rest)
        conn.sendall(data)
        proc.wait_until(lambda: not struct.unpack("i", fcntl.ioctl(conn, SIOCOUTQ, b"    "))[0],
                        30, "data taken by the server")
        for sock in (conn, self.sock) if vanish else (conn,):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()
        if vanish:
            self.close()
            return None
        try:
            return self.getresp()
        except (ftplib.error_temp, ftplib.error_perm) as err:
            return str(err)


class FtpServer:
    """One FTP server; kind is one of KINDS."""

    password = "secret"

    def __init__(self, kind, root, uid=2001, gid=2001, user="camera", settings=None,
                 directory=None):
        if kind not in KINDS:
            raise ValueError(f"unknown FTP server {kind}: {KINDS}")
        self.kind = kind
        self.root = os.path.abspath(root)
        self.uid, self.gid, self.user = uid, gid, user
        self.settings = dict(settings or {})
        self.directory = directory or proc.tempdir(kind)
        self.hidden_stores = kind == "proftpd-hidden"
        self.can_resume_stor = not self.hidden_stores   # ProFTPD then answers 501 to REST
        self.has_mlsd = kind != "vsftpd"
        self.log = self.path("log")
        self.process = self.port = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text, mode=0o600):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w",
                  encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def hashed(self):
        return proc.run(proc.need_program("openssl"), "passwd", "-6", self.password).stdout.strip()

    def write_users(self):
        self.write("passwd", f"root:x:0:0::/:/bin/sh\n"
                   f"nobody:x:65534:65534::/nonexistent:/bin/false\n"
                   f"{self.user}:{self.hashed()}:{self.uid}:{self.gid}::{self.root}:/bin/sh\n")
        self.write("group", f"root:x:0:\nnogroup:x:65534:\n{self.user}:x:{self.gid}:\n")

    def start(self):
        for _ in range(3):      # somebody may take the port between choice and bind
            self.port = proc.free_port()
            argv, env = {"vsftpd": self.vsftpd, "pure-ftpd": self.pure_ftpd}.get(
                self.kind, self.proftpd)()
            self.process = proc.Process(argv, self.log, env=env, cwd=self.directory)
            try:
                self.process.wait_ready(self.answers, 60, f"{self.kind} on port {self.port}")
                return self
            except AssertionError as err:
                self.stop()
                if not re.search("in use|could not bind", str(err)):
                    raise
        raise AssertionError(f"{self.kind}: no port to be had")

    def answers(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            return sock.recv(3) == b"220"

    def wait_idle(self, deadline=60):
        """Waits until every session has ended, also those whose client is gone."""
        proc.wait_until(lambda: proc.group_members(self.process.pid) == [self.process.pid],
                        deadline, f"end of {self.kind}'s sessions")

    def stop(self):
        """Ends the server and all its sessions."""
        if self.process:
            self.process.stop(deadline=5)
            self.process = None

    def close(self):
        self.stop()
        proc.remove(self.directory)

    def connect(self, timeout=60):
        """A logged-in Client."""
        ftp = Client(timeout=timeout, encoding="utf-8")
        ftp.server = self
        try:
            ftp.connect("127.0.0.1", self.port)
            ftp.login(self.user, self.password)
            ftp.voidcmd("TYPE I")
        except ftplib.all_errors as err:
            ftp.close()
            raise AssertionError(f"cannot log in to {self.kind}: {err}\n"
                                 f"{proc.tail(self.log)}") from err
        return ftp

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    # --- one method for each: writes its files, returns (argv, environment) ---

    def vsftpd(self):
        self.write_users()
        os.makedirs(self.path("empty"), exist_ok=True)
        lib = library_dir()
        conf = {
            "listen": "YES", "listen_ipv6": "NO", "background": "NO",
            "listen_address": "127.0.0.1", "listen_port": self.port,
            "pasv_min_port": proc.PASSIVE_PORTS[0], "pasv_max_port": proc.PASSIVE_PORTS[1],
            "anonymous_enable": "NO", "local_enable": "YES", "check_shell": "NO",
            "pam_service_name": "ebbfs-test", "secure_chroot_dir": self.path("empty"),
            "chroot_local_user": "YES", "allow_writeable_chroot": "YES",
            "seccomp_sandbox": "NO", "max_clients": 0, "max_per_ip": 0,
            "write_enable": "YES", "local_umask": "022", "mdtm_write": "YES",
            "delete_failed_uploads": "YES",
            "xferlog_enable": "YES", "vsftpd_log_file": self.log,
            **self.settings,
        }
        self.write("vsftpd.conf", "".join(f"{k}={v}\n" for k, v in conf.items()))
        env = {
            "LD_LIBRARY_PATH": lib, "LD_PRELOAD": os.path.join(lib, "libnss_wrapper.so"),
            "NSS_WRAPPER_PASSWD": self.path("passwd"), "NSS_WRAPPER_GROUP": self.path("group"),
        }
        return [binary("usr/sbin/vsftpd"), self.path("vsftpd.conf")], env

    def proftpd(self):
        self.write_users()
        hidden = "on" if self.hidden_stores else "off"
        conf = {
            "ServerType": "standalone", "DefaultServer": "on", "UseIPv6": "off",
            "DefaultAddress": "127.0.0.1", "SocketBindTight": "on", "Port": self.port,
            "UseReverseDNS": "off", "MaxInstances": 200, "DelayEngine": "off",
            "PassivePorts": "%d %d" % proc.PASSIVE_PORTS,
            "User": "nobody", "Group": "nogroup", "AuthOrder": "mod_auth_file.c",
            "AuthUserFile": self.path("passwd"), "AuthGroupFile": self.path("group"),
            "RequireValidShell": "off", "UseFtpUsers": "off", "DefaultRoot": "~",
            "Umask": "022 022", "AllowOverwrite": "on", "AllowStoreRestart": "on",
            "AllowRetrieveRestart": "on", "HiddenStores": hidden,
            "ScoreboardFile": self.path("scoreboard"), "PidFile": self.path("pid"),
            "SystemLog": self.log, "TransferLog": "none", "WtmpLog": "off",
        }
        if self.hidden_stores:
            conf["DeleteAbortedStores"] = "on"
        conf.update(self.settings)
        self.write("proftpd.conf", "".join(f"{k} {v}\n" for k, v in conf.items()))
        argv = [binary("usr/sbin/proftpd"), "-4", "-n", "-q", "-c", self.path("proftpd.conf")]
        return argv, {"LD_LIBRARY_PATH": library_dir()}

    def pure_ftpd(self):
        # pure-pw would hash with argon2: seconds of CPU at every login
        passwd = self.write("pureftpd.passwd", f"{self.user}:{self.hashed()}:{self.uid}:{self.gid}"
                            f"::{self.root}/./::::::::::::\n")
        database = self.path("pureftpd.pdb")
        proc.run(binary("usr/bin/pure-pw"), "mkdb", database, "-f", passwd)
        options = {
            "-S": f"127.0.0.1,{self.port}", "-p": "%d:%d" % proc.PASSIVE_PORTS,
            "-l": "puredb:" + database, "-g": self.path("pid"), "-u": "1", "-U": "133:022",
            "-c": "200", "-C": "200", "-O": "clf:" + self.log,
            "-4": None, "-E": None, "-H": None,
            **self.settings,
        }
        argv = [binary("usr/sbin/pure-ftpd")]
        for name, value in options.items():
            argv += [name] if value is None else [name, value]
        return argv, {"LD_LIBRARY_PATH": library_dir()}
