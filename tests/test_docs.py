# SPDX-License-Identifier: MIT
"""What README, HACKING, ARCHITECTURE and the manuals say, compared with the programs.

A command, option, member of JSON, exit status, file, make target or failpoint that is
named there exists; what exists is named.  The demonstration runs, once.
"""

import glob
import json
import os
import re
import shlex
import subprocess

import pytest

from pylib import ebb, proc

PAGES = ("ebbfs.8", "ebbctl.8", "ebbfs.conf.5", "ebbfs.7")
TEXTS = ("README.md", "HACKING.md", "ARCHITECTURE.md")
# Of other programs, or values.
FOREIGN = {"delete_failed_uploads", "lock_upload_files", "synced_to_ceph"}
NOWHERE = "/nonexistent/ebbfs"


def text_of(name):
    path = os.path.join(proc.REPO, "man" if name in PAGES else "", name)
    with open(path, encoding="utf-8") as file:
        return file.read()


def plain(line):
    """A line of mdoc without its escapes."""
    return line.replace("\\&", "").replace("\\e", "\\").replace("\\ ", " ")


def program(name):
    return os.path.join(proc.BUILD, name)


def ask(*argv, code=0):
    """Its output, both streams; the exit status must be code."""
    done = proc.run(*argv, check=False)
    assert done.returncode == code, f"{argv}: {proc.status_text(done.returncode)}\n" \
                                    f"{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def options():
    return set(re.findall(r"^ {4}(\w+)=", ask(program("ebbfs"), "--help"), re.M))


def commands():
    found = re.search(r"^Commands.*?:\n(.*?)\n\n", ask(program("ebbctl"), "--help"), re.M | re.S)
    return re.findall(r"^  (\w+) ", found[1], re.M)


# --- options ---------------------------------------------------------------------

def test_the_manual_has_the_table_of_options():
    ask(os.path.join(proc.REPO, "man", "options"), "--check", program("ebbfs"))


def test_options_that_are_named_exist():
    known = options() | FOREIGN
    for page in ("ebbfs.8", "ebbfs.7", "ebbfs.conf.5"):
        words = set()
        for line in text_of(page).splitlines():
            if re.match(r"\.(It )?(Op )?(Xo )?.*\bCm ", line):
                words |= set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", line))
        assert words - known == set(), page
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text_of("README.md")))
    assert words - known == set()


