# SPDX-License-Identifier: MIT
# What the set-up scripts share; sourced by them, never run.

APT_GET=(apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)

# One short line on what is being done; the output of the tools themselves goes to a log.
say() {
	printf 'setup: %s\n' "$*" >&2
}

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# retry LOG COMMAND...: up to three tries with a growing pause.  After the last failure the log is
# shown: it is what the reader needs.
retry() {
	local log=$1 try
	shift
	for try in 1 2 3; do
		if "$@" >"$log" 2>&1 </dev/null; then
			return 0
		fi
		[ "$try" = 3 ] && break
		say "failed, trying again in $((try * 10)) s: $*"
		sleep $((try * 10))
	done
	tail -n 40 "$log" >&2
	say "cannot run '$*' (three tries; the log is above)"
	return 1
}
