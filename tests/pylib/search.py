# SPDX-License-Identifier: MIT
"""A real Elasticsearch 7.17 or OpenSearch 2.19 of one node on 127.0.0.1.

    with Search("elasticsearch") as es:
        index = es.create_index()
        es.index(index, {"filename": "a.jpg"}, id="a.jpg")
        m = Mount(es=es.url, ...)

Both refuse to run as root, so they run as a user id that needs no name.  What
runs is Maven's integ-test-zip (tests/servers/setup): the real server without
scripts; Elasticsearch's has the security plugin.  About 500 MB resident, up in 6 to 15 s.

Search("elasticsearch", secured=True) lets nobody in without a password or an API key, and
speaks TLS with a certificate of a CA of its own (.ca); .password is the user elastic's.
"""

import base64
import glob
import json
import os
import secrets
import shutil
import ssl
import sys
import urllib.error
import urllib.request

from . import proc

sys.path.insert(0, os.path.join(proc.REPO, "tests", "servers"))

from faultsearch import make_tls    # noqa: E402  (the path comes first)

UID = 29200         # owns the server's files; need not exist
KINDS = ("elasticsearch", "opensearch")


class HttpError(AssertionError):
    def __init__(self, what, status, body):
        super().__init__(f"{what}: {status} {body}")
        self.status, self.body = status, body


