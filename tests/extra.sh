#!/usr/bin/env bash
# Runs the tests that need more than wheels; installs Debian's chromium when it may, else says what is missing.
set -euo pipefail
bin=$1
if ! command -v chromium >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test-extra: installing chromium"
    (apt-get update -q && apt-get install -q -y --no-install-recommends chromium) >/dev/null 2>&1 || true
  fi
fi
if ! command -v chromium >/dev/null; then
  echo "test-extra: chromium is missing (Debian: apt-get install chromium); these tests are not run"
  exit 0
fi
exec "$bin/python" -m pytest -q -m extra
