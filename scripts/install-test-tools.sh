#!/bin/sh
# Installs the Debian packages that the build, the tests and the demo need and this machine lacks.
# Says nothing when nothing is missing. As another user than root it only says what to install.
set -eu

missing=""
need() { # need PACKAGE TEST...: the package is missing when the test fails
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
has_postgres() { ls /usr/lib/postgresql/*/bin/postgres || has postgres; }

need gcc has gcc
need g++ has g++
need libc6-dev test -e /usr/include/stdlib.h
need make has make
need perl has perl
need pkg-config has pkg-config
need openjdk-17-jre-headless has java
need maven has mvn
need postgresql has_postgres
need pgbouncer test -x /usr/sbin/pgbouncer
need python3 has python3
need python3-venv python3 -c 'import ensurepip, venv'
need docker-compose has docker-compose
need freetds-bin has tsql

if ! command -v cargo >/dev/null 2>&1; then
  echo "error: cargo is not installed; see https://rustup.rs (Rust 1.95 or newer)" >&2
  exit 1
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "error: please install:$missing" >&2
  echo "on Debian: sudo apt-get install$missing" >&2
  exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "error: please install (names are Debian's):$missing" >&2
  exit 1
fi
echo "installing Debian packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# The package lists may be older than the mirror: refresh them when the first try fails.
# shellcheck disable=SC2086  # one word for each package
if ! apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1; then
  if ! { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "error: apt-get could not install:$missing" >&2
    exit 1
  fi
fi
