#!/usr/bin/env bash
# SLURM for the tests, where it can be had without asking: on Debian and its like, as root. Starts nothing, configures nothing.
set -euo pipefail
missing=
for program in slurmctld slurmd munged sbatch; do command -v "$program" > /dev/null || missing+=" $program"; done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "SLURM is not installed (no$missing), and only root on a Debian system can do so here: its tests will be skipped." >&2
    exit 0
fi
echo "Installing SLURM for the tests: apt-get install slurm-wlm munge"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm munge; } > /dev/null ||
    echo "SLURM could not be installed: its tests will be skipped." >&2
