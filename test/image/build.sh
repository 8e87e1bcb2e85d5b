#!/bin/sh
# build.sh BASE DISK UPLOAD [STORE]: makes the disk DISK of the disk BASE, which base.sh made, by running what UPLOAD/packer
# holds of packer/provision.sh in a chroot: what Packer does to a machine over SSH. STORE is a directory that the image is
# filled from; without it FROM names one that can be reached. The file system is the disk's own throughout, so the times
# and inodes that bake notes are those that the machine boots with.
#
#   ROLES, FROM, REGION, INSTALL, IMPORT, KEEP: see packer/provision.sh
#   LAYER  a file that becomes /etc/rekindle/10-image.yaml
set -eu
base=$1 disk=$2 upload=$3 store=${4:-}
cp --sparse=always "$base" "$disk.part"
device=$(losetup --find --show --offset 1048576 "$disk.part")
root=$(mktemp -d)
finish() {
  umount -R "$root" 2>/dev/null || true
  losetup -d "$device"
  rmdir "$root"
}
trap finish EXIT
mount "$device" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind /dev "$root/dev"
[ -z "${LAYER:-}" ] || install -D -m 0644 "$LAYER" "$root/etc/rekindle/10-image.yaml"
mkdir "$root/tmp/rekindle"
cp -r "$upload/." "$root/tmp/rekindle"
if [ -n "$store" ]; then
  mkdir "$root/tmp/store"
  mount --bind -o ro "$store" "$root/tmp/store"
  FROM=dir:///tmp/store
  export FROM
fi
if [ "${INSTALL:-no}" = yes ]; then # the stub in the image leads to a resolver that does not run here
  mkdir -p "$root/run/systemd/resolve"
  cp /etc/resolv.conf "$root/run/systemd/resolve/stub-resolv.conf"
fi
INSTALL=${INSTALL:-no} chroot "$root" /bin/sh -c 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec sh /tmp/rekindle/provision.sh'
[ -z "$store" ] || umount "$root/tmp/store"
umount "$root/tmp" "$root/run" "$root/dev" "$root/sys" "$root/proc" # busy, had the provisioner left a mount or a process
umount "$root"
e2fsck -pf "$device" >/dev/null || [ $? -le 1 ] # 1: errors that were corrected
mv "$disk.part" "$disk"