class Search:
    """settings are -E settings; heap is a JVM size."""

    def __init__(self, kind, directory=None, heap="256m", settings=None, java_opts="",
                 secured=False):
        if kind not in KINDS:
            raise ValueError(f"unknown search server {kind}: {KINDS}")
        self.kind = kind
        self.directory = directory or proc.tempdir(kind)
        self.home = os.path.join(self.directory, "home")
        self.log = os.path.join(self.directory, "out.log")
        self.heap, self.java_opts = heap, java_opts
        self.settings = dict(settings or {})
        self.process = self.port = None
        self.indices = 0
        self.secured = secured
        self.ca = self.cert = self.key = self.password = None

    def start(self):
        """Comes up on the data of last time if there is any, on the same port."""
        if not os.path.isdir(self.home):
            self.unpack()
        self.port = self.port or proc.free_port()
        settings = {
            "path.data": os.path.join(self.directory, "data"),
            "path.logs": os.path.join(self.directory, "logs"),
            "network.host": "127.0.0.1", "http.port": self.port,
            "transport.port": proc.free_port(), "discovery.type": "single-node",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "indices.breaker.total.use_real_memory": "false",
            **(self.security() if self.kind == "elasticsearch" else {}),
            **self.settings,
        }
        argv = [f"bin/{self.kind}"] + [f"-E{name}={value}" for name, value in settings.items()]
        self.process = proc.Process(self.as_user(*argv), self.log, env=self.environment(),
                                    cwd=self.home)      # the GC log is relative
        try:
            self.process.wait_ready(self.answers, 180, f"{self.kind} on port {self.port}")
        except BaseException:
            self.kill()
            raise
        return self

    def environment(self):
        java = os.path.realpath(proc.need_program("java"))
        home = os.path.dirname(os.path.dirname(java))
        options = f"-Xms{self.heap} -Xmx{self.heap} {self.java_opts}".strip()
        tmp = os.path.join(self.directory, "tmp")
        return {"ES_JAVA_HOME": home, "OPENSEARCH_JAVA_HOME": home, "JAVA_HOME": home,
                "ES_JAVA_OPTS": options, "OPENSEARCH_JAVA_OPTS": options, "ES_TMPDIR": tmp,
                "OPENSEARCH_TMPDIR": tmp, "HOME": self.directory}

    @staticmethod
    def as_user(*argv):
        if os.geteuid() != 0:
            return list(argv)
        return ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", *argv]

    def security(self):
        """Settings; at the first start also certificates, and the password, in the keystore."""
        if not self.secured:
            return {"xpack.security.enabled": "false"}
        if not self.ca:
            self.add_module()
            # It reads files from nowhere else.
            self.ca, self.cert, self.key = make_tls(os.path.join(self.home, "config"))
            self.password = secrets.token_hex(12)
            if os.geteuid() == 0:
                proc.run("chown", "-R", f"{UID}:{UID}", self.home)
            proc.run(*self.as_user("bin/elasticsearch-keystore", "add", "-x", "-f",
                                   "bootstrap.password"), input=self.password, cwd=self.home,
                     env=self.environment())
        return {"xpack.security.enabled": "true", "xpack.security.http.ssl.enabled": "true",
                "xpack.security.http.ssl.certificate": self.cert,
                "xpack.security.http.ssl.key": self.key}

    def add_module(self):
        """EmailAnalysis.java, without which there are no API keys."""
        module = os.path.join(self.home, "modules", "email-analysis")
        source = os.path.join(proc.REPO, "tests", "servers", "EmailAnalysis.java")
        proc.run(proc.need_program("javac"), "-d", os.path.join(module, "classes"), "-cp",
                 os.path.join(self.home, "lib", "*"), "--release", "11", source)
        shutil.make_archive(os.path.join(module, "module"), "zip", os.path.join(module, "classes"))
        os.rename(os.path.join(module, "module.zip"), os.path.join(module, "module.jar"))
        shutil.rmtree(os.path.join(module, "classes"))
        version = self.version()
        with open(os.path.join(module, "plugin-descriptor.properties"), "w",
                  encoding="ascii") as file:
            file.write(f"name=email-analysis\ndescription=for tests\nversion={version}\n"
                       f"elasticsearch.version={version}\njava.version=11\n"
                       "classname=EmailAnalysis\n")

    def version(self):
        """As the name of its main jar says."""
        jar, = glob.glob(os.path.join(self.home, "lib", "elasticsearch-[0-9]*.jar"))
        return os.path.basename(jar)[len("elasticsearch-"):-len(".jar")]

    def unpack(self):
        """A copy of its own: the server writes into it, and must be let in."""
        source = os.path.join(proc.DEPS, self.kind)
        if not os.access(os.path.join(source, "bin", self.kind), os.X_OK):
            raise proc.Missing(f"build/deps/{self.kind}")
        shutil.copytree(source, self.home, symlinks=True)
        for name in ("data", "logs", "tmp"):
            os.makedirs(os.path.join(self.directory, name), exist_ok=True)
        if os.geteuid() == 0:
            proc.run("chown", "-R", f"{UID}:{UID}", self.directory)

    def answers(self):
        try:
            self.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
        except HttpError as err:
            return err.status == 401
        return True

    def stop(self):
        if self.process:
            self.process.stop(60)
            self.process = None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process = None

    def close(self):
        self.kill()
        proc.remove(self.directory)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"http{'s' if self.secured else ''}://127.0.0.1:{self.port}"

    # --- documents ------------------------------------------------------------

    def request(self, method, path, body=None, timeout=60):
        """The parsed reply; HttpError for a status of 400 and more.

        body is a JSON value, or str for _bulk (lines of JSON).
        """
        kind = "application/json"
        if isinstance(body, str):
            data, kind = body.encode(), "application/x-ndjson"
        else:
            data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind}
        if self.secured:
            login = base64.b64encode(f"elastic:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        context = ssl.create_default_context(cafile=self.ca) if self.secured else None
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as reply:
                text = reply.read()
        except urllib.error.HTTPError as err:
            with err:
                raise HttpError(f"{method} {path}", err.code,
                                err.read().decode(errors="replace")) from None
        return json.loads(text) if text else None

    def create_index(self, name=None, mappings=None, **settings):
        """A new index of one shard without replicas; its name.

        File names are keywords, so that a term query finds them.
        """
        self.indices += 1
        name = name or f"captures{self.indices}"
        mappings = mappings or {"properties": {"filename": {"type": "keyword"},
                                               "ftpurl": {"type": "keyword"},
                                               "synced_to_ceph": {"type": "boolean"}}}
        self.request("PUT", f"/{name}", {"mappings": mappings, "settings": {
            "number_of_shards": 1, "number_of_replicas": 0, **settings}})
        return name

    def delete_index(self, name):
        self.request("DELETE", f"/{name}")

    def index(self, index, doc, id=None, refresh=False):     # pylint: disable=redefined-builtin
        """Adds or replaces one document; its id."""
        path = f"/{index}/_doc" + (f"/{urllib.request.quote(id, safe='')}" if id else "")
        if refresh:
            path += "?refresh=true"
        return self.request("PUT" if id else "POST", path, doc)["_id"]

    def index_many(self, index, docs):
        """Adds {id: document} in bulk, and makes them visible to searches."""
        lines = []
        for name, doc in docs.items():
            lines += [json.dumps({"index": {"_index": index, "_id": name}}), json.dumps(doc)]
        if lines:
            reply = self.request("POST", "/_bulk?refresh=true", "\n".join(lines) + "\n")
            assert not reply["errors"], reply

    def get(self, index, id):       # pylint: disable=redefined-builtin
        """The document, None when there is none.  Needs no refresh."""
        try:
            reply = self.request("GET", f"/{index}/_doc/{urllib.request.quote(id, safe='')}")
        except HttpError as err:
            if err.status == 404:
                return None
            raise
        return reply["_source"]

    def refresh(self, index):
        self.request("POST", f"/{index}/_refresh")

    def count(self, index, query=None):
        """How many documents match, after a refresh."""
        self.refresh(index)
        return self.request("POST", f"/{index}/_count", {"query": query or {"match_all": {}}})["count"]

    def search(self, index, query=None, size=10000):
        """{id: document} of what matches, after a refresh."""
        self.refresh(index)
        reply = self.request("POST", f"/{index}/_search", {"query": query or {"match_all": {}},
                                                           "size": size})
        return {hit["_id"]: hit["_source"] for hit in reply["hits"]["hits"]}
