#!/usr/bin/env bash
# Runs the tests in three processes of about the same length side by side, on two cores, as they often wait: those that
# start whole platforms, on fixed ports, with the attacks; the units and the latter half of integration; all others.
# Coverage is that of the last two, as measuring takes half as much time again: platforms call the code in processes of
# their own, and attacks call what the others call.
set -uo pipefail
bin=$1
platform=(tests/acceptance tests/chaos tests/security)
latter=(tests/unit tests/architecture tests/integration/test_[p-z]*)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
run() { # name, then what to run
  COVERAGE_FILE=".coverage.$1" "$bin/python" -m pytest -q -m "not extra" "${@:2}"
}
measured=(--cov --cov-report=)
run platforms "${platform[@]}" >"$logs/platforms" 2>&1 &
platforms=$!
run latter "${measured[@]}" "${latter[@]}" >"$logs/latter" 2>&1 &
latter_ended=$!
run others "${measured[@]}" tests "${platform[@]/#/--ignore=}" "${latter[@]/#/--ignore=}"
others=$?
wait "$latter_ended"
latter_ended=$?
wait "$platforms"
platforms=$?
cat "$logs/latter" "$logs/platforms"
"$bin/coverage" combine -q .coverage.latter .coverage.others &&
  "$bin/coverage" report --skip-covered --fail-under=75
coverage=$?
if ((platforms || latter_ended || others || coverage)); then
  echo "failed: platforms $platforms, latter $latter_ended, others $others, coverage $coverage" >&2
  exit 1
fi
