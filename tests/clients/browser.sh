#!/bin/sh
# Runs the tests of the demo page and of examples/web in headless Chromium; see browser/run.js for the settings.
#   BASE_A=http://127.0.0.1:8080 BASE_B=http://127.0.0.1:8081 tests/clients/browser.sh [--pictures] [--stand-in]
set -eu
cd "$(dirname "$0")/browser"
[ -d node_modules ] || npm ci --silent
[ -d ../../../examples/web/node_modules ] || (cd ../../../examples/web && npm ci --silent)
exec node run.js "$@"
