#!/bin/sh
# Keeps a run in a bucket.
#
#   synchronise.sh fetch    brings what is there to $RUN, before the training begins; on the first node, which alone reads it
#   synchronise.sh upload   copies $RUN every $EVERY seconds, and once more on SIGTERM, which comes when the training has ended
#
# A checkpoint is complete in the bucket before `latest` names it there, and what is no longer kept goes last.
set -eu
RUN=${RUN:-/runs/openmoji}
LATEST=latest.rclonelink # how rclone keeps a link

fetch() {
  # Nothing that is older may lie on another node, whose upload would take it for the run.
  [ "${JOB_COMPLETION_INDEX:-0}" = 0 ] || return 0
  mkdir -p "$RUN"
  # 3: there is no such folder, as before the first upload
  rclone copy --links "$BUCKET" "$RUN" || [ $? -eq 3 ]
}

upload() {
  # What stands here now is whole; by the end of this the training may have written another and removed it.
  newest=$(readlink "$RUN/latest") || return 0
  # What begins with a dot is being written. The link goes by itself: bucket and disk cannot tell two of them apart.
  set -- --links --exclude '.*' --exclude '.*/**' --exclude "/$LATEST"
  rclone copy "$@" "$RUN" "$BUCKET" &&
    printf %s "$newest" | rclone rcat "$BUCKET/$LATEST" &&
    rclone sync "$@" "$RUN" "$BUCKET"
}

case ${1:-} in
  fetch)
    fetch
    ;;
  upload)
    ended=
    trap 'ended=yes' TERM
    while [ -z "$ended" ]; do
      upload || echo "not everything was copied; trying again in $EVERY seconds" >&2
      left=$EVERY
      while [ "$left" -gt 0 ] && [ -z "$ended" ]; do
        sleep 1
        left=$((left - 1))
      done
    done
    # The last checkpoint is on this disk alone, which goes with the pod: there is time until the kubelet ends it.
    until upload; do
      echo "not everything was copied; trying again" >&2
      sleep 5
    done
    ;;
  *)
    echo "usage: synchronise.sh fetch|upload" >&2
    exit 2
    ;;
esac
