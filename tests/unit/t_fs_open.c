/* SPDX-License-Identifier: MIT */
/*
 * The open state of a file: one backing id while it is open, a mode that stays, leases
 * as soon as nobody writes, and bytes that become local under who reads them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/cfd.h"
#include "fs/open.h"
#include "tests/unit/tier_rig.h"

/* A kernel that counts backing files. */
struct kernel {
	int last_id;
	int nopen;
	int refuse; /* errno */
};

static int kernel_open(void *arg, int fd)
{
	struct kernel *k = arg;

	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	if (k->refuse)
		return -k->refuse;
	k->nopen++;
	return ++k->last_id;
}

static void kernel_close(void *arg, int id)
{
	struct kernel *k = arg;

	assert_true(id > 0 && id <= k->last_id);
	k->nopen--;
}

static const struct backing_ops ops = { kernel_open, kernel_close };

struct test {
	struct kernel kernel;
	struct rig *rig;
	struct opens *opens;
	struct node *node; /* of the file "f", 10 bytes */
	char path[256];
};

static int set_up(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	t->rig = rig_new(RIG_DIR, "");
	rig_open(t->rig);
	rig_write(t->rig, "f", "0123456789", 10);
	rig_path(t->rig, "f", t->path, sizeof(t->path));
	assert_int_equal(opens_new(&ops, &t->kernel, &t->opens), 0);
	assert_int_equal(
		node_get(t->rig->t->tree, tree_root(t->rig->t->tree), "f", false, &t->node), 0);
	node_set_ino(t->rig->t->tree, t->node, 12345);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct test *t = *state;

	assert_int_equal(t->kernel.nopen, 0);
	assert_int_equal(opens_count(t->opens), 0);
	assert_null(node_fs(t->node));
	node_put(t->rig->t->tree, t->node);
	opens_free(t->opens, t->rig->t->tree);
	rig_free(t->rig);
	free(t);
	return 0;
}

static struct opened add_handle(struct test *t, int flags, bool write, bool passthrough)
{
	struct opening in = { .fd = open(t->path, flags | O_CLOEXEC),
			      .fd_ro = flags == O_RDONLY,
			      .write = write,
			      .passthrough = passthrough };
	struct opened ret;

	assert_true(in.fd >= 0);
	assert_int_equal(opens_add(t->opens, t->node, &in, &ret), 0);
	return ret;
}

static struct opened add_fd(struct test *t, int flags, bool passthrough)
{
	return add_handle(t, flags, flags != O_RDONLY, passthrough);
}

static struct opened add_remote(struct test *t, struct remote *remote)
{
	struct opening in = { .fd = -1, .remote = remote_ref(remote), .passthrough = true };
	struct opened ret;

	assert_int_equal(opens_add(t->opens, t->node, &in, &ret), 0);
	return ret;
}

static bool drop(struct test *t, bool write)
{
	bool last = false;

	assert_int_equal(opens_drop(t->opens, t->node, write, &last), 0);
	return last;
}

static void assert_bytes(struct test *t, const char *want)
{
	struct bytes b;
	char buf[64];
	ssize_t n;

	assert_int_equal(opens_bytes(t->opens, t->node, false, &b), 0);
	n = pread(bytes_fd(&b), buf, sizeof(buf), 0);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, strlen(want));
	bytes_put(&b);
}

/* Could the reaper release it now?  Our own descriptor must not be in the way. */
static bool lease_possible(struct test *t)
{
	int fd = open(t->path, O_RDONLY | O_CLOEXEC);
	bool yes = cache_quiet(fd) == 0;

	close(fd);
	return yes;
}

static void one_backing_id(void **state)
{
	struct test *t = *state;
	struct opened a = add_fd(t, O_RDONLY, true), b = add_fd(t, O_RDWR, true),
		      c = add_fd(t, O_RDONLY, false);

	assert_int_equal(a.mode, OPEN_PASSTHROUGH);
	assert_int_equal(b.mode, OPEN_PASSTHROUGH);
	assert_int_equal(c.mode, OPEN_PASSTHROUGH); /* not wanted, but the mode stays */
	assert_true(a.backing_id > 0 && a.backing_id == b.backing_id &&
		    b.backing_id == c.backing_id);
	assert_true(lease_possible(t)); /* the kernel's own descriptors count, not ours */
	drop(t, false);
	assert_true(drop(t, true));
	assert_int_equal(t->kernel.nopen, 1);
	assert_false(drop(t, false));
	assert_int_equal(t->kernel.nopen, 0);
	assert_int_equal(add_fd(t, O_RDWR, true).backing_id, a.backing_id + 1);
	drop(t, true);
}

