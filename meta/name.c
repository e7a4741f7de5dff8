/* SPDX-License-Identifier: MIT */
/*
 * What has a name: a file's row or a directory's, of which there is never more than one.
 *
 * Who looks up a name that is not in the cache must ask for both.  Two statements cost
 * two read transactions, which is most of a SELECT that finds nothing; so one does,
 * its halves by a unique search each.
 */
#include "meta/catalogue_int.h"

int cat_name_get(struct catalogue *c, dirid_t dir, const char *name, struct file_row *ret_file,
		 struct dir_row *ret_dir, bool *ret_is_dir)
{
	AUTO_QUERY struct query q = { 0 };
	struct file_row file;
	struct dir_row sub;
	bool is_dir;
	int r = reader_query(c, SQL_NAME_GET, &q);

	if (r < 0)
		return r;
	query_bind_int(&q, dir);
	query_bind_str(&q, name);
	r = query_one(&q);
	if (r < 0)
		return r;
	is_dir = query_int_within(&q, 0, 1) != 0;
	r = is_dir ? dir_load(&q, &sub) : file_load(&q, &file);
	if (r < 0)
		return r;
	if (is_dir)
		*ret_dir = sub;
	else
		*ret_file = file;
	*ret_is_dir = is_dir;
	return 0;
}
