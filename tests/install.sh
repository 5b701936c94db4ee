#!/usr/bin/env bash
# What some tests need of the system, where it can be had without asking: on Debian and its like, as root. It starts
# nothing and configures nothing: `tests/install.sh slurm browser latex`, or some of these.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
updated=
for what in "$@"; do
    case "$what" in
        slurm) programs="slurmctld slurmd munged sbatch" packages="slurm-wlm munge" ;;
        browser) programs="chromium chromedriver" packages="chromium chromium-driver" ;;
        latex) programs="pdflatex" packages="texlive-latex-base" ;;
        *) echo "usage: tests/install.sh slurm | browser | latex…" >&2; exit 2 ;;
    esac
    missing=
    for program in $programs; do command -v "$program" > /dev/null || missing+=" $program"; done
    [ -z "$missing" ] && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "There is no$missing here, and only root on a Debian system can install it: tests of $what will be skipped." >&2
        continue
    fi
    echo "Installing for the tests of $what: apt-get install $packages"
    [ -n "$updated" ] || apt-get update -qq > /dev/null || true
    updated=yes
    # shellcheck disable=SC2086 # several packages
    apt-get install -y -qq --no-install-recommends $packages > /dev/null ||
        echo "$packages could not be installed: tests of $what will be skipped." >&2
done
