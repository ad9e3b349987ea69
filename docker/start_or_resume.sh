#!/bin/sh
# What a scheduler may call again and again: begins the run, or goes on with it where it stopped.
#   docker/start_or_resume.sh NAME SPACE [--storage DIR|URI] [--address ADDR]
# The exit code is that of platform/run_sweep.py.
set -eu
name=$1 space=$2
shift 2
sweep="$(dirname "$0")/../platform/run_sweep.py"
if python "$sweep" --status "$name" "$@" 2>/dev/null; then
    exec python "$sweep" --resume "$name" "$@"
fi
exec python "$sweep" --space "$space" --name "$name" "$@"
