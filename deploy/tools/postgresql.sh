#!/usr/bin/env bash
# Installs PostgreSQL's server when it is missing; the tests start their own.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi
install_packages postgresql
