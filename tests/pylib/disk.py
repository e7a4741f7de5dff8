# SPDX-License-Identifier: MIT
"""File systems to put a cache on: the machine's disk, tmpfs, ext4, xfs.

    with disk.Disk("ext4", directory, size_mib=64) as d: ... d.path ...

ext4 and xfs are sparse images mounted by a loop device (xfs wants 300 MiB).
"""

import fcntl
import os
import struct

from . import proc

FS_IOC_SHUTDOWN = 0x8004587d
SHUTDOWN_NOLOGFLUSH = 2

MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,root_owner=0:0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}


class Disk:
    def __init__(self, kind, directory, size_mib=512, mkfs_args=(), mount_options=""):
        self.kind = kind
        self.path = os.path.join(directory, "fs")
        self.image = self.path + ".img"
        os.mkdir(self.path)
        if kind == "tmpfs":
            options = f"size={size_mib}m,mode=0711"
            proc.run("mount", "-t", "tmpfs", "-o", ",".join(filter(None, [options, mount_options])),
                     "ebb-test", self.path)
        elif kind in MKFS:
            with open(self.image, "wb") as file:
                file.truncate(size_mib << 20)
            proc.need_program(MKFS[kind][0])
            proc.run(*MKFS[kind], *mkfs_args, self.image)
            self.mount(mount_options)
            os.chmod(self.path, 0o711)
        elif kind != "disk":
            raise ValueError(f"unknown kind of disk: {kind}")

    def mount(self, options=""):
        proc.run("mount", "-t", self.kind, "-o", ",".join(filter(None, ["loop", options])),
                 self.image, self.path)

    def cut_power(self):
        """From now on nothing reaches the image, as if the power were cut; umount()
        and mount() give what survived.  ext4 and xfs."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_NOLOGFLUSH))
        finally:
            os.close(fd)

    def umount(self):
        if proc.mounts_below(self.path):
            proc.wait_until(lambda: proc.run("umount", self.path, check=False).returncode == 0,
                            60, f"umount {self.path}")
        # It is not over while another mount namespace has it: mount() would give the same again.
        proc.wait_until(lambda: not os.path.exists(self.image) or
                        not proc.run("losetup", "-j", self.image).stdout, 60,
                        f"the end of the loop device of {self.image}")

    def close(self):
        """Ends it for certain; complains if somebody was still inside."""
        try:
            self.umount()
        except proc.Late:
            proc.run("umount", "-l", self.path, check=False)
            raise
        finally:
            if os.path.exists(self.image):
                os.unlink(self.image)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
