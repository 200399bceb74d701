#!/usr/bin/env bash
# Installs the servers that the tests start, as root through apt-get; without
# that it says what is missing. What is there already costs nothing.
#
# Tests of other server versions use those of other Debian releases, which are
# unpacked with the libraries they need beside each other, in the cache folder
# of whoever runs this. apt checks Debian's signatures. Where the machine is not
# Debian, DEBIAN_MIRROR names a mirror: https://www.debian.org/mirror/list.
# No Debian release has Redis 6.2; the suite passes on 6.0, see docs/stores.md.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/caddy-federation/test-servers"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
wanted="redis-6.0 redis-8.0 valkey-8.1"

cd "$(dirname "$0")"
this=$(sha256sum install-test-dependencies.sh)

unpacked() {
	[ "$(cat "$cache/made-by" 2>/dev/null)" = "$this" ] || return 1
	for name in $wanted; do
		[ -x "$cache/$name/redis-server" ] || return 1
	done
}

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
unpacked || [ -r "$keyring" ] || missing+=(debian-archive-keyring)

if [ "${#missing[@]}" != 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "the tests need ${missing[*]}, as Debian and Ubuntu call them:" >&2
		echo "run as root: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	echo "installing ${missing[*]}, which the tests need"
	export DEBIAN_FRONTEND=noninteractive
	export RUNLEVEL=1 # the tests start their own: leave the service off
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
	command -v redis-server >/dev/null
fi

mkdir -p "$cache"
if [ test-clock.c -nt "$cache/clock.so" ]; then
	gcc -O2 -Wall -Werror -shared -fPIC -o "$cache/.clock.so.$$" test-clock.c
	mv "$cache/.clock.so.$$" "$cache/clock.so"
fi

unpacked && exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	echo "the tests of other server versions need apt-get and dpkg-deb" >&2
	exit 1
fi
mirror="${DEBIAN_MIRROR:-}"
debian() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -1; }
if [ -z "$mirror" ]; then
	mirror=$(debian)
	if [ -z "$mirror" ] && [ "$(id -u)" = 0 ]; then
		apt-get update -qq # on a machine that never did it
		mirror=$(debian)
	fi
fi
if [ -z "$mirror" ]; then
	echo "the tests of other server versions need a Debian mirror: set DEBIAN_MIRROR to one of https://www.debian.org/mirror/list" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch <release> <package...> unpacks packages into $work/<release>
fetch() {
	local release=$1 at=$work/$1
	shift
	mkdir -p "$at"/state/lists/partial "$at"/cache/archives/partial "$at"/packages "$at"/root
	echo "deb [signed-by=$keyring] $mirror $release main" >"$at/sources.list"
	local apt=(apt-get -qq -o Dir::Etc::SourceList="$at/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State="$at/state" -o Dir::State::Status=/dev/null -o Dir::Cache="$at/cache"
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3)
	"${apt[@]}" update
	(cd "$at/packages" && "${apt[@]}" download "$@")
	for package in "$at"/packages/*.deb; do
		dpkg-deb -x "$package" "$at/root"
	done
}

# install <name> <release> <program> makes a folder in the cache whose
# redis-server runs with the libraries of its release
install() {
	local name=$1 release=$2 program=$3 at
	at=$(mktemp -d "$cache/.$name.XXXXXX")
	cp -a "$work/$release/root/." "$at/"
	local loader
	loader=$(find "$at" -name 'ld-linux*.so.*' | head -1)
	loader=$(realpath --relative-to="$at" "$(realpath "$loader")")
	# the program goes by its name: redis-check-rdb under another is the server
	ln -sf "$program" "$at/usr/bin/redis-server"
	cat >"$at/redis-server" <<SCRIPT
#!/bin/sh
at="\${0%/*}"
libraries="\$at/lib/\$(uname -m)-linux-gnu:\$at/usr/lib/\$(uname -m)-linux-gnu"
export LUA_CPATH="\$at/usr/lib/\$(uname -m)-linux-gnu/lua/5.1/?.so" # the oldest loads its cjson as a module
exec "\$at/$loader" --library-path "\$libraries" "\$at/usr/bin/redis-server" "\$@"
SCRIPT
	chmod 755 "$at" "$at/redis-server"
	"$at/redis-server" --version
	rm -rf "${cache:?}/$name"
	mv "$at" "$cache/$name"
}

echo "unpacking servers of other Debian releases into $cache"
libraries="libc6 libgcc-s1 libstdc++6 libatomic1 libjemalloc2 liblzf1 libsystemd0 libcap2 libzstd1"
# shellcheck disable=SC2086 # a list
{
	fetch bullseye redis-tools $libraries libssl1.1 liblua5.1-0 lua-bitop lua-cjson liblz4-1 liblzma5 libgcrypt20 libgpg-error0
	fetch trixie redis-tools valkey-tools $libraries libssl3t64 zlib1g
}
install redis-6.0 bullseye redis-check-rdb
install redis-8.0 trixie redis-check-rdb
install valkey-8.1 trixie valkey-check-rdb
echo "$this" >"$cache/made-by"
