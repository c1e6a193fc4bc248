#!/usr/bin/env bash
# Runs the tests in three processes side by side, on two cores, as all of them mostly wait: those that start whole
# platforms, on fixed ports; those of webhooks, with those that start little; all others. The first call the code in
# processes of its own, where it is not measured: coverage is that of the other two.
set -uo pipefail
bin=$1
little=(tests/unit tests/architecture tests/security tests/integration/test_webhooks* tests/integration/test_portal*)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
run() { # name, then what to run
  COVERAGE_FILE=".coverage.$1" "$bin/python" -m pytest -q -m "not extra" "${@:2}"
}
measured=(--cov --cov-report=)
run platforms tests/acceptance tests/chaos >"$logs/platforms" 2>&1 &
platforms=$!
run little "${measured[@]}" "${little[@]}" >"$logs/little" 2>&1 &
littles=$!
run others "${measured[@]}" tests --ignore=tests/acceptance --ignore=tests/chaos "${little[@]/#/--ignore=}"
others=$?
wait "$littles"
littles=$?
wait "$platforms"
platforms=$?
cat "$logs/little" "$logs/platforms"
"$bin/coverage" combine -q .coverage.little .coverage.others &&
  "$bin/coverage" report --skip-covered --fail-under=75
coverage=$?
if ((platforms || littles || others || coverage)); then
  echo "failed: platforms $platforms, little $littles, others $others, coverage $coverage" >&2
  exit 1
fi
