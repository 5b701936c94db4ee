#!/bin/sh
# Says "running", "success" or "failed" of one job of SLURM. The argument is its number.

# The controller knows a job until MinJobAge seconds (usually 300) after its end, with and without slurmdbd.
if answer=$(scontrol --oneliner show job "$1" 2>&1); then
    state=${answer#*JobState=}
    state=${state%% *}
else
    case $answer in
    # Forgotten: the accounting remembers, where there is one. Where there is none, the job counts as failed.
    *"Invalid job id"*)
        state=$(sacct --allocations --noheader --parsable2 --format=State --jobs="$1" 2>/dev/null | head -n 1)
        ;;
    # The controller can't be reached just now.
    *) state=RUNNING ;;
    esac
fi

case $state in
COMPLETED)
    echo success
    rm -f ".snakemake/slurm/$1.json"
    ;;
PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | RE* | SIGNALING | ST*) echo running ;;
*)
    echo failed
    echo "SLURM job $1: ${state:-unknown}; its log is .snakemake/slurm/$1.log" >&2
    ;;
esac