static void not_wanted_at_first(void **state)
{
	struct test *t = *state;

	assert_int_equal(add_fd(t, O_RDONLY, false).mode, OPEN_LOCAL);
	assert_int_equal(add_fd(t, O_RDWR, true).mode, OPEN_LOCAL);
	assert_int_equal(t->kernel.last_id, 0);
	drop(t, false);
	drop(t, true);
}

static void backing_refused(void **state)
{
	struct test *t = *state;
	struct bytes b;

	t->kernel.refuse = EPERM;
	assert_int_equal(add_fd(t, O_RDWR, true).mode, OPEN_LOCAL);
	assert_int_equal(opens_bytes(t->opens, t->node, true, &b), 0);
	assert_int_equal(pwrite(bytes_fd(&b), "AB", 2, 0), 2);
	bytes_put(&b);
	assert_bytes(t, "AB23456789");
	t->kernel.refuse = 0;
	assert_int_equal(add_fd(t, O_RDONLY, true).mode, OPEN_LOCAL);
	drop(t, true);
	drop(t, false);
}

/* As who creates a file for the kernel to write. */
static void writer_without_writable_descriptor(void **state)
{
	struct test *t = *state;
	struct bytes b;

	assert_int_equal(add_handle(t, O_RDONLY, true, true).mode, OPEN_PASSTHROUGH);
	assert_true(lease_possible(t));
	assert_true(drop(t, true));
	t->kernel.refuse = EPERM;
	for (int passthrough = 0; passthrough < 2; passthrough++) {
		assert_int_equal(add_handle(t, O_RDONLY, true, passthrough).mode, OPEN_LOCAL);
		assert_int_equal(add_handle(t, O_RDONLY, true, passthrough).mode, OPEN_LOCAL);
		assert_int_equal(opens_bytes(t->opens, t->node, true, &b), 0);
		assert_int_equal(pwrite(bytes_fd(&b), "CD", 2, 0), 2);
		bytes_put(&b);
		assert_bytes(t, "CD23456789");
		assert_false(drop(t, true));
		assert_true(drop(t, true));
	}
	add_fd(t, O_RDONLY, false);
	assert_int_equal(add_handle(t, O_RDONLY, true, false).mode, OPEN_LOCAL);
	assert_int_equal(opens_bytes(t->opens, t->node, true, &b), 0);
	assert_int_equal(pwrite(bytes_fd(&b), "EF", 2, 0), 2);
	bytes_put(&b);
	assert_true(drop(t, true));
	drop(t, false);
}

static void leases_after_the_last_writer(void **state)
{
	struct test *t = *state;

	add_fd(t, O_RDWR, false);
	add_fd(t, O_RDWR, false);
	add_fd(t, O_RDONLY, false);
	assert_false(lease_possible(t));
	assert_false(drop(t, true));
	assert_false(lease_possible(t));
	assert_true(drop(t, true));
	assert_true(lease_possible(t));
	assert_bytes(t, "0123456789");
	drop(t, false);
}

/* Bytes in use outlive the handle. */
static void bytes_are_counted(void **state)
{
	struct test *t = *state;
	struct bytes b;
	char c;

	add_fd(t, O_RDWR, false);
	assert_int_equal(opens_bytes(t->opens, t->node, true, &b), 0);
	drop(t, true);
	assert_int_equal(pread(bytes_fd(&b), &c, 1, 9), 1);
	assert_int_equal(c, '9');
	bytes_put(&b);
	assert_int_equal(opens_bytes(t->opens, t->node, false, &b), -EBADF);
}

static void handles_never_given(void **state)
{
	struct test *t = *state;
	bool last;

	assert_int_equal(opens_drop(t->opens, t->node, true, &last), -EBADF);
	assert_int_equal(opens_drop(t->opens, t->node, false, &last), -EBADF);
	add_fd(t, O_RDONLY, false);
	assert_int_equal(opens_drop(t->opens, t->node, true, &last), -EBADF);
	drop(t, false);
	assert_int_equal(opens_drop(t->opens, tree_root(t->rig->t->tree), false, &last), -EBADF);
}

