#!/usr/bin/env bash
# A browser for the tests of the page, where it can be had without asking: on Debian and its like, as root.
set -euo pipefail
missing=
for program in chromium chromedriver; do command -v "$program" > /dev/null || missing+=" $program"; done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "No browser for the tests (no$missing), and only root on a Debian system can install it here: they will be skipped." >&2
    exit 0
fi
echo "Installing a browser for the tests: apt-get install chromium chromium-driver"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver; } > /dev/null ||
    echo "The browser could not be installed: its tests will be skipped." >&2
