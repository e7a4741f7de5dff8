# SPDX-License-Identifier: MIT
"""Fixtures of all mount and server tests.

    mount          factory: mount(**Mount's arguments) -> a started ebb.Mount,
                   mount(start=False, ...) -> one to start later
    ftp_server     factory: ftp_server(kind, root, **FtpServer's) -> started server
    ceph           a one-node Ceph, started once a session (ceph.Ceph)
    pool           a new pool in it, its name; the cluster is mended after the test
    afterwards     list of calls to make once the test's mounts are closed
    elasticsearch  a real one, started once a session (search.Search)
    opensearch     the same
    tmpdir_below   a directory of this test's own on the machine's disk

Servers are shared by the tests of a session: what a test makes in them (pools,
indices) has names of its own, and what it breaks it mends.  What is not
installed fails the test and says what to run; nothing is skipped for that.

What a mount uses outlives it, in whatever order a test names its fixtures: FTP
servers end, then mounts are closed, then `afterwards` is called, last in first
out.  Whoever makes something that a mount's store or sink needs puts its
removal there.

A test has 300 seconds, or what @pytest.mark.deadline(seconds) says, times
$EBB_TIME_SCALE.  Then its daemons are killed, so that whoever waits inside a
mount gets an error, and half a minute later the whole run is interrupted.
"""

import _thread
import faulthandler
import os
import signal
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from pylib import ceph as ceph_, ebb, ftp, proc, search    # noqa: E402  (the path comes first)

DEADLINE = 300


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): how long the test may take")
    # A runner may have started us with SIGINT ignored; then nothing could interrupt a hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: _thread.interrupt_main())


def pytest_unconfigure():
    proc.close_base()


class Watchdog:
    """Ends what a test waits for when its time is up."""

    def __init__(self, seconds):
        self.seconds, self.text = seconds, None
        self.timers = [threading.Timer(seconds, self.bark), threading.Timer(seconds + 30, self.bite)]
        for timer in self.timers:
            timer.daemon = True
            timer.start()

    def bark(self):
        self.text = f"the test took more than {self.seconds:g} s; its daemons were doing:\n"
        self.text += ebb.break_all()

    @staticmethod
    def bite():
        faulthandler.dump_traceback(file=sys.__stderr__)
        _thread.interrupt_main()

    def cancel(self):
        for timer in self.timers:
            timer.cancel()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    mark = item.get_closest_marker("deadline")
    item.watchdog = Watchdog(proc.scaled(mark.args[0] if mark else DEADLINE))
    yield
    item.watchdog.cancel()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when != "call":
        return
    if item.watchdog.text:
        report.outcome = "failed"
        report.longrepr = f"{report.longrepr or ''}\n{item.watchdog.text}"
    if report.failed:
        for mount_ in ebb.mounts:
            report.sections.append((f"log of {mount_.path}", proc.tail(mount_.log, 60)))


@pytest.fixture
def tmpdir_below(request):
    path = proc.tempdir(request.node.name)
    yield path
    proc.remove(path)


def close_all(things):
    """Closes in reverse order, all of them, whatever the first ones raise."""
    errors = []
    for thing in reversed(things):
        try:
            thing.close()
        except AssertionError as err:
            errors.append(str(err))
    if errors:
        raise AssertionError("\n".join(errors))


@pytest.fixture
def afterwards():
    """Fixtures end in the reverse order of their making: this one is made before `mount`."""
    calls = []
    yield calls
    errors = []
    for call in reversed(calls):
        try:
            call()
        except Exception as err:    # pylint: disable=broad-except
            errors.append(f"{type(err).__name__}: {err}")
    assert not errors, "\n".join(errors)


@pytest.fixture
def mount(request, afterwards):     # pylint: disable=redefined-outer-name,unused-argument
    made = []

    def make(*args, start=True, **more):
        made.append(ebb.Mount(*args, name=request.node.name, **more))
        return made[-1].start() if start else made[-1]
    yield make
    close_all(made)


@pytest.fixture
def ftp_server(mount):      # pylint: disable=redefined-outer-name,unused-argument
    made = []

    def make(kind, root, **more):
        made.append(ftp.FtpServer(kind, root, **more))
        return made[-1].start()
    yield make
    close_all(made)


def server_fixture(make):
    server = make()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def ceph():
    yield from server_fixture(ceph_.Ceph)


@pytest.fixture
def pool(ceph, afterwards):     # pylint: disable=redefined-outer-name
    name = ceph.create_pool()
    afterwards.append(lambda: ceph.delete_pool(name))
    afterwards.append(ceph.mend)
    return name


@pytest.fixture(scope="session")
def elasticsearch():
    yield from server_fixture(lambda: search.Search("elasticsearch"))


@pytest.fixture(scope="session")
def opensearch():
    yield from server_fixture(lambda: search.Search("opensearch"))
