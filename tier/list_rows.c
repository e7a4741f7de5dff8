/* SPDX-License-Identifier: MIT */
/*
 * The first pass's source: the rows of a directory, files and directories merged in
 * name order, a page of each in memory.  A page is read when the one before was
 * used up, so that names only go up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tier/list_int.h"

int rows_init(struct rows *rows, dirid_t dirid, int page)
{
	*rows = (struct rows){ .dirid = dirid, .page = page };
	if (dirid == 0) {
		rows->last_files = rows->last_dirs = true;
		return 0;
	}
	rows->files = calloc((size_t)page, sizeof(*rows->files));
	rows->dirs = calloc((size_t)page, sizeof(*rows->dirs));
	if (rows->files && rows->dirs)
		return 0;
	rows_fini(rows);
	return -ENOMEM;
}

/* Keeps had_any. */
void rows_fini(struct rows *rows)
{
	free(rows->files);
	free(rows->dirs);
	rows->files = NULL;
	rows->dirs = NULL;
}

static int read_files(struct rows *rows, struct catalogue *cat)
{
	char after[ROW_NAME_MAX + 1] = "";
	int n;

	if (rows->file_at < rows->nfiles || rows->last_files)
		return 0;
	if (rows->nfiles > 0)
		strcpy(after, rows->files[rows->nfiles - 1].name);
	rows->files_version = catalogue_version(cat);
	n = cat_files_after(cat, rows->dirid, after, rows->files, rows->page);
	if (n < 0)
		return n;
	rows->nfiles = n;
	rows->file_at = 0;
	rows->last_files = n < rows->page;
	rows->had_any |= n > 0;
	return 0;
}

static int read_dirs(struct rows *rows, struct catalogue *cat)
{
	char after[ROW_NAME_MAX + 1] = "";
	int n;

	if (rows->dir_at < rows->ndirs || rows->last_dirs)
		return 0;
	if (rows->ndirs > 0)
		strcpy(after, rows->dirs[rows->ndirs - 1].name);
	rows->dirs_version = catalogue_version(cat);
	n = cat_dirs_after(cat, rows->dirid, after, rows->dirs, rows->page);
	if (n < 0)
		return n;
	rows->ndirs = n;
	rows->dir_at = 0;
	rows->last_dirs = n < rows->page;
	rows->had_any |= n > 0;
	return 0;
}

int rows_next(struct rows *rows, struct catalogue *cat, struct list_item *ret)
{
	const struct file_row *file;
	const struct dir_row *dir;
	int r;

	r = read_files(rows, cat);
	if (r == 0)
		r = read_dirs(rows, cat);
	if (r < 0)
		return r;
	file = rows->file_at < rows->nfiles ? &rows->files[rows->file_at] : NULL;
	dir = rows->dir_at < rows->ndirs ? &rows->dirs[rows->dir_at] : NULL;
	if (file && (!dir || strcmp(file->name, dir->name) <= 0)) {
		ret->ino = file->ino;
		ret->type = file->attr.mode & S_IFMT;
		strcpy(ret->name, file->name);
		ret->seen = (struct row_seen){ .file = file, .version = rows->files_version };
		rows->file_at++;
		return 1;
	}
	if (!dir)
		return 0;
	ret->ino = dir->ino;
	ret->type = S_IFDIR;
	strcpy(ret->name, dir->name);
	ret->seen = (struct row_seen){ .dir = dir, .version = rows->dirs_version };
	rows->dir_at++;
	return 1;
}
