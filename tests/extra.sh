#!/usr/bin/env bash
# Runs the tests that need more than wheels; installs packages for them when it may, else says what is missing.
set -euo pipefail
bin=$1
declare -A package=([chromium]=chromium [rabbitmq-server]=rabbitmq-server [pgbouncer]=pgbouncer)
declare -A tests=(
  [chromium]="tests/acceptance/test_pages.py tests/acceptance/test_portal.py" [rabbitmq-server]=tests/chaos/test_rabbitmq.py
  [pgbouncer]=tests/acceptance/test_pgbouncer.py
)
skipped=()
for program in "${!package[@]}"; do
  if ! command -v "$program" >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test-extra: installing ${package[$program]}"
    (apt-get update -q && apt-get install -q -y --no-install-recommends "${package[$program]}") >/dev/null 2>&1 || true
  fi
  if ! command -v "$program" >/dev/null; then
    echo "test-extra: $program is missing (Debian: apt-get install ${package[$program]}); not run: ${tests[$program]}"
    for file in ${tests[$program]}; do skipped+=("--ignore=$file"); done
  fi
done
# Node's packages come from its own lock file; npm itself is too large to be installed for one test.
if ! { command -v npm && npm --prefix clients/typescript ci --silent; } >/dev/null 2>&1; then
  echo "test-extra: npm, or a way to its packages, is missing; not run: tests/acceptance/test_typescript.py"
  skipped+=("--ignore=tests/acceptance/test_typescript.py")
fi
exec "$bin/python" -m pytest -q -m extra "${skipped[@]}"
