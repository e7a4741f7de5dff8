/* SPDX-License-Identifier: MIT */
/*
 * ebbctl status.
 *
 * --json, field names that stay:
 *	local.files, local.bytes	not in the store yet, or changed since
 *	archived.files, archived.bytes	in the store, with a local copy
 *	released.files, released.bytes	in the store only
 *	other.files			stay local: hard links, symlinks, devices, xattrs
 *	trash.files, trash.bytes	removed or replaced, still in the store
 *	oldest_unarchived_s		age of the oldest file that is to be archived, due or not; 0 none
 *	dirs_waiting			directories that are queued for a worker
 *	scanning			the first look at the whole cache is not over: local.* and
 *					archived.* still grow, released.* shrinks
 *	rates.archive_files_per_s, rates.archive_bytes_per_s, rates.release_files_per_s
 *					of the last minute
 *	since_start.archived, .released, .restored, .failed	files; failed: attempts
 *	sinks[].name, .server, .up, .error	up: false until something was sent
 *	sinks[].waiting, .missing, .poisoned	events; missing and poisoned ones are parked
 *	sinks[].oldest_s		age of the oldest waiting event; 0 none
 *	sinks[].oldest_error		why that one waits: what the sink said of it last, or that its
 *					file cannot be looked up; "" nothing is wrong
 *	store.url, .up, .error, .volume_ok (it was found to be this catalogue's),
 *	store.free_bytes, .total_bytes	0: not known
 *	store.ops.put, .verify, .stat, .get, .drop	operations since the start
 *	store.bytes_put, .bytes_got, .errors, .timeouts	the same
 *	read_ahead.bytes		of packs and files in memory
 *	read_ahead.loads, .reads, .unused	since the start: objects that were loaded, reads that
 *					they answered, those that left unread
 *	read_ahead.pushed		files whose bytes the kernel was given before they were opened
 *	catalogue.selects, .commits	statements of readers, transactions, since the start
 *	journal.backlog_bytes		not in the store's journal yet
 *	journal.next			number of its next part
 *	journal.dropped			parts up to this number are gone, a checkpoint replaces them
 *	journal.checkpoint		number of the last checkpoint: its journal begins there; 0 none
 *	journal.checkpoint_s		its age
 *	journal.since_checkpoint_bytes	what the journal takes in the store since then
 *	cache.used_pct, .free_bytes, .total_bytes, .free_inodes
 *	fuse.requests.OPERATION		that the kernel sent since the mount: lookup, create, read...
 *	fuse.parked.now, .total		requests that wait now; that had to, since the mount
 *	fuse.parked.store		of those that wait now: for the store
 *	fuse.parked.refused		failed with EIO as too many waited for the store
 *	fuse.inodes			in memory: what the kernel remembers (max_inodes)
 *	fuse.inodes_forgotten		asked back from the kernel (max_inodes)
 *	fuse.passthrough		local files are read and written by the kernel alone
 *	fuse.io_uring			its requests come over io_uring
 *	readonly			the catalogue refuses changes: see the daemon's log
 *	volume, node, mountpoint, version
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/units.h"
#include "tools/ctl.h"
#include "tools/ctl_call.h"

#define LABEL "%-10s"

static void print_files(struct json_object *o, const char *key, const char *text)
{
	struct json_object *g = ctl_member(o, key);
	char bytes[32] = "";

	if (ctl_member(g, "bytes"))
		units_print_bytes((uint64_t)ctl_int(g, "bytes"), bytes, sizeof(bytes));
	printf(LABEL "%12" PRId64 " files %12s   %s\n", key, ctl_int(g, "files"), bytes, text);
}

static void print_archiving(struct json_object *o)
{
	struct json_object *rates = ctl_member(o, "rates");
	int64_t oldest_s = ctl_int(o, "oldest_unarchived_s");
	char text[32];

	printf(LABEL "%.1f files/s, ", "archiving", ctl_double(rates, "archive_files_per_s"));
	printf("%s/s; releasing %.1f files/s\n",
	       units_print_bytes((uint64_t)ctl_double(rates, "archive_bytes_per_s"), text,
				 sizeof(text)),
	       ctl_double(rates, "release_files_per_s"));
	printf(LABEL "%s\n", "oldest",
	       oldest_s ? units_print_ms(oldest_s * 1000, text, sizeof(text))
			: "nothing waits to be archived");
}

static void print_journal(struct json_object *g)
{
	char backlog[32], since[32], age[32];

	printf(LABEL "%s not in the store yet; %s there since ", "journal",
	       units_print_bytes((uint64_t)ctl_int(g, "backlog_bytes"), backlog, sizeof(backlog)),
	       units_print_bytes((uint64_t)ctl_int(g, "since_checkpoint_bytes"), since,
				 sizeof(since)));
	if (ctl_int(g, "checkpoint"))
		printf("checkpoint %" PRId64 ", %s ago\n", ctl_int(g, "checkpoint"),
		       units_print_ms(ctl_int(g, "checkpoint_s") * 1000, age, sizeof(age)));
	else
		printf("its beginning\n");
}

static void print_store(struct json_object *o)
{
	struct json_object *g = ctl_member(o, "store");
	const char *error = ctl_str(g, "error");
	char free_text[32], total_text[32];

	printf(LABEL "%s  %s", "store", ctl_bool(g, "up") ? "up" : "DOWN", ctl_str(g, "url"));
	if (ctl_int(g, "total_bytes"))
		printf(", %s of %s free",
		       units_print_bytes((uint64_t)ctl_int(g, "free_bytes"), free_text,
					 sizeof(free_text)),
		       units_print_bytes((uint64_t)ctl_int(g, "total_bytes"), total_text,
					 sizeof(total_text)));
	putchar('\n');
	if (error && error[0])
		printf(LABEL "%s\n", "", error);
	if (!ctl_bool(g, "volume_ok"))
		printf(LABEL "not compared with the catalogue yet: nothing is archived\n", "");
	print_journal(ctl_member(o, "journal"));
}

static void print_sink(struct json_object *sink)
{
	const char *error = ctl_str(sink, "error"), *server = ctl_str(sink, "server");
	const char *oldest = ctl_str(sink, "oldest_error");
	int64_t missing = ctl_int(sink, "missing"), poisoned = ctl_int(sink, "poisoned");
	char age[32];

	printf(LABEL "%s  %s%s%s%s, %" PRId64 " waiting", "sink",
	       ctl_bool(sink, "up") ? "up" : "DOWN", ctl_str(sink, "name"),
	       server && server[0] ? " (" : "", server ? server : "",
	       server && server[0] ? ")" : "", ctl_int(sink, "waiting"));
	if (ctl_int(sink, "oldest_s"))
		printf(" (oldest %s)",
		       units_print_ms(ctl_int(sink, "oldest_s") * 1000, age, sizeof(age)));
	if (missing || poisoned)
		printf(", parked: %" PRId64 " without a document, %" PRId64 " refused", missing,
		       poisoned);
	putchar('\n');
	if (error && error[0])
		printf(LABEL "%s\n", "", error);
	if (oldest && oldest[0])
		printf(LABEL "the oldest: %s\n", "", oldest);
}

static void print_cache(struct json_object *o)
{
	struct json_object *g = ctl_member(o, "cache");
	char text[32];

	printf(LABEL "%" PRId64 "%% used, %s free\n", "cache", ctl_int(g, "used_pct"),
	       units_print_bytes((uint64_t)ctl_int(g, "free_bytes"), text, sizeof(text)));
}

static void print_table(struct json_object *o)
{
	struct json_object *sinks = ctl_member(o, "sinks");
	AUTO_FREE char *mount = ctl_shown(ctl_str(o, "mountpoint") ? ctl_str(o, "mountpoint") : "");

	printf(LABEL "%s\n", "mount", mount);
	if (ctl_bool(o, "readonly"))
		printf(LABEL "READ-ONLY: nothing is archived or released; see the daemon's log\n",
		       "catalogue");
	if (ctl_bool(o, "scanning"))
		printf(LABEL "still looking through the cache; the first two lines below grow\n",
		       "scan");
	print_files(o, "local", "only in the cache");
	print_files(o, "archived", "in the store and in the cache");
	print_files(o, "released", "only in the store");
	if (ctl_int(ctl_member(o, "other"), "files"))
		print_files(o, "other", "stay local (links, devices, attributes)");
	if (ctl_int(ctl_member(o, "trash"), "files"))
		print_files(o, "trash", "removed or replaced, see ebbctl trash");
	print_archiving(o);
	print_store(o);
	for (size_t i = 0; i < json_object_array_length(sinks); i++)
		print_sink(json_object_array_get_idx(sinks, i));
	print_cache(o);
}

static int status_run(const struct ctl_command *cmd, const struct ctl_args *args)
{
	struct json_object *result = NULL;
	AUTO_FREE char *error = NULL;
	struct ctl_mount m;
	int code;

	if (args->n > 0)
		return ctl_misuse(cmd, "status takes no path: see state");
	code = ctl_mount_find(args->mount, &m);
	if (code != CTL_OK)
		return code;
	code = ctl_call(&m, ctl_request("status"), NULL, &result, &error);
	if (error)
		ctl_complain("cannot tell the status of '%s': %s", m.path, error);
	if (code == CTL_OK && args->json) {
		json_object_object_add(result, "mountpoint",
				       ctl_json_text(ctl_str(result, "mountpoint")));
		ctl_print_json(result);
	} else if (code == CTL_OK) {
		print_table(result);
	}
	json_object_put(result);
	ctl_mount_fini(&m);
	return code;
}

const struct ctl_command ctl_status = {
	.name = "status",
	.synopsis = "[--json]",
	.summary = "what is local, archived and released, and whether everything answers",
	.text = "Prints a table. --json prints an object with the members local, archived, released, trash\n"
		"(files, bytes), other (files), oldest_unarchived_s, dirs_waiting, scanning, rates,\n"
		"since_start, sinks, store, read_ahead, catalogue, journal, cache, fuse, readonly, volume, node,\n"
		"mountpoint, version.",
	.options = CTL_OPT_JSON,
	.run = status_run,
};
