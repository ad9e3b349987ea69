#!/bin/sh
# A scheduler may call this repeatedly: it starts the run or resumes it.
#   docker/start_or_resume.sh [--trust] NAME SPACE [--storage DIR|URI] [--address ADDR]
# --trust: where each try has a separate home without records of earlier tries; then anyone who can
# write to the storage decides what runs.
# The exit code is that of platform/run_sweep.py. An unreachable storage is reported and fails (exit code 2), so
# that the scheduler retries: it is not mistaken for an empty storage.
set -eu
trust=
if [ "$1" = --trust ]; then
    trust=--trust
    shift
fi
name=$1 space=$2
shift 2
sweep="$(dirname "$0")/../platform/run_sweep.py"
runs=$(python "$sweep" --list "$@")
if printf '%s\n' "$runs" | cut -d ' ' -f 1 | grep -Fqx -- "$name"; then
    exec python "$sweep" --resume "$name" $trust "$@"
fi
exec python "$sweep" --space "$space" --name "$name" "$@"
