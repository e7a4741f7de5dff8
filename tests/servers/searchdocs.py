# SPDX-License-Identifier: MIT
"""The documents of faultsearch.py: indices in memory, bulk and search on them.

As strict as the real ones about what a client may get wrong (_type by version,
the final newline, unknown indices), with replies of the same form.
"""

import copy
import fnmatch
import json
import threading

ITEM_TYPES = {429: "es_rejected_execution_exception", 400: "mapper_parsing_exception",
              404: "document_missing_exception", 409: "version_conflict_engine_exception",
              503: "unavailable_shards_exception"}


class Reply(Exception):
    """Ends the handling of a request with this reply."""

    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body


def error(status, kind, reason):
    cause = {"type": kind, "reason": reason}
    return Reply(status, {"error": {"root_cause": [cause], **cause}, "status": status})


def filter_path(value, patterns):
    """What filter_path= keeps of a reply; None when nothing."""
    if not patterns or any(not p for p in patterns):
        return value
    if isinstance(value, list):
        kept = [filter_path(one, patterns) for one in value]
        return [one for one in kept if one is not None] or None
    if not isinstance(value, dict):
        return None
    found = {}
    for name, inner in value.items():
        deeper = []
        for head, *rest in patterns:
            if head == "**":
                deeper.append([head, *rest])
                head, *rest = rest or ["*"]
            if fnmatch.fnmatchcase(name, head):
                deeper.append(rest)
        kept = filter_path(inner, deeper) if deeper else None
        if kept is not None:
            found[name] = kept
    return found or None


