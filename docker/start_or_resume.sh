#!/bin/sh
# What a scheduler may call again and again: begins the run, or goes on with it where it stopped.
#   docker/start_or_resume.sh [--trust] NAME SPACE [--storage DIR|URI] [--address ADDR]
# --trust: where each try has a home of its own, so that none knows what an earlier one has started; then whoever can
# write to the storage decides what runs.
# The exit code is that of platform/run_sweep.py. A storage that cannot be reached is told and fails (exit code 2), so
# that the scheduler tries again: it is not taken for one without the run.
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
