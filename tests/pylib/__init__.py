# SPDX-License-Identifier: MIT
"""What the tests share: a mount, real servers, captures, trees.

    proc      temporary directories, processes, ports, waiting with deadlines
    guard     the process that cleans up when the test runner was killed
    disk      tmpfs and loop-mounted images to put a cache on
    ebb       one ebbfs mount, its daemon and its ebbctl
    tree      snapshots of directory trees, and how two of them differ
    captures  JPEG and JSON files as a camera would upload them
    promises  what must be true of a mount after it was killed
    linux     calls of Linux that Python does not have
    ftp       vsftpd, ProFTPD, Pure-FTPd
    ceph      a Ceph cluster of one node
    search    Elasticsearch and OpenSearch
    posix     pjdfstest and fsx
    ringclient  a process that keeps one ring busy

Only Python's standard library is used, from 3.11 on.  Nothing here sleeps in
order to be in step with something: it waits for the thing itself.
"""