class Documents:
    """distribution and version decide the dialect, as in FaultSearch."""

    def __init__(self, version, distribution, lag):
        self.version, self.distribution, self.lag = version, distribution, lag
        self.major = int(version.split(".")[0]) if distribution == "elasticsearch" else 7
        self.type = "_doc"              # of version 6's mappings
        self.lock = threading.Condition()
        self.indices = {}               # index -> {id: (document, version)}
        self.seen = {}                  # what searches see, with lag
        self.poisoned = set()           # ids whose items get a 400
        self.scrolls = {}               # id -> what is left of a reply's hits, and the reply
        self.scroll_number = 0

    def put(self, index, id, doc):      # pylint: disable=redefined-builtin
        with self.lock:
            docs = self.indices.setdefault(index, {})
            docs[id] = (copy.deepcopy(doc), docs.get(id, (None, 0))[1] + 1)

    def doc(self, index, id):           # pylint: disable=redefined-builtin
        """The document, None when there is none."""
        with self.lock:
            return copy.deepcopy(self.indices.get(index, {}).get(id, (None,))[0])

    def refresh(self):
        with self.lock:
            self.seen = copy.deepcopy(self.indices)

    def get(self, index, id):           # pylint: disable=redefined-builtin
        doc = self.doc(index, id)
        found = {"_index": index, "_id": id, "found": doc is not None}
        return {**found, "_source": doc} if doc is not None else found

    def matching(self, index):
        """Names of the indices that an index expression of a request means."""
        names = []
        for pattern in (index or "*").split(","):
            found = [i for i in self.indices if fnmatch.fnmatchcase(i, pattern)]
            if not found and "*" not in pattern:
                raise error(404, "index_not_found_exception", f"no such index [{pattern}]")
            names += found
        return names

    def field_caps(self, index, wanted):
        """Every field of a document is a keyword."""
        indices = self.matching(index)
        with self.lock:
            fields = {f for i in indices for doc, _ in self.indices[i].values() for f in doc}
        return {"indices": indices, "fields": {
            f: {"keyword": {"type": "keyword", "searchable": True}} for f in fields & set(wanted)}}

    def bulk(self, index, query, body, fault):
        if not body.endswith(b"\n"):
            raise error(400, "illegal_argument_exception",
                        "The bulk request must be terminated by a newline [\\n]")
        lines = [json.loads(line) for line in body.splitlines() if line]
        items, at, first = [], 0, True
        while at < len(lines):
            (action, meta), = lines[at].items()
            source = None if action == "delete" else lines[at + 1]
            at += 1 if action == "delete" else 2
            if self.major >= 8 and "_type" in meta:
                raise error(400, "illegal_argument_exception",
                            f"Action/metadata line [{at - 1}] contains an unknown parameter [_type]")
            if self.major == 6 and "_type" not in meta:
                raise error(400, "action_request_validation_exception",
                            "Validation Failed: 1: type is missing;")
            meta = {"_index": meta.get("_index", index), "_id": meta.get("_id")}
            if meta["_index"] is None:
                raise error(400, "action_request_validation_exception",
                            "Validation Failed: 1: index is missing;")
            item = dict(meta) if self.major >= 8 or self.distribution == "opensearch" else \
                {"_index": meta["_index"], "_type": self.type, "_id": meta["_id"]}
            ids = (fault or {}).get("ids")
            if fault and fault["kind"] == "item" and (meta["_id"] in ids if ids else first):
                status = fault.get("status", 429)
                item.update(status=status, error={
                    "type": fault.get("type", ITEM_TYPES.get(status, "exception")),
                    "reason": "a fault was asked for"})
            else:
                item.update(self.apply(action, meta, source))
            items.append({action: item})
            first = False
        reply = {"took": 1, "errors": any("error" in i for one in items for i in one.values()),
                 "items": items}
        patterns = [p.split(".") for p in query.get("filter_path", "").split(",") if p]
        return filter_path(reply, patterns) or {}

    def apply(self, action, meta, source):
        """One action of a bulk: the fields of its item beyond _index and _id."""
        index, name = meta["_index"], meta["_id"]

        def failed(status, kind, reason):
            return {"status": status, "error": {"type": kind, "reason": reason, "index": index}}
        with self.lock:
            if name in self.poisoned:
                return failed(400, "mapper_parsing_exception", "failed to parse field [ftpurl]")
            if index not in self.indices and action in ("update", "delete"):
                return failed(404, "index_not_found_exception", f"no such index [{index}]")
            docs = self.indices.setdefault(index, {})
            old, version = docs.get(name, (None, 0))
            if action == "delete":
                docs.pop(name, None)
                return {"status": 200 if old is not None else 404,
                        "result": "deleted" if old is not None else "not_found"}
            if action == "create" and old is not None:
                return failed(409, "version_conflict_engine_exception",
                              f"[{name}]: version conflict, document already exists")
            new = source
            if action == "update":
                if old is None and not source.get("doc_as_upsert") and "upsert" not in source:
                    return failed(404, "document_missing_exception", f"[{name}]: document missing")
                new = {**old, **source["doc"]} if old is not None else \
                    source.get("upsert", source.get("doc"))
                if new == old and source.get("detect_noop", True):
                    return {"status": 200, "result": "noop", "_version": version}
            docs[name] = (copy.deepcopy(new), version + 1)
            return {"status": 201 if old is None else 200, "_version": version + 1,
                    "result": "created" if old is None else "updated"}

    def search(self, index, request):
        def matches(query, name, doc):
            (kind, what), = query.items()
            if kind == "match_all":
                return True
            if kind == "ids":
                return name in what["values"]
            if kind == "bool":
                def every(key):
                    clauses = what.get(key, [])
                    return [matches(q, name, doc)
                            for q in (clauses if isinstance(clauses, list) else [clauses])]
                return (all(every("filter") + every("must")) and not any(every("must_not"))
                        and ("should" not in what or any(every("should"))))
            (field, value), = ((f, v) for f, v in what.items() if f != "boost")
            have = name if field == "_id" else doc.get(field.removesuffix(".keyword"))
            if isinstance(value, dict):
                value = value["value"]
            if kind == "terms":
                return have in value
            if kind == "prefix":
                return isinstance(have, str) and have.startswith(value)
            if kind in ("term", "match"):
                return have == value
            raise error(400, "parsing_exception", f"unknown query [{kind}]")
        hits = []
        with self.lock:
            docs = self.seen if self.lag else self.indices
            for where in self.matching(index):
                for name, (doc, _) in docs.get(where, {}).items():
                    if matches(request.get("query", {"match_all": {}}), name, doc):
                        hit = {"_index": where, "_id": name, "_score": 1.0}
                        if self.major < 8 and self.distribution == "elasticsearch":
                            hit["_type"] = self.type
                        if request.get("seq_no_primary_term"):
                            hit.update(_seq_no=0, _primary_term=1)
                        if request.get("_source", True) is not False:
                            hit["_source"] = copy.deepcopy(doc)
                        fields = [f.removesuffix(".keyword") for f in request.get("fields", ())
                                  if isinstance(f, str)]
                        if fields:
                            hit["fields"] = {f: [doc[g]] for f, g in zip(request["fields"], fields)
                                             if g in doc}
                        hits.append(hit)
        at, size = request.get("from", 0), request.get("size", 10)
        return {"took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "failed": 0},
                "hits": {"total": {"value": len(hits), "relation": "eq"} if self.major >= 7
                         else len(hits), "hits": hits[at:at + size]}}

    # --- scroll: a reply, a page at a time ------------------------------------

    def open_scroll(self, index, request):
        reply = self.search(index, {**request, "size": 1 << 40})
        with self.lock:
            self.scroll_number += 1
            name = f"scroll-{self.scroll_number}"
            hits = reply["hits"].pop("hits")
            self.scrolls[name] = {"reply": reply, "size": request.get("size", 10), "hits": hits}
        return self.scroll("POST", {"scroll_id": name})

    def scroll(self, method, request):
        with self.lock:
            if method == "DELETE":
                for name in request["scroll_id"]:
                    self.scrolls.pop(name, None)
                return {"succeeded": True, "num_freed": 1}
            name = request["scroll_id"]
            if name not in self.scrolls:
                raise error(404, "search_context_missing_exception", "No search context found")
            left = self.scrolls[name]
            page, left["hits"] = left["hits"][:left["size"]], left["hits"][left["size"]:]
            reply = left["reply"]
        return {**reply, "_scroll_id": name, "hits": {**reply["hits"], "hits": page}}
