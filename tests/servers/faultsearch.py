# SPDX-License-Identifier: MIT
"""An Elasticsearch that fails on demand, for what a real one will not do.

    with FaultSearch() as es:
        es.put("captures", "a.jpg", {"filename": "a.jpg"})
        es.fault("status", status=429, times=2)         # the next two bulks
        ... es.url ...
        assert es.doc("captures", "a.jpg")["synced_to_ceph"] and len(es.bulks()) == 3

It speaks what a writer needs: GET /, _nodes/_local, _bulk, _search (and scroll),
_count, _mget, _doc, _mapping, _field_caps, _refresh; documents are in memory.  It is strict where
the real ones are (final newline, content type, _type by version, unknown
indices) and as loose elsewhere as they are.

Faults are taken in order, each by the first request whose path matches its
`path` (default _bulk), `times` times (None: for ever):

    status   answer `status` with an Elasticsearch error; apply=True applies the
             request all the same, as when a proxy gives up on a reply
    item     items whose _id is in `ids` (None: the first one) fail with `status`
             and `type`; the others are done
    cut      apply, send the headers and half of the body, break the connection;
             apply=False: read the request and break it, nothing was done
    delay    wait `seconds`, or until stop(), then answer as usual
    garbage  200 with a body that is no JSON

Lasting: poison(id) (400 mapper_parsing_exception), max_body (413 beyond so
many bytes, unpacked).  Everything is counted: requests, connections.

As a program (`faultsearch.py [PORT]`) it takes the same by HTTP: POST /_fault
{"kind": "status", "status": 429}, GET /_fault for the counters.
"""

import base64
import collections
import gzip
import http.server
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.parse
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from searchdocs import Documents, Reply, error     # noqa: E402  (the path comes first)


class Request(NamedTuple):
    method: str
    path: str
    query: dict
    headers: dict           # names in lower case
    body: bytes             # unpacked
    status: int             # of the reply; 0: the connection was cut