def literal_blocks(page):
    """The blocks of a page, or of a text (those that are indented)."""
    text = text_of(page)
    if page in TEXTS:
        return ["\n".join(line[4:] for line in block.splitlines())
                for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.M)]
    blocks = [plain(b) for b in re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", text, re.M | re.S)]
    return blocks + [plain(line) for line in re.findall(r"^\.Dl (.*)$", text, re.M)]


def parsed(*argv):
    """ebbfs takes the options: it goes on to complain that the mount point is not there."""
    assert "cannot mount on" in ask(program("ebbfs"), *argv, code=1)


def test_configurations_that_are_shown_are_understood(tmpdir_below):
    seen = 0
    for page in ("ebbfs.8", "ebbfs.conf.5", "README.md"):
        for block in literal_blocks(page):
            lines = [line for line in block.splitlines() if re.match(r"\w+ *= ?", line)]
            if not lines or "YES" in block or "PATTERN" in block:
                continue
            path = os.path.join(tmpdir_below, "conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            missing = [f"{name}={NOWHERE}/{name}" for name in ("cache", "meta", "store")
                       if not re.search(rf"^{name} *=", block, re.M)]
            if "es_find" in block:
                missing.append("es=http://127.0.0.1:1/x")
            parsed("--config", path, NOWHERE, *(["-o", ",".join(missing)] if missing else []))
            seen += 1
    assert seen >= 5


def test_command_lines_that_are_shown_are_understood(tmpdir_below):
    conf = os.path.join(tmpdir_below, "conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(f"cache = {NOWHERE}/c\nmeta = {NOWHERE}/m\nstore = dir:{NOWHERE}/s\n")
    seen = 0
    for page in ("ebbfs.8", "README.md"):
        for line in "\n".join(literal_blocks(page)).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if len(words) < 2 or words[0] != "ebbfs" or words[-1] == "0":    # of fstab
                continue
            words = [conf if word.startswith("/etc/ebbfs/") else word for word in words[1:]]
            if not words[0].startswith("-"):
                words = words[1:]
            parsed(NOWHERE, *words)
            seen += 1
    assert seen >= 3


def test_fstab_lines(tmpdir_below):
    """What mount(8) makes of a line of fstab, and mount.fuse.ebbfs of that."""
    helper = os.path.join(tmpdir_below, "helper")
    conf = os.path.join(tmpdir_below, "conf")
    with open(os.path.join(proc.REPO, "dist", "mount.fuse.ebbfs"), encoding="ascii") as file:
        text = file.read().replace("/usr/sbin/ebbfs", program("ebbfs"))
    for path, content in ((helper, text),
                          (conf, f"cache = /c\nmeta = /m\nstore = dir:{NOWHERE}\n")):
        with open(path, "w", encoding="ascii") as file:
            file.write(content)
    lines = [line.split() for block in literal_blocks("ebbfs.8") for line in block.splitlines()
             if " fuse.ebbfs " in line and not line.startswith("mount")]
    assert len(lines) == 2
    for source, _, _, words, *_ in lines:
        source = conf if source.startswith("/") else source
        assert "cannot mount on" in ask("sh", helper, source, NOWHERE, "-o", words, "-t",
                                        "fuse.ebbfs", code=1)


# --- commands --------------------------------------------------------------------

def page_commands():
    """{command: flags} as ebbctl(8) documents them."""
    body = text_of("ebbctl.8").split("\n.Sh COMMANDS\n")[1].split("\n.Sh ")[0]
    found = {}
    for line in re.findall(r"^\.It Cm (.*)$", body, re.M):
        name = line.split()[0]
        line = line.replace("| -yes", "| Fl -yes")
        found.setdefault(name, set()).update(re.findall(r"Fl (-?\w+(?:-\w+)?)", line))
    return found


def test_every_command_is_documented():
    documented = page_commands()
    assert sorted(documented) == sorted(commands())
    for name in documented:
        text = ask(program("ebbctl"), name, "--help")
        usage = text.split("\n\n")[0]
        flags = set(re.findall(r"(?<![-\w])-(-[a-z]+|[a-ln-z])\b", usage))
        assert documented[name] == flags, f"{name}: {usage}"


def test_completion_knows_every_command():
    completion = os.path.join(proc.REPO, "dist", "ebbctl.bash")
    with open(completion, encoding="ascii") as file:
        text = file.read()
    assert [name for name in commands() if not re.search(rf"\b{name}\b", text)] == []


def test_commands_that_are_shown_exist():
    known = set(commands())
    for page in PAGES + TEXTS:
        for line in "\n".join(literal_blocks(page)).splitlines():
            for name in re.findall(r"(?:^|&& |\| )ebbctl (?:-m \S+ )?([a-z]+)", line):
                assert name in known, line
        for name in re.findall(r"(?:`|^\.Cm )ebbctl ([a-z]+)", text_of(page), re.M):
            assert name in known, f"{page}: ebbctl {name}"


def statuses(page):
    """{number} of a page's EXIT STATUS."""
    body = text_of(page).split("\n.Sh EXIT STATUS\n")[1].split("\n.Sh ")[0]
    return set(map(int, re.findall(r"^\.It (\d)$", body, re.M)))


def test_exit_statuses():
    told = ask(program("ebbctl"), "--help").split("Exit status:")[1]
    assert statuses("ebbctl.8") == set(map(int, re.findall(r"^  (\d)  ", told, re.M)))
    assert statuses("ebbfs.8") == {0, 1, 2}
    ask(program("ebbctl"), "nonsense", code=2)
    ask(program("ebbctl"), "-m", NOWHERE, "status", code=3)
    ask(program("ebbfs"), NOWHERE, "-o", "nonsense=1", code=2)
    parsed(NOWHERE, "-o", f"cache=/c,meta=/m,store=dir:{NOWHERE}")


# --- JSON ----------------------------------------------------------------------

def flat(value, name=""):
    """Names of members: "local.files", "sinks[].up"."""
    if isinstance(value, list):
        return set().union(*(flat(item, name + "[]") for item in value))
    if not isinstance(value, dict):
        return {name}
    return set().union(*(flat(item, f"{name}.{key}" if name else key)
                         for key, item in value.items()))


def members(after, before=r"^\.(?:It|Sh|Ss) ", macro="Li"):
    """Words of `Li` lines of ebbctl(8) that follow a line."""
    body = text_of("ebbctl.8").split(after + "\n", 1)[1]
    body = re.split(before, body, maxsplit=1, flags=re.M)[0]
    if ".Fl -json\nprints an" in body:
        body = body.split(".Fl -json\nprints an", 1)[1]
    return {word for line in re.findall(rf"^\.{macro} (.*)$", body, re.M)
            for word in re.findall(r"[a-z_0-9]+", line) if not word.isdigit()}


def test_members_of_status(mount):
    m = mount(es="http://127.0.0.1:1/captures")
    body = text_of("ebbctl.8").split("\n.Sh STATUS\n")[1].split("\n.Sh ")[0]
    documented = {word for line in re.findall(r"^\.It Li (.*)$", body, re.M)
                  for word in line.split(" , ")}
    status = m.status()
    assert all(isinstance(n, int) for n in status["fuse"]["requests"].values())
    status["fuse"]["requests"] = 0      # its members are FUSE's own words
    assert documented == flat(status)


def test_members_of_other_json(mount):
    m = mount()
    m.write("cam/a.jpg", b"1" * 1000)
    m.write("cam/b.jpg", b"2" * 1000)
    m.drain()
    os.unlink(m.full("cam/b.jpg"))

    def printed(*words):
        return json.loads(m.ctl(*words, "--json", check=True).stdout)
    head = ".It Cm state Oo Fl -json Oc Ar path ..."
    assert members(head) == flat(printed("state", m.full("cam/a.jpg"))[0])
    head = ".It Cm locate Oo Fl -json Oc Ar name"
    assert members(head) == flat(printed("locate", "a.jpg")[0])
    head = ".It Cm trash Op Cm list Op Fl -json"
    assert members(head) == flat(printed("trash")[0])
    head = ".It Cm lost Oo Fl -json Oc Op Ar url"
    assert members(head) == {"name", "url", "index", "id"}      # as test_lost.py sees them
    head = (".Ss Moving\nA line on the standard error is printed for each file that failed, and a\n"
            "summary on the standard output.")
    documented = members(head)
    done = json.loads(m.ctl("archive", "--json", m.full("cam"), m.full("cam/c.jpg")).stdout)
    assert set(done) | {"path", "reason"} == documented
    head = ".It Cm release Oo Fl -json Oc Oo Fl n Oc Fl -all | Ar path ..."
    dry = printed("release", "-n", m.full("cam"))
    assert set(dry) == documented - {"path", "reason"} | {"dry_run"}
    assert ".Li dry_run\n" in text_of("ebbctl.8").split(head + "\n")[1].split("\n.It ")[0]
    head = ".It Cm trash empty Oo Fl -json Oc Oo Fl n | -yes Oc Op Ar id ..."
    assert members(head) == set(printed("trash", "empty"))
    head = ".It Cm trash restore Oo Fl -json Oc Ar id | path ..."
    assert members(head) == set(printed("trash", "restore", m.full("cam/b.jpg")))


def test_members_of_rebuild(mount):
    m = mount()
    m.write("cam/a.jpg", b"1" * 1000)
    m.drain()
    m.stop()
    again = os.path.join(m.dir, "again.db")
    done = proc.run(program("ebbctl"), "rebuild", "--json", "-o",
                    f"meta={again},store=dir:{m.store}").stdout
    body = text_of("ebbctl.8").split(".It Cm rebuild ")[1].split("\n.El")[0].split("prints an")[1]
    assert set(re.findall(r"[a-z_]+", re.search(r"^\.Li (.*)$", body, re.M)[1])) == \
        set(json.loads(done))
    m.meta = again      # the old one is shut out
    m.start()
    assert m.read("cam/a.jpg") == b"1" * 1000


# --- words ----------------------------------------------------------------------

def test_states_are_those_of_the_table():
    with open(os.path.join(proc.REPO, "meta", "state.def"), encoding="ascii") as file:
        table = re.findall(r"^STATE\(\w+, \w+, (\w+), ", file.read(), re.M)
    body = text_of("ebbfs.7").split("\n.Sh STATES\n")[1].split("\n.El")[0]
    rows = re.findall(r"^\.It (?!Em)(.*)$", body, re.M)
    words = {"CHANGED": "local", "NONE": "\\(em"}
    assert [row.split(" Ta ")[2] for row in rows] == [words.get(s, s.lower()) for s in table]
    assert {w for w in words.values() if w.isalpha()} <= set(ebb.STATES)


def test_files_that_are_named_exist():
    for name in TEXTS:
        for path in re.findall(r"`([\w.-]+/[\w./*-]*)`", text_of(name)):
            top = path.split("/")[0]
            if not os.path.isdir(os.path.join(proc.REPO, top)) or top == "build" or \
                    re.search(r"[a-z]_X\.|ebbX", path):
                continue
            assert glob.glob(os.path.join(proc.REPO, path)), f"{name}: {path}"


def test_make_targets_that_are_named_exist():
    with open(os.path.join(proc.REPO, "Makefile"), encoding="utf-8") as file:
        makefile = file.read()
    for name in TEXTS + PAGES:
        for target in re.findall(r"(?:`|    |sudo )make ((?:[a-z]+-)*[a-z]+)\b(?![/-])",
                                 text_of(name)):
            assert re.search(rf"^{target}:", makefile, re.M), f"{name}: make {target}"


def sources(*patterns):
    text = []
    for pattern in patterns:
        for path in glob.glob(os.path.join(proc.REPO, pattern), recursive=True):
            if os.path.isfile(path) and path != os.path.abspath(__file__):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text.append(file.read())
    return "\n".join(text)


def test_environment_that_is_named_is_used():
    code = sources("tests/**/*.py", "build-aux/*", "tools/*.c", "lib/*.[ch]", "Makefile")
    for name in set(re.findall(r"\bEBB_[A-Z_]+\b", text_of("HACKING.md"))):
        assert name in code, name


def test_failpoints_that_are_named_exist():
    with open(os.path.join(proc.REPO, "lib", "failpoint.def"), encoding="ascii") as file:
        known = set(re.findall(r'"([a-z.-]+)"', file.read()))
    text = text_of("HACKING.md")
    found = re.findall(r"([a-z]+\.[a-z-]+)=(?:kill|error:|wait:)", text)
    assert len(found) >= 3 and set(found) <= known
    for page in PAGES:
        assert "FAILPOINT" not in text_of(page)


def test_rules_of_the_fault_store(mount):
    """The block of HACKING is understood."""
    block = [b for b in literal_blocks("HACKING.md") if "put error EIO" in b]
    assert len(block) == 1
    m = mount(start=False)
    rules = os.path.join(m.dir, "rules")
    with open(rules, "w", encoding="ascii") as file:
        file.write(block[0])
    m.store_url = f"fault:{rules}:mem:"
    m.start()
    assert "stay as they were" not in m.log_text()


# --- Ceph, as ebbfs(8) sets it up -------------------------------------------------

def test_pool_and_client_as_the_manual_makes_them(mount, ceph):
    block = [b for b in literal_blocks("ebbfs.8") if "auth get-or-create" in b][0]
    same = " ".join(block.replace("\\\n", " ").split())
    assert same in " ".join("\n".join(literal_blocks("README.md")).split())
    keyring = os.path.join(ceph.directory, "ceph.client.ebbfs.keyring")
    for line in block.replace("\\\n", " ").splitlines():
        words = [keyring if word.endswith(".keyring") else word for word in shlex.split(line)]
        assert words[0] == "ceph"
        ceph.ceph(*words[1:])
    ceph.wait_clean()
    conf = os.path.join(ceph.directory, "ceph.client.ebbfs.conf")
    with open(ceph.conf, encoding="ascii") as file:
        text = file.read().replace(f"keyring = {ceph.keyring}", f"keyring = {keyring}")
    with open(conf, "w", encoding="ascii") as file:
        file.write(text)
    m = mount(store=f"rados:ftpdata?conf={conf}&id=ebbfs")
    m.write("cam/a.jpg", b"1" * 100_000)
    m.drain()
    assert m.state("cam/a.jpg") == "released"
    assert m.read("cam/a.jpg") == b"1" * 100_000
    os.unlink(m.full("cam/a.jpg"))
    proc.wait_until(lambda: m.ctl("trash", "empty", "--yes").returncode == 0, 60,
                    "the trash empty: once the journal has what is in it")
    status = m.status()
    assert status["store"]["up"] and not status["store"]["error"]
    # The manager counts what is in a new pool every few seconds.
    proc.wait_until(lambda: m.status()["store"]["total_bytes"] > 0, 60, "the pool's size known")
    m.close()
    ceph.delete_pool("ftpdata")
    ceph.remove_client("ebbfs")


# --- the demonstration -------------------------------------------------------------

def test_demo(tmpdir_below):
    place = os.path.join(tmpdir_below, "demo")
    os.chmod(tmpdir_below, 0o755)
    env = {**os.environ, "EBB_DEMO": place}

    def run(name):
        return subprocess.run([os.path.join(proc.REPO, "demo", name)], env=env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, timeout=proc.scaled(120))
    try:
        done = run("demo")
        assert done.returncode == 0, done.stdout
        assert "\033" not in done.stdout
        for words in ("720 files were read back and compared: every byte is the same",
                      "0 files in ", "the file is released", "\n   released\n", "demo-stop"):
            assert words in done.stdout, done.stdout
        # It stays: the FTP server answers, and the mount is there.
        assert os.path.join(place, "mnt") in proc.mounts_below(place)
        url = re.search(r"ftp://camera:\w+@127.0.0.1:\d+/", done.stdout)[0]
        hello = os.path.join(tmpdir_below, "hello.txt")
        with open(hello, "w", encoding="ascii") as file:
            file.write("hello")
        ask("curl", "-sS", "-T", hello, url)
        assert ask("curl", "-sS", url + "hello.txt") == "hello"
    finally:
        stopped = run("demo-stop")
    assert stopped.returncode == 0, stopped.stdout
    assert not os.path.exists(place) and proc.mounts_below(place) == []
    assert place not in ask("ps", "-ww", "-e", "-o", "args")
    assert "no demo" in run("demo-stop").stdout


def test_demo_says_who_may_run_it():
    done = subprocess.run([os.path.join(proc.REPO, "demo", "demo")], user=65534, group=65534,
                          extra_groups=[], text=True, capture_output=True, check=False)
    if "Permission denied" in done.stderr:
        pytest.skip("nobody cannot reach this tree")
    assert done.returncode == 1 and "only root" in done.stderr
