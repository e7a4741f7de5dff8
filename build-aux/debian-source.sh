# SPDX-License-Identifier: MIT
# Fetching a source package of another Debian suite; sourced after shell.sh, never run.
#
# apt is given a configuration of its own (nothing of the machine's changes), and its chain of
# signatures says that what came is Debian's.  The caller sets $work, a directory of its own.

# The Debian mirror this machine uses, as apt itself understands its sources (deb822 or one-line).
mirror() {
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	apt-get indextargets --format '$(LABEL)|$(CODENAME)|$(RELEASE)|$(REPO_URI)' \
		'Created-By: Packages' |
		awk -F'|' -v me="$codename" '
			/security/ { next }
			{ any = any ? any : $4 }
			$1 == "Debian" { label = label ? label : $4 }
			$2 == me || $3 == me { name = name ? name : $4 }
			END { print label ? label : name ? name : any }'
}

keyring() {
	local k
	for k in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		[ -s "$k" ] && echo "$k" && return
	done
	die "no Debian archive keyring: install debian-archive-keyring"
}

# An apt that knows one source and keeps all its state below $work.
private_apt() {
	apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 \
		-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
		-o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=- \
		-o Dir::State="$work/state" -o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Cache="$work/cache" -o APT::Sandbox::User=root \
		-o APT::Update::Post-Invoke::= -o APT::Get::List-Cleanup=false "$@"
}

fetch() {
	private_apt update && cd "$work/src" && rm -f -- * &&
		private_apt source --download-only "$1"
}

# source_package NAME SUITE: the files of a source package in $work/src.  Empties $work first.
source_package() {
	local uri
	rm -rf "$work"
	mkdir -p "$work"/{src,state/lists/partial,cache/archives/partial}
	uri=$(mirror)
	[ -n "$uri" ] || die "no Debian mirror in apt's sources (apt-get update was never run?)"
	echo "deb-src [signed-by=$(keyring)] $uri $2 main" >"$work/sources.list"
	retry "$work/fetch.log" fetch "$1"
}
