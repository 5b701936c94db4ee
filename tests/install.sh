#!/usr/bin/env bash
# What some tests need of the system, where it can be had without asking: on Debian and its like, as root. It starts
# nothing and configures nothing: `tests/install.sh slurm`, `tests/install.sh browser`.
set -euo pipefail
case "${1:-}" in
    slurm) what=SLURM programs="slurmctld slurmd munged sbatch" packages="slurm-wlm munge" ;;
    browser) what="A browser" programs="chromium chromedriver" packages="chromium chromium-driver" ;;
    *) echo "usage: tests/install.sh slurm | browser" >&2; exit 2 ;;
esac
missing=
for program in $programs; do command -v "$program" > /dev/null || missing+=" $program"; done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "$what is not installed (no$missing), and only root on a Debian system can do so here: its tests will be skipped." >&2
    exit 0
fi
echo "Installing for the tests: apt-get install $packages"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # several packages
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } > /dev/null ||
    echo "$what could not be installed: its tests will be skipped." >&2
