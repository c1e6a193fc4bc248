#!/usr/bin/env bash
# Runs the tests in two processes, which mostly wait: one those that start whole platforms, on fixed ports, one all others.
set -uo pipefail
bin=$1
run() { # name, then what to run
  COVERAGE_FILE=".coverage.$1" "$bin/python" -m pytest -q -m "not extra" --cov --cov-report= "${@:2}"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run platform tests/acceptance tests/chaos >"$log" 2>&1 &
platform=$!
run services tests --ignore=tests/acceptance --ignore=tests/chaos
services=$?
wait "$platform"
platform=$?
cat "$log"
"$bin/coverage" combine -q .coverage.platform .coverage.services &&
  "$bin/coverage" report --skip-covered --fail-under=75
coverage=$?
if ((platform || services || coverage)); then
  echo "failed: platforms $platform, services $services, coverage $coverage" >&2
  exit 1
fi
