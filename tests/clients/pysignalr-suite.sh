#!/bin/bash
# Runs pysignalr's own tests, from its source package, against the conformance server. Only the server's address is changed
# in them: they would start a server in Docker.
#   tests/clients/pysignalr-suite.sh                      builds and starts `examples/conformance`
#   SIGNALR_HOST=127.0.0.1:5000 tests/clients/...         uses a server that is running
set -euo pipefail
cd "$(dirname "$0")/../.."
version=1.3.3
work=target/pysignalr-suite
mkdir -p $work
[ -x $work/venv/bin/python ] || python3 -m venv $work/venv
python=$PWD/$work/venv/bin/python
# Installation is tried three times, since the network may fail for a moment. Tests are never repeated.
pip() {
  for pause in 5 20 ""; do
    "$python" -m pip -q --disable-pip-version-check --timeout 60 "$@" && return
    [ -n "$pause" ] && sleep "$pause"
  done
  return 1
}
pip install pytest==9.2.0 pytest-asyncio==1.5.0 requests==2.34.2 hatchling==1.33.0 "pysignalr==$version"
if [ ! -d "$work/pysignalr-$version" ]; then
  pip download --no-deps --no-binary pysignalr --no-build-isolation -d $work "pysignalr==$version"
  tar xzf "$work/pysignalr-$version.tar.gz" -C $work
fi

if [ -z "${SIGNALR_HOST:-}" ]; then
  cargo build --locked --example conformance
  coproc server { exec target/debug/examples/conformance --listen 127.0.0.1:0; }
  trap 'kill $server_PID' EXIT
  read -r _ port <&"${server[0]}"
  export SIGNALR_HOST=127.0.0.1:$port
fi

cd "$work/pysignalr-$version"
"$python" - <<'PATCH'
import pathlib, re
path = pathlib.Path('tests/test_pysignalr/test_pysignalr.py')
text = path.read_text()
if 'SIGNALR_HOST' not in text:
    text = re.sub(r'from docker.client import DockerClient.*\n', '', text)
    text = text.replace("-> 'DockerClient':", '-> object:')
    start = text.index('    docker = get_docker_client()')
    text = text[:start] + "    return os.environ['SIGNALR_HOST']\n\n" + text[start:]
    path.write_text(text)
PATCH
exec "$python" -m pytest -q -p no:cacheprovider "$@" tests
