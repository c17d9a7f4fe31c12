#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A file system on the disk: ext4 on a loop device on nbdfuse.  Files are copied onto
# it while memory is taken from under it, every other one goes and is trimmed, the rest
# is packed into what it needs; after unmount, fsck and mount it is what it was.
#
# All of it runs in a process and mount namespace of its own, with its folder in a
# tmpfs there: when the test is killed, SIGKILL included, the kernel ends the
# processes, and the mounts, the loop device and the folder go with them.
# shellcheck source-path=SCRIPTDIR
if [ "${1:-}" != inside ]; then
    skip() {
        echo "skipped: $*"
        exit 77
    }
    [ "$(id -u)" = 0 ] || skip "mounting needs root"
    [ -c /dev/fuse ] || skip "no FUSE here"
    [ -c /dev/loop-control ] || skip "no loop devices here"
    grep -qw ext4 /proc/filesystems || skip "this kernel has no ext4"
    unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "no namespaces here"
    exec unshare --mount --pid --fork --mount-proc --kill-child "$BASH" "$0" inside
fi
mount -t tmpfs -o size=64M none /mnt && export TMPDIR=/mnt
. "$(dirname "$0")/lib.sh"
need mkfs.ext4 e2fsck fstrim nbdfuse sha256sum tar
trap dismantle EXIT
need_cli
export LC_ALL=C

# Some 50 MiB of this machine's own files, and what they contain.
choose_files() {
    find /usr/bin /usr/share/doc -xdev -type f -readable -size -4M \
        ! -name '*[[:cntrl:]\\]*' -printf '%s %P %H\n' | sort -k 2 |
        awk '{ sum += $1; if (sum <= 50 * 2 ^ 20) print substr($3, 2) "/" $2 }' >"$work/files"
    (cd / && xargs -d '\n' sha256sum <"$work/files") >"$work/sums"
    [ "$(wc -l <"$work/sums")" -gt 100 ] || skip "/usr has too few files"
}

# Mounts first, as long as somebody serves them.
dismantle() {
    local status=$?
    umount -l "$work/mnt" "$work/fuse" 2>/dev/null || true
    set +e
    (exit "$status")
    cleanup
}

copy_files() {
    mkdir "$work/mnt/tree"
    tar -C / --verbatim-files-from -T "$work/files" -cf - | tar -C "$work/mnt/tree" -xf -
    sync -f "$work/mnt"
}

same_files() {
    (cd "$work/mnt/tree" && sha256sum --quiet -c "$work/sums") >"$work/out" 2>&1 ||
        fail "$1: $(head -n 5 "$work/out")"
}

mount_it() { mount -t ext4 -o loop,nodiscard "$work/fuse/nbd" "$work/mnt"; }

clean_fs() {
    umount "$work/mnt"
    wait_for 20 no_loop || fail "the loop device stays"
    e2fsck -fn "$work/fuse/nbd" >"$work/out" 2>&1 || fail "$1: $(cat "$work/out")"
}

no_loop() { ! grep -qsxF "$work/fuse/nbd" /sys/block/loop*/loop/backing_file; }

start_fuse() {
    mkdir "$work/fuse" "$work/mnt"
    nbdfuse "$work/fuse/nbd" "$uri" 8<&- &
    fuse_pid=$!
    children+=("$fuse_pid")
    wait_for 20 fuse_ends_or_serves || fail "nbdfuse takes too long"
    alive "$fuse_pid" || skip "FUSE can't be mounted here"
}

fuse_ends_or_serves() { [ -f "$work/fuse/nbd" ] || ! alive "$fuse_pid"; }

# Takes and gives until told to stop; a line for each that was done.
take_and_give() {
    while [ ! -e "$work/stop" ]; do
        if cli take "$1" >/dev/null 2>>"$work/refused"; then
            echo taken >>"$work/taken"
            cli give --all >/dev/null || return 1
        fi
    done
}

# While files are copied, 16 of 80 MiB are taken and lent again, over and over.
copy_under_takes() {
    local taker
    : >"$work/taken"
    take_and_give 16M 8<&- &
    taker=$!
    children+=("$taker")
    copy_files
    touch "$work/stop"
    wait "$taker" || fail "memory that was taken can't be lent again"
    [ "$(wc -l <"$work/taken")" -ge 3 ] || fail "hardly anything was taken: $(cat "$work/refused")"
    say "taken $(wc -l <"$work/taken") times while files were copied"
}

# Every other file goes.
thin_out() {
    local held discards
    held=$(figure payload_bytes)
    discards=$(figure discards)
    (cd "$work/mnt/tree" && awk 'NR % 2' "$work/files" | xargs -d '\n' rm)
    awk 'NR % 2 == 0' "$work/sums" >"$work/left"
    mv "$work/left" "$work/sums"
    sync -f "$work/mnt"
    fstrim "$work/mnt" || fail "fstrim"
    [ "$(figure discards)" -gt "$discards" ] || fail "fstrim has discarded nothing"
    [ "$(figure payload_bytes)" -lt $((held * 9 / 10)) ] || fail "what was trimmed is still held"
}

# All but what the files need and a quarter.  Objects are packed before, but no frame
# is moved for it, so that taking has to move them together.
take_the_rest() {
    local used want
    cli migration off >/dev/null
    cli compact >/dev/null || fail "cannot compact"
    cli migration on >/dev/null
    used=$(zone_figure used_frames)
    want=$((40 - used * 5 / 4 / 512 - 1))
    cli take $((want * 2))M >/dev/null || fail "cannot take $want of 40 blocks, $used frames are used"
    [ "$(zone_figure migrated)" -gt 0 ] || fail "nothing had to move: this has shown nothing"
    say "$want of 40 blocks taken, $(zone_figure migrated) frames moved"
}

choose_files
disk_start size=256M memory=80M backing=memfd populate=true auto-compact=false
start_fuse
mkfs.ext4 -q -E nodiscard "$work/fuse/nbd" || fail "mkfs.ext4"
mount_it || skip "a loop device can't be mounted here"
copy_under_takes
thin_out
take_the_rest
clean_fs "after taking"
mount_it || fail "it can't be mounted again"
same_files "after taking, unmounting and mounting"
cli give --all >/dev/null
echo more >"$work/mnt/more" || fail "nothing can be written any more"
clean_fs "at the end"
umount "$work/fuse"
wait_for 20 gone "$fuse_pid" || fail "nbdfuse does not end"
disk_stop
say "ok: ext4"
