/* SPDX-License-Identifier: MIT */
/* Counted descriptors: one may be replaced while another thread still reads from it. */
#ifndef EBB_FS_CFD_H
#define EBB_FS_CFD_H

struct cfd;

/* Takes *fd over and sets it to -1.  0; -ENOMEM; -EBADF when *fd is negative. */
int cfd_new(int *fd, struct cfd **ret);
struct cfd *cfd_get(struct cfd *c);
void cfd_put(struct cfd *c); /* NULL is fine */
int cfd_fd(const struct cfd *c);

/* The same file, whatever its name is now, with other flags.  A descriptor or -errno of open(2). */
int cfd_open_again(int fd, int flags);
/* The same, counted. */
int cfd_reopen(int fd, int flags, struct cfd **ret);

#endif
