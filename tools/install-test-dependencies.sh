#!/usr/bin/env bash
# Installs the servers that the tests start: nothing when they are there,
# through apt-get as root, and otherwise it says what is missing.
set -euo pipefail

command -v redis-server >/dev/null && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "the tests need redis-server (7 or newer) in PATH, and it is missing." >&2
	echo "install it: Debian, Ubuntu: sudo apt-get install redis-server; Fedora: sudo dnf install redis; macOS: brew install redis" >&2
	exit 1
fi

echo "installing redis-server, which the tests start"
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1 # the tests start their own: leave the service off
apt-get update -qq
apt-get install -qq -y --no-install-recommends redis-server >/dev/null
command -v redis-server >/dev/null
