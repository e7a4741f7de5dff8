/* SPDX-License-Identifier: MIT */
/*
 * The connection to Ceph.
 *
 *	connecting --+-- error: say what to do, wait (0.5 s doubling to 15 s) --+
 *	   ^         |                                                          |
 *	   |         +--> ready: operations are sent, a probe every 5 s         |
 *	   |                 |                                                  |
 *	   +-----------------+ the pool is gone, we are blocklisted             |
 *	   +--------------------------------------------------------------------+
 *
 * One thread does all of it, because librados waits here: for monitors, maps and
 * statistics, never longer than the times set in configure().  Once ready, librados
 * itself finds its way back to monitors and OSDs that went away.
 */
#include "backend/store_rados.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"

#define PROBE_MS 5000
#define BACKOFF_MIN_MS 500
#define BACKOFF_MAX_MS 15000
#define CONNECT_MAX_S 10

static int64_t timeout_s(const struct rstore *s)
{
	return (s->base.timeout_ms + 999) / 1000;
}

static int64_t connect_s(const struct rstore *s)
{
	return timeout_s(s) < CONNECT_MAX_S ? timeout_s(s) : CONNECT_MAX_S;
}

/* ---- connecting --------------------------------------------------------- */

static const char *conf_name(const struct rstore *s)
{
	return s->conf ? s->conf : "ceph.conf";
}

static int set_seconds(rados_t cluster, const char *name, int64_t seconds)
{
	char value[24];

	snprintf(value, sizeof(value), "%lld", (long long)(seconds > 0 ? seconds : 1));
	return rados_conf_set(cluster, name, value);
}

/*
 * librados waits for ever by default.  And it asks for a newer map only when an
 * operation is laggy (objecter_timeout, 10 s): one with a shorter timeout is given
 * up before, and an OSD that came back elsewhere would never be found.
 */
static int set_timeouts(struct rstore *s, rados_t cluster)
{
	int r = set_seconds(cluster, "client_mount_timeout", connect_s(s));

	if (r == 0)
		r = set_seconds(cluster, "rados_mon_op_timeout", connect_s(s));
	/* Later than the timer of store_rados_op.c, which is exact. */
	if (r == 0)
		r = set_seconds(cluster, "rados_osd_op_timeout", timeout_s(s) + 1);
	if (r == 0)
		r = set_seconds(cluster, "objecter_tick_interval", 1);
	if (r == 0)
		r = set_seconds(cluster, "objecter_timeout", connect_s(s) / 3);
	return r;
}

static int configure(struct rstore *s, rados_t cluster)
{
	int r;

	r = rados_conf_read_file(cluster, s->conf);
	if (r < 0) {
		store_set_trouble(
			&s->base, STORE_DOWN,
			"store '%.60s': cannot read '%.80s': %s: name Ceph's configuration with conf= in the store's URL",
			s->base.name, s->conf ? s->conf : "/etc/ceph/ceph.conf",
			strerrordesc_np(-r));
		return r;
	}
	r = set_timeouts(s, cluster);
	if (r < 0) {
		store_set_trouble(&s->base, STORE_DOWN,
				  "store '%.60s': librados has no timeouts: %s", s->base.name,
				  strerrordesc_np(-r));
		return r;
	}
	/* It would write to our stderr; what matters comes back as an error. */
	rados_conf_set(cluster, "log_to_stderr", "false");
	rados_conf_set(cluster, "err_to_stderr", "false");
	return 0;
}

static void explain(struct rstore *s, int r)
{
	const char *name = s->base.name, *conf = conf_name(s);

	switch (r) {
	case -ENOENT:
		store_set_trouble(
			&s->base, STORE_DOWN,
			"store '%.60s': no monitors or no key for client.%.40s: see mon_host and keyring in '%.80s'",
			name, s->id, conf);
		break;
	case -EACCES:
	case -EPERM:
		store_set_trouble(
			&s->base, STORE_DOWN,
			"store '%.60s': the monitors refuse client.%.40s: compare its key with `ceph auth get client.%.40s`",
			name, s->id, s->id);
		break;
	case -ETIMEDOUT:
		store_set_trouble(
			&s->base, STORE_DOWN,
			"store '%.60s': no monitor answers within %lld s: see `ceph -s`, the network, and mon_host in '%.80s'",
			name, (long long)connect_s(s), conf);
		break;
	default:
		store_set_trouble(&s->base, STORE_DOWN, "store '%.60s': cannot connect to Ceph: %s",
				  name, strerrordesc_np(-r));
		break;
	}
}

static int open_pool(struct rstore *s, rados_t cluster, rados_ioctx_t *ret)
{
	rados_ioctx_t io;
	int r = rados_ioctx_create(cluster, s->pool, &io);

	if (r == -ENOENT)
		store_set_trouble(
			&s->base, STORE_DOWN,
			"store '%.60s': there is no pool '%.60s': make it with `ceph osd pool create %.60s`",
			s->base.name, s->pool, s->pool);
	else if (r < 0)
		explain(s, r);
	if (r < 0)
		return r;
	rados_ioctx_set_namespace(io, s->space);
	*ret = io;
	return 0;
}

