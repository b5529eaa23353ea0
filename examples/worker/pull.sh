#!/usr/bin/env bash
# Executes the queued runs of a workspace, one at a time, with the program COPY.
source "$(dirname "$0")/syncplane.sh"
while sleep "${POLL:-5}"; do
  for run in $(queued); do
    claim=$(claim "$run") || continue # 409: another worker has it
    status=failed
    exec 3< <(exec bash -c "$COPY" <<<"$claim" 4>&1 >&2) # 3 is open while COPY runs
    until read -rt "${HEARTBEAT:-60}" -u 3 || (($? == 1)); do
      heartbeat "$run" "$claim" || stop $! # to be canceled, or the lease is lost
    done
    if wait $!; then status=success; fi
    finish "$run" "$claim" "$status"
  done
done
