#!/usr/bin/env bash
# Runs the tests in two processes side by side, which mostly wait, of about the same length: one with those that start
# whole platforms, on fixed ports, and some besides; one with all others.
set -uo pipefail
bin=$1
besides=(tests/unit tests/architecture tests/security)
run() { # name, then what to run
  COVERAGE_FILE=".coverage.$1" "$bin/python" -m pytest -q -m "not extra" --cov --cov-report= "${@:2}"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run platform tests/acceptance tests/chaos "${besides[@]}" >"$log" 2>&1 &
platform=$!
run services tests --ignore=tests/acceptance --ignore=tests/chaos "${besides[@]/#/--ignore=}"
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