/* Waits for monitors, up to twice connect_s(). */
static int connect_once(struct rstore *s, rados_t *ret, rados_ioctx_t *ret_io)
{
	AUTO_FREE char *user = NULL;
	rados_t cluster;
	int r;

	if (asprintf(&user, "client.%s", s->id) < 0) {
		user = NULL;
		return -ENOMEM;
	}
	r = rados_create2(&cluster, "ceph", user, 0);
	if (r < 0) {
		explain(s, r);
		return r;
	}
	r = configure(s, cluster);
	if (r == 0) {
		r = rados_connect(cluster);
		if (r < 0)
			explain(s, r);
	}
	if (r == 0)
		r = open_pool(s, cluster, ret_io);
	if (r < 0) {
		rados_shutdown(cluster);
		return r;
	}
	*ret = cluster;
	return 0;
}

static void disconnect(rados_t cluster, rados_ioctx_t io)
{
	rados_ioctx_destroy(io);
	rados_shutdown(cluster);
}

/* ---- the thread --------------------------------------------------------- */

static void serve(struct rstore *s, rados_t cluster, rados_ioctx_t io)
{
	int64_t probe_ms = 0; /* at once */

	lock_take(&s->lock);
	s->cluster = cluster;
	s->io = io;
	s->again = false;
	s->ready = true;
	cond_broadcast(&s->ready_wake);
	lock_drop(&s->lock);
	store_end_trouble(&s->base, STORE_DOWN);
	rstore_pump(s);

	lock_take(&s->lock);
	while (!s->again && !(s->closing && s->flying == 0)) {
		if (s->closing) {
			cond_wait(&s->conn_wake, &s->lock);
			continue;
		}
		if (clock_mono_ms() < probe_ms) {
			cond_wait_until(&s->conn_wake, &s->lock, probe_ms);
			continue;
		}
		lock_drop(&s->lock);
		rstore_probe(s, cluster);
		probe_ms = clock_mono_ms() + PROBE_MS;
		lock_take(&s->lock);
	}
	s->ready = false;
	cond_signal(&s->timer_wake);
	while (s->io_users > 0)
		cond_wait(&s->conn_wake, &s->lock);
	s->io = NULL;
	s->cluster = NULL;
	lock_drop(&s->lock);
	disconnect(cluster, io);
}

/* Returns true when the store is closing and nothing is left to do. */
static bool pause_or_end(struct rstore *s, int64_t pause_ms)
{
	int64_t until = clock_mono_ms() + pause_ms;
	bool end;

	lock_take(&s->lock);
	while (!s->closing && cond_wait_until(&s->conn_wake, &s->lock, until))
		;
	/* The timer answers what is queued: nobody else will. */
	while (s->closing && s->flying > 0)
		cond_wait(&s->conn_wake, &s->lock);
	end = s->closing;
	s->drained = end;
	cond_signal(&s->timer_wake);
	lock_drop(&s->lock);
	return end;
}

void *rstore_conn_main(void *arg)
{
	struct rstore *s = arg;
	int64_t pause_ms = BACKOFF_MIN_MS;
	rados_ioctx_t io = NULL;
	rados_t cluster = NULL;

	for (;;) {
		if (connect_once(s, &cluster, &io) == 0) {
			pause_ms = BACKOFF_MIN_MS;
			serve(s, cluster, io);
		}
		if (pause_or_end(s, pause_ms))
			return NULL;
		pause_ms = 2 * pause_ms < BACKOFF_MAX_MS ? 2 * pause_ms : BACKOFF_MAX_MS;
	}
}

void rstore_connect_again(struct rstore *s, const char *why)
{
	bool first;

	lock_take(&s->lock);
	first = s->ready && !s->again;
	if (s->ready)
		s->again = true;
	s->ready = false;
	cond_signal(&s->conn_wake);
	lock_drop(&s->lock);
	if (first)
		store_set_trouble(&s->base, STORE_DOWN, "store '%.60s': %s", s->base.name, why);
}

bool rstore_use_io(struct rstore *s, int64_t deadline_ms, rados_ioctx_t *ret)
{
	bool in_time = true;

	lock_take(&s->lock);
	while (!s->ready && in_time)
		in_time = cond_wait_until(&s->ready_wake, &s->lock, deadline_ms);
	in_time = s->ready;
	if (in_time) {
		s->io_users++;
		*ret = s->io;
	}
	lock_drop(&s->lock);
	return in_time;
}

void rstore_unuse_io(struct rstore *s)
{
	lock_take(&s->lock);
	s->io_users--;
	cond_signal(&s->conn_wake);
	lock_drop(&s->lock);
}

/* ---- errors ------------------------------------------------------------- */

/* Is our pool in the map?  Looks at what librados has: no waiting, so right in a callback. */
static bool pool_is_there(struct rstore *s)
{
	char name[8];

	return rados_ioctx_get_pool_name(s->io, name, sizeof(name)) != -ENOENT;
}

int rstore_error(struct rstore *s, enum store_op op, const char *key, int r)
{
	switch (r) {
	case -EEXIST:
	case -ENOSPC:
	case -EDQUOT:
	case -ETIMEDOUT:
	case -ENOMEM:
	case -EACCES:
		return r;
	case -EPERM:
		return -EACCES;
	case -ENAMETOOLONG:
		return op == STORE_PUT ? r : -ENOENT;
	case -EMSGSIZE:
	case -EFBIG:
		if (op == STORE_PUT)
			return -EFBIG;
		break;
	case -ENOENT:
		if (!pool_is_there(s)) {
			rstore_connect_again(s, "its pool was removed");
			return -EIO;
		}
		if (op != STORE_PUT)
			return r;
		break;
	case -ESHUTDOWN:
		rstore_connect_again(s, "Ceph has blocklisted this client: connecting anew");
		return -EIO;
	default:
		break;
	}
	store_log_failure(&s->base, op, key, r, NULL);
	return -EIO;
}
