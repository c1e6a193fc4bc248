#!/usr/bin/env bash
# Runs the tests in two processes side by side, which mostly wait, of about the same length: one with those that start
# whole platforms, on fixed ports, and some besides; one with all others. Coverage is that of the others alone, which call
# the code where it can be measured: measuring takes half as much time again.
set -uo pipefail
bin=$1
besides=(tests/unit tests/architecture tests/security)
run() {
  "$bin/python" -m pytest -q -m "not extra" "$@"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run tests/acceptance tests/chaos "${besides[@]}" >"$log" 2>&1 &
platform=$!
run tests --cov --cov-report= --ignore=tests/acceptance --ignore=tests/chaos "${besides[@]/#/--ignore=}"
services=$?
wait "$platform"
platform=$?
cat "$log"
"$bin/coverage" report --skip-covered --fail-under=75
coverage=$?
if ((platform || services || coverage)); then
  echo "failed: platforms $platform, services $services, coverage $coverage" >&2
  exit 1
fi
