/* SPDX-License-Identifier: MIT */
/*
 * Fills a catalogue with released paths, for tests of its size.
 *
 *	mkcatalogue FILE PATHS [-c CAMERAS] [-p FILES_A_DIRECTORY] [-b BATCH] [-f FLAT] [-s SAMPLES]
 *
 * FILE is one that ebbfs made on an empty store and cache and left: volume, node and cache
 * are those, so that it mounts there again.  The rows are those of a site's captures,
 * <camera>/YYYY/MM/DD/HH/<name>, as the reaper writes them: an hour after the other, in it
 * BATCH files of each directory in turn, small ones in packs, so that pages are filled as they
 * are in life.  -f: first, FLAT names more in the one directory flat/.  -s: about so many paths,
 * evenly taken, go to standard output.
 *
 * Always true: the kept counters, the numbers and row ids are right when it ends well.  The
 * store has no object of these rows and no journal of them: names are there, bytes are not.
 * Killed on its way it leaves a damaged file, as nothing is synced and nothing undone.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/units.h"
#include "meta/catalogue_int.h"
#include "meta/place.h"

#define FIRST_HOUR 1513350000 /* 2017-12-15 15:00:00 UTC */
#define HOUR_S 3600
#define KINDS 3 /* files of a capture */
#define PACK_BELOW 65536
#define PACK_SIZE 4194304
#define COMMIT_ROWS 2000000

/* In the order of their names. */
static const struct kind {
	const char *suffix;
	uint32_t least, most; /* bytes */
} kinds[KINDS] = {
	{ "0.jpg", 50000, 500000 },
	{ "0.json", 1000, 2000 },
	{ "1.jpg", 5000, 50000 },
};

struct camera {
	char name[24];
	dirid_t dirs[4]; /* the camera's, year's, month's and day's; 0: not yet */
	int at[4];	 /* which year, month and day they are */
	dirid_t hour;
	int64_t objdir;
};

struct maker {
	/* constant */
	uint64_t paths, flat, per_dir, batch, samples;
	unsigned n_cameras;

	struct db db;
	struct cat_state state; /* as it will be */
	struct camera *cameras; /* owned */
	uint64_t made;		/* of paths, the flat ones excepted */
	uint64_t random;
	int64_t written; /* rows since the last commit */
	int r;		 /* the first error; then nothing more is done */
};

/* ---- the database --------------------------------------------------------------------------- */

/* Nothing is safe while it is filled, so this is no statement of the catalogue's. */
static int go_fast(struct db *db)
{
	static const char text[] = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF;"
				   "PRAGMA synchronous=OFF; PRAGMA cache_size=-2000000";
	int rc;

	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
	rc = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : db_error(db, rc, "open it for filling");
}

static int open_db(struct maker *m, const char *file)
{
	char err[256] = "";
	int r = db_init(&m->db, file, false, NULL);

	m->db.quiet = false;
	if (r == 0)
		r = schema_recognise(&m->db, err, sizeof(err));
	if (r == 0)
		r = -ENODATA;
	if (r == 1)
		r = state_load(&m->db, &m->state);
	if (r < 0) {
		fprintf(stderr, "mkcatalogue: %s\n", err[0] ? err : "no catalogue is there");
		return r;
	}
	if (m->state.counts.files > 0 || uid128_is_zero(&m->state.ids.volume)) {
		fprintf(stderr, "mkcatalogue: it has files, or was never mounted\n");
		return -EINVAL;
	}
	r = go_fast(&m->db);
	return r < 0 ? r : db_run(&m->db, SQL_BEGIN);
}

/* Ends as a clean unmount does: a WAL catalogue without a WAL. */
static int close_db(struct maker *m)
{
	struct db *db = &m->db;

	m->state.journalled_txn = m->state.txn;
	if (m->r == 0)
		m->r = state_save_tally(db, &m->state);
	if (m->r == 0)
		m->r = state_set_meta_int(db, "number", (int64_t)m->state.number);
	if (m->r == 0)
		m->r = state_set_meta_int(db, "txn", m->state.txn);
	if (m->r == 0)
		m->r = db_run(db, SQL_COMMIT);
	if (m->r == 0)
		m->r = schema_set_wal(db);
	db_fini(db);
	return m->r;
}