static void opened_again(void **state)
{
	struct test *t = *state;
	struct remote *remote;
	char buf[16];
	int fd;

	assert_int_equal(opens_again(t->opens, t->node, O_RDONLY, &fd, &remote), -ENOENT);
	add_fd(t, O_RDONLY, true);
	assert_int_equal(unlink(t->path), 0);
	assert_int_equal(opens_again(t->opens, t->node, O_RDWR, &fd, &remote), 0);
	assert_int_equal(pwrite(fd, "X", 1, 0), 1);
	assert_null(remote);
	close(fd);
	assert_bytes(t, "X123456789");
	assert_int_equal(opens_again(t->opens, t->node, O_RDONLY | O_TRUNC, &fd, &remote), 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), 0);
	close(fd);
	drop(t, false);
}

static struct remote *make_remote(struct test *t)
{
	struct remote *remote;
	struct state_of look;

	assert_int_equal(rig_archive(t->rig, "f"), 0);
	look = rig_look(t->rig, "f");
	assert_true(look.has_row);
	assert_int_equal(remote_open(t->rig->t, &look.row, &remote), 0);
	return remote;
}

static void remote_becomes_local(void **state)
{
	struct test *t = *state;
	struct remote *remote = make_remote(t);
	struct bytes b;

	assert_int_equal(add_remote(t, remote).mode, OPEN_REMOTE);
	assert_true(opens_is_remote(t->opens, t->node));
	assert_int_equal(opens_bytes(t->opens, t->node, false, &b), 0);
	assert_ptr_equal(b.remote, remote);
	assert_int_equal(bytes_fd(&b), -1);
	bytes_put(&b);
	assert_int_equal(opens_bytes(t->opens, t->node, true, &b), -EBADF);

	assert_int_equal(add_fd(t, O_RDWR, true).mode, OPEN_REMOTE);
	assert_int_equal(t->kernel.last_id, 0);
	assert_bytes(t, "0123456789");
	assert_false(opens_is_remote(t->opens, t->node));
	drop(t, true);
	assert_bytes(t, "0123456789");
	assert_true(lease_possible(t));
	drop(t, false);
	remote_put(remote);
}

/* The remote lost a race with a restore: it is not needed. */
static void remote_beside_local(void **state)
{
	struct test *t = *state;
	struct remote *remote = make_remote(t);

	assert_int_equal(add_fd(t, O_RDONLY, true).mode, OPEN_PASSTHROUGH);
	assert_int_equal(add_remote(t, remote).mode, OPEN_PASSTHROUGH);
	assert_bytes(t, "0123456789");
	drop(t, false);
	drop(t, false);
	remote_put(remote);
}

static void truncated_while_remote(void **state)
{
	struct test *t = *state;
	struct remote *remote = make_remote(t);

	add_remote(t, remote);
	assert_int_equal(truncate(t->path, 3), 0);
	opens_now_local(t->opens, t->node, open(t->path, O_RDONLY | O_CLOEXEC));
	assert_bytes(t, "012");
	drop(t, false);
	remote_put(remote);
}

/* Old bytes are never given for new ones. */
static void local_copy_lost(void **state)
{
	struct test *t = *state;
	struct remote *remote = make_remote(t);
	struct bytes b;

	add_remote(t, remote);
	opens_now_local(t->opens, t->node, -EMFILE);
	assert_int_equal(opens_bytes(t->opens, t->node, false, &b), -EIO);
	drop(t, false);
	remote_put(remote);
}

/* A program that is run: known as long as its own handle is there, whoever else reads. */
static void run(void **state)
{
	struct test *t = *state;
	struct opening in = { .fd = open(t->path, O_RDONLY | O_CLOEXEC), .exec = true };
	struct opened ret;

	opens_exec_ends(t->opens, t->node); /* a number that never was a handle's */
	assert_false(opens_is_run(t->opens, t->node));
	add_fd(t, O_RDONLY, false);
	assert_false(opens_is_run(t->opens, t->node));
	assert_int_equal(opens_add(t->opens, t->node, &in, &ret), 0);
	assert_true(opens_is_run(t->opens, t->node));
	opens_exec_ends(t->opens, t->node);
	drop(t, false);
	assert_false(opens_is_run(t->opens, t->node));
	opens_exec_ends(t->opens, t->node);
	assert_false(opens_is_run(t->opens, t->node));
	drop(t, false);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(one_backing_id),
		TEST(not_wanted_at_first),
		TEST(backing_refused),
		TEST(leases_after_the_last_writer),
		TEST(writer_without_writable_descriptor),
		TEST(bytes_are_counted),
		TEST(handles_never_given),
		TEST(opened_again),
		TEST(remote_becomes_local),
		TEST(remote_beside_local),
		TEST(truncated_while_remote),
		TEST(local_copy_lost),
		TEST(run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