def make_tls(directory):
    """A CA of its own and a server's certificate for 127.0.0.1 and localhost.

    Returns (CA's certificate, server's certificate, server's key)."""
    def path(name):
        return os.path.join(directory, name)

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    with open(path("ext"), "w", encoding="ascii") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nkeyUsage=digitalSignature\n"
                   "extendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n")
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=ebbfs test CA",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", path("ca.key"), "-out", path("ca.crt"))
    openssl("req", *curve, "-subj", "/CN=localhost", "-keyout", path("key"), "-out", path("csr"))
    openssl("x509", "-req", "-in", path("csr"), "-CA", path("ca.crt"), "-CAkey", path("ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", path("ext"), "-out", path("crt"))
    return path("ca.crt"), path("crt"), path("key")


class FaultSearch(Documents):
    """version: "7.17.28", "6.8.23" (wants _type), "8.17.4" (refuses it, and GET /
    answers 405 as the integ-test-zip does, unless root=True), or with
    distribution="opensearch" "2.19.1".  auth: (user, password); api_key: (id,
    key); tls: a directory to make certificates in, then .ca is the CA's.
    lag=True: searches see what was there at the last refresh."""

    def __init__(self, version="7.17.28", distribution="elasticsearch", port=0, auth=None,
                 api_key=None, tls=None, lag=False, root=None):
        super().__init__(version, distribution, lag)
        self.auth, self.api_key, self.port = auth, api_key, port
        self.root = self.major < 8 if root is None else root
        self.max_body = 100 << 20
        self.faults = []
        self.requests = collections.deque(maxlen=2000)
        self.counts = collections.Counter()     # by path's last part; "connections"
        self.stopping = threading.Event()
        self.ca = self.server = self.context = None
        if tls:
            self.ca, cert, key = make_tls(tls)
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert, key)

    def start(self):
        self.stopping.clear()
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.es = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        """Nothing listens any more, and open connections are cut; start() is
        on the same port with the same documents."""
        self.stopping.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server.cut_all()
            self.server = None

    close = stop

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    # --- control --------------------------------------------------------------

    def fault(self, kind, times=1, path=r"/_bulk$", **more):
        if kind not in ("status", "item", "cut", "delay", "garbage"):
            raise ValueError(f"unknown fault {kind}")
        with self.lock:
            self.faults.append({"kind": kind, "times": times, "path": path, **more})

    def heal(self):
        """Forgets all faults, and ends delays."""
        with self.lock:
            self.faults.clear()
            self.poisoned.clear()
        self.stopping.set()
        self.stopping.clear()

    def poison(self, *ids):
        with self.lock:
            self.poisoned.update(ids)

    def bulks(self):
        """Each bulk that came, answered or not: its lines parsed."""
        with self.lock:
            return [[json.loads(line) for line in r.body.splitlines()]
                    for r in self.requests if r.path.endswith("/_bulk")]

    def wait(self, name, count, seconds=30):
        """Waits until `count` requests whose path ends in `name` were counted."""
        with self.lock:
            if not self.lock.wait_for(lambda: self.counts[name] >= count, seconds):
                raise AssertionError(f"{self.counts[name]} of {count} {name} in {seconds} s")

    def take_fault(self, path):
        with self.lock:
            for fault in self.faults:
                if fault["times"] != 0 and re.search(fault["path"], path):
                    if fault["times"] is not None:
                        fault["times"] -= 1
                    return fault
        return None

    # --- what Elasticsearch does ----------------------------------------------

    def check_auth(self, headers):
        if not self.auth and not self.api_key:
            return
        given = headers.get("authorization", "")
        wanted = []
        if self.auth:
            wanted.append("Basic " + base64.b64encode(":".join(self.auth).encode()).decode())
        if self.api_key:
            wanted.append("ApiKey " + base64.b64encode(":".join(self.api_key).encode()).decode())
        if given not in wanted:
            raise error(401, "security_exception", "missing authentication credentials"
                        if not given else "unable to authenticate")

    def answer(self, method, path, query, headers, body, fault):
        """(status, JSON body) of one request."""
        self.check_auth(headers)
        if path == "/_fault":
            return self.control(method, body)
        if len(body) > self.max_body:
            raise Reply(413, None)
        parts = [urllib.parse.unquote(p) for p in path.split("/") if p]
        verb = next((p for p in parts if p.startswith("_")), "")
        index = parts[0] if parts and not parts[0].startswith("_") else None
        if body and not re.match(r"application/(x-ndj|j)son|application/vnd\.elasticsearch",
                                 headers.get("content-type", "")):
            raise Reply(406, {"error": "Content-Type header is not supported", "status": 406})
        about = {"number": self.version, "lucene_version": "8.11.3"}
        if self.distribution == "opensearch":
            about["distribution"] = "opensearch"
        if not parts:
            if not self.root and method == "GET":
                raise Reply(405, {"error": "Incorrect HTTP method for uri [/] and method [GET], "
                                           "allowed: []", "status": 405})
            return 200, {"name": "n", "cluster_name": "faults", "version": about, "tagline":
                         "You Know, for Search" if self.distribution == "elasticsearch"
                         else "The OpenSearch Project: https://opensearch.org/"}
        if verb == "_nodes":
            return 200, {"cluster_name": "faults", "nodes": {"n": {"version": self.version}}}
        if verb == "_cluster":
            return 200, {"status": "green", "timed_out": False}
        if verb == "_bulk":
            return 200, self.bulk(index, query, body, fault)
        if verb == "_refresh":
            self.refresh()
            return 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}
        if parts == ["_search", "scroll"]:
            return 200, self.scroll(method, json.loads(body))
        if verb in ("_search", "_count"):
            if "scroll" in query:
                return 200, self.open_scroll(index, json.loads(body))
            hits = self.search(index, json.loads(body or b"{}"))
            return 200, hits if verb == "_search" else {"count": hits["hits"]["total"]["value"]}
        if verb == "_mget":
            wanted = json.loads(body)
            wanted = wanted.get("docs") or [{"_id": i} for i in wanted["ids"]]
            return 200, {"docs": [self.get(w.get("_index", index), w["_id"]) for w in wanted]}
        if verb == "_field_caps":
            return 200, self.field_caps(index, query["fields"].split(","))
        if verb == "_mapping":
            kinds = {self.type: {"properties": {}}} if self.major == 6 else {"properties": {}}
            return 200, {i: {"mappings": kinds} for i in self.matching(index)}
        if index and (verb in ("_doc", "_source") or self.major == 6) and len(parts) == 3:
            if method in ("PUT", "POST"):
                self.put(index, parts[2], json.loads(body))
            found = self.get(index, parts[2])
            return (200 if found["found"] else 404), found
        if index and len(parts) == 1:
            with self.lock:
                if method == "DELETE":
                    self.indices.pop(index, None)
                else:
                    self.indices.setdefault(index, {})
            return 200, {"acknowledged": True, "index": index}
        raise error(400, "illegal_argument_exception", f"no handler found for uri [{path}]")

    def control(self, method, body):
        if method == "POST":
            self.fault(**json.loads(body))
        elif method == "DELETE":
            self.heal()
        with self.lock:
            return 200, {"faults": self.faults, "counts": self.counts}

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args):
        self.open = set()
        super().__init__(*args)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1],
                          (OSError, ssl.SSLError)):
            super().handle_error(request, client_address)

    def cut_all(self):
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        es = self.server.es
        if es.context:
            self.request = es.context.wrap_socket(self.request, server_side=True)
        self.server.open.add(self.request)
        with es.lock:
            es.counts["connections"] += 1
        super().setup()

    def finish(self):
        self.server.open.discard(self.request)
        super().finish()

    def log_message(self, format, *args):       # pylint: disable=redefined-builtin
        pass

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def cut(self):
        """Breaks the connection with a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def handle_request(self):
        es = self.server.es
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.read_body()
        fault = es.take_fault(url.path) or {"kind": None}
        kind = fault["kind"]
        if kind == "delay":
            es.stopping.wait(fault["seconds"])
        try:
            if kind == "status" and not fault.get("apply"):
                raise error(fault["status"], fault.get("type", "fault"), "a fault was asked for")
            if kind == "cut" and fault.get("apply") is False:
                raise Reply(0, None)
            status, reply = es.answer(self.command, url.path, query, headers, body,
                                      fault if kind else None)
            if kind == "status":
                raise error(fault["status"], "fault", "a fault was asked for")
        except Reply as done:
            status, reply = done.status, done.body
        except (ValueError, KeyError, IndexError, AttributeError) as err:
            done = error(400, "parse_exception", f"{type(err).__name__}: {err}")
            status, reply = done.status, done.body
        data = b"" if reply is None else json.dumps(reply).encode()
        if kind == "garbage":
            data = b"<html>not what you asked for</html>"
        cut = kind == "cut"
        with es.lock:
            es.requests.append(Request(self.command, url.path, query, headers, body,
                                       0 if cut else status))
            es.counts[url.path.rsplit("/", 1)[-1]] += 1
            es.lock.notify_all()
        if cut and not status:
            self.cut()
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        if es.distribution == "elasticsearch" and es.major >= 7:
            self.send_header("X-elastic-product", "Elasticsearch")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="security", charset="UTF-8"')
        self.end_headers()
        if cut:
            self.wfile.write(data[:len(data) // 2])
            self.cut()
        elif self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_request    # noqa: N815


if __name__ == "__main__":
    with FaultSearch(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as running:
        print(running.url, flush=True)
        threading.Event().wait()
