#!/usr/bin/env bash
# Installs nginx when it is missing; the benchmark starts its own.
set -euo pipefail
. "$(dirname "$0")/debian.sh"
if command -v nginx >/dev/null || [ -x /usr/sbin/nginx ]; then exit 0; fi
install_packages nginx-light
