#!/bin/sh
# Runs the tests of the shipped nginx and HAProxy configuration in front of two servers; see balancers/run.js for the settings.
#   BASE_A=http://127.0.0.1:8080 BASE_B=http://127.0.0.1:8081 tests/clients/balancers.sh
set -eu
cd "$(dirname "$0")/balancers"
[ -d node_modules ] || npm ci --silent
exec node run.js "$@"