static void wrote(struct maker *m)
{
	if (m->r < 0 || ++m->written < COMMIT_ROWS)
		return;
	m->written = 0;
	m->r = db_run(&m->db, SQL_COMMIT);
	if (m->r == 0)
		m->r = db_run(&m->db, SQL_BEGIN);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static uint64_t random_number(struct maker *m, uint64_t below)
{
	m->random = m->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (m->random >> 33) % below;
}

static void set_attr(struct maker *m, struct row_attr *attr, mode_t mode, int64_t ns)
{
	attr->mode = mode;
	attr->uid = attr->gid = 1001;
	attr->atime_ns = ns;
	attr->mtime_ns = attr->ctime_ns = ns + 200000 + (int64_t)random_number(m, 5000000);
}

static dirid_t put_dir(struct maker *m, dirid_t parent, const char *name, int64_t ns)
{
	AUTO_QUERY struct query q = { 0 };
	struct row_attr attr;
	dirid_t id = m->state.next_id[ROW_DIR]++;

	if (m->r < 0)
		return 0;
	set_attr(m, &attr, S_IFDIR | 0755, ns);
	query_init(&q, &m->db, SQL_DIR_INSERT);
	query_bind_int(&q, id);
	query_bind_int(&q, parent);
	query_bind_str(&q, name);
	query_bind_int(&q, (int64_t)m->state.number++);
	query_bind_int(&q, attr.mode);
	query_bind_int(&q, attr.uid);
	query_bind_int(&q, attr.gid);
	query_bind_int(&q, attr.atime_ns);
	query_bind_int(&q, attr.mtime_ns);
	query_bind_int(&q, attr.ctime_ns);
	query_bind_int(&q, ns + NSEC_PER_SEC * HOUR_S);
	query_bind_int(&q, ns + NSEC_PER_SEC * HOUR_S);
	m->r = query_run(&q);
	m->state.counts.dirs++;
	return id;
}

static int64_t put_path(struct maker *m, const char *path)
{
	AUTO_QUERY struct query q = { 0 };
	int64_t id = m->state.next_id[ROW_PATH]++;

	if (m->r < 0)
		return 0;
	query_init(&q, &m->db, SQL_PATH_INSERT);
	query_bind_int(&q, id);
	query_bind_str(&q, path);
	m->r = query_run(&q);
	return id;
}

static void put_pack(struct maker *m, const struct pack_row *pack)
{
	AUTO_QUERY struct query q = { 0 };

	if (m->r < 0 || pack->files == 0)
		return;
	query_init(&q, &m->db, SQL_PACK_PUT);
	query_bind_int(&q, (int64_t)pack->id);
	query_bind_int(&q, (int64_t)pack->data_bytes);
	query_bind_int(&q, (int64_t)pack->size_bytes);
	query_bind_int(&q, pack->crc32c);
	query_bind_int(&q, pack->files);
	query_bind_int(&q, pack->live_bytes);
	query_bind_int_unless(&q, 0, 0);
	query_bind_int(&q, m->state.txn);
	m->r = query_run(&q);
}

/* Into the open pack, or the next one. */
static void pack_file(struct maker *m, struct file_row *row, struct pack_row *pack)
{
	if (pack->files == 0 || pack->data_bytes + row->attr.size > PACK_SIZE) {
		put_pack(m, pack);
		*pack = (struct pack_row){ .id = m->state.number++,
					   .crc32c = (uint32_t)random_number(m, UINT32_MAX) };
	}
	row->object = ROW_OBJECT_PACK;
	row->objdir = 0;
	row->pack = pack->id;
	row->pack_off = pack->data_bytes;
	pack->files++;
	pack->data_bytes += row->attr.size;
	pack->live_bytes += (int64_t)row->attr.size;
	pack->size_bytes = pack->data_bytes + 165 * (uint64_t)pack->files;
}

/* row: dir, name, objdir, mtime in attr.atime_ns. */
static void put_file(struct maker *m, struct file_row *row, const struct kind *kind,
		     struct pack_row *pack)
{
	AUTO_QUERY struct query q = { 0 };

	if (m->r < 0)
		return;
	set_attr(m, &row->attr, S_IFREG | 0644, row->attr.atime_ns);
	row->attr.size = kind->least + random_number(m, kind->most - kind->least);
	row->crc32c = (uint32_t)random_number(m, UINT32_MAX);
	row->ino = m->state.number++;
	row->attempt = m->state.number++;
	row->object = ROW_OBJECT_PATH;
	row->id.ino = 800000 + row->ino;
	row->id.mtime_ns = row->attr.mtime_ns;
	row->id.ctime_ns = row->attr.ctime_ns;
	if (row->attr.size < PACK_BELOW)
		pack_file(m, row, pack);
	query_init(&q, &m->db, SQL_FILE_INSERT);
	file_bind(&q, row, m->state.txn);
	m->r = query_run(&q);
	m->state.counts.files++;
	m->state.counts.file_bytes += (int64_t)row->attr.size;
	wrote(m);
}

/* ---- captures -------------------------------------------------------------------------------- */

/* The i-th file of a directory's hour: its name and when it was written. */
static void name_file(const struct maker *m, uint64_t i, time_t hour, unsigned camera,
		      struct file_row *row)
{
	uint64_t capture = i / KINDS, captures = m->per_dir / KINDS + 1;
	time_t at = hour + (time_t)(capture * HOUR_S / captures);
	struct tm tm;

	gmtime_r(&at, &tm);
	snprintf(row->name, sizeof(row->name), "%04d_%02d_%02d_%02d_%02d_%02d_%04u_%s",
		 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 (unsigned)((capture * 4 + camera) % 10000), kinds[i % KINDS].suffix);
	row->attr.atime_ns = at * NSEC_PER_SEC + (int64_t)(capture % 997) * 1000000;
}

/* The camera's directories down to the hour, those that it has not yet. */
static void enter_hour(struct maker *m, struct camera *c, time_t hour)
{
	char text[4][8], path[80];
	int at[4];
	struct tm tm;

	gmtime_r(&hour, &tm);
	at[0] = tm.tm_year + 1900;
	at[1] = tm.tm_mon + 1;
	at[2] = tm.tm_mday;
	at[3] = tm.tm_hour;
	for (int i = 0; i < 4; i++)
		snprintf(text[i], sizeof(text[i]), i ? "%02d" : "%04d", at[i] % 10000);
	if (!c->dirs[0])
		c->dirs[0] = put_dir(m, ROW_ROOT_DIR, c->name, hour * NSEC_PER_SEC);
	for (int i = 1; i < 4; i++) {
		if (c->at[i] == at[i - 1])
			continue;
		c->dirs[i] = put_dir(m, c->dirs[i - 1], text[i - 1], hour * NSEC_PER_SEC);
		for (int j = i + 1; j < 4; j++)
			c->at[j] = 0;
		c->at[i] = at[i - 1];
	}
	c->hour = put_dir(m, c->dirs[3], text[3], hour * NSEC_PER_SEC);
	snprintf(path, sizeof(path), "%s/%s/%s/%s/%s", c->name, text[0], text[1], text[2], text[3]);
	c->objdir = put_path(m, path);
}

static void tell_sample(const struct maker *m, const struct camera *c, time_t hour,
			const char *name)
{
	struct tm tm;

	if (m->samples == 0 || m->made % (m->paths / m->samples + 1) != 0)
		return;
	gmtime_r(&hour, &tm);
	printf("%s/%04d/%02d/%02d/%02d/%s\n", c->name, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
	       tm.tm_hour, name);
}

/* One transaction of the reaper's: files from..to of a directory. */
static void put_batch(struct maker *m, unsigned camera, time_t hour, uint64_t from, uint64_t to)
{
	struct camera *c = &m->cameras[camera];
	struct pack_row pack = { 0 };

	if (from == 0)
		enter_hour(m, c, hour);
	m->state.txn++;
	for (uint64_t i = from; i < to && m->made < m->paths && m->r == 0; i++) {
		struct file_row row = { .dir = c->hour, .objdir = c->objdir };

		name_file(m, i, hour, camera, &row);
		tell_sample(m, c, hour, row.name);
		put_file(m, &row, &kinds[i % KINDS], &pack);
		m->made++;
	}
	put_pack(m, &pack);
}

static void put_hour(struct maker *m, time_t hour)
{
	for (uint64_t from = 0; from < m->per_dir; from += m->batch) {
		uint64_t to = from + m->batch < m->per_dir ? from + m->batch : m->per_dir;

		for (unsigned i = 0; i < m->n_cameras && m->made < m->paths && m->r == 0; i++)
			put_batch(m, i, hour, from, to);
	}
}

static void put_flat(struct maker *m)
{
	int64_t ns = (FIRST_HOUR - HOUR_S) * NSEC_PER_SEC, objdir;
	struct pack_row pack = { 0 };
	dirid_t dir;

	if (m->flat == 0)
		return;
	dir = put_dir(m, ROW_ROOT_DIR, "flat", ns);
	objdir = put_path(m, "flat");
	for (uint64_t i = 0; i < m->flat && m->r == 0; i++) {
		struct file_row row = { .dir = dir, .objdir = objdir };

		row.attr.atime_ns = ns + (int64_t)i;
		snprintf(row.name, sizeof(row.name), "capture_%010" PRIu64 "_1.jpg", i);
		m->state.txn += i % m->batch == 0;
		put_file(m, &row, &kinds[2], &pack);
	}
	put_pack(m, &pack);
}

static int make_cameras(struct maker *m)
{
	m->cameras = calloc(m->n_cameras, sizeof(*m->cameras));
	if (!m->cameras)
		return -ENOMEM;
	for (unsigned i = 0; i < m->n_cameras; i++)
		snprintf(m->cameras[i].name, sizeof(m->cameras[i].name), "3K01E84PAU%05u", i);
	return 0;
}

static int fill(struct maker *m)
{
	int64_t begun_ms = clock_mono_ms();

	put_flat(m);
	for (time_t hour = FIRST_HOUR; m->made < m->paths && m->r == 0; hour += HOUR_S) {
		put_hour(m, hour);
		fprintf(stderr, "mkcatalogue: %" PRIu64 " paths, %" PRId64 " s\n",
			m->made + m->flat, (clock_mono_ms() - begun_ms) / 1000);
	}
	return close_db(m);
}

/* ---- the command line ------------------------------------------------------------------------ */

static int usage(void)
{
	fputs("usage: mkcatalogue FILE PATHS [-c CAMERAS] [-p FILES_A_DIRECTORY] [-b BATCH]\n"
	      "                   [-f FLAT] [-s SAMPLES]\n",
	      stderr);
	return 2;
}

static uint64_t number_of(const char *text)
{
	return text ? strtoull(text, NULL, 10) : 0;
}

static int parse(struct maker *m, int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "c:p:b:f:s:")) != -1) {
		switch (opt) {
		case 'c':
			m->n_cameras = (unsigned)number_of(optarg);
			break;
		case 'p':
			m->per_dir = number_of(optarg);
			break;
		case 'b':
			m->batch = number_of(optarg);
			break;
		case 'f':
			m->flat = number_of(optarg);
			break;
		case 's':
			m->samples = number_of(optarg);
			break;
		default:
			return -EINVAL;
		}
	}
	if (argc - optind != 2 || !m->n_cameras || !m->per_dir || !m->batch)
		return -EINVAL;
	m->paths = number_of(argv[optind + 1]);
	return 0;
}

int main(int argc, char **argv)
{
	struct maker m = { .n_cameras = 1000, .per_dir = 3000, .batch = 256, .random = 1 };
	char err[256] = "", *file = NULL;
	struct place place = { .err = err, .size = sizeof(err) };
	int lock_fd = -1, r;

	if (parse(&m, argc, argv) < 0)
		return usage();
	place.given = argv[optind];
	r = place_take(&place, PLACE_EXISTING, &file, &lock_fd);
	if (r < 0)
		fprintf(stderr, "mkcatalogue: %s\n", err);
	if (r == 0)
		r = open_db(&m, file);
	if (r == 0)
		r = make_cameras(&m);
	if (r == 0)
		r = fill(&m);
	free(m.cameras);
	free(file);
	return r < 0;
}
