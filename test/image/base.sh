#!/bin/sh
# base.sh DISK [PUBLIC-KEY]: makes a bootable disk image of Debian, without rekindle. It needs root, loop devices,
# debootstrap and extlinux. With a key, its owner may log in as root over SSH: Packer does, and bake removes the key.
#
#   SUITE (bookworm)  MIRROR (that of debootstrap)  SIZE (4G)  CLOUD_INIT (no)  PACKAGES (more to install)  CACHE (out/image)
set -eu
disk=$1 key=${2:-}
suite=${SUITE:-bookworm} mirror=${MIRROR:-} size=${SIZE:-4G} cache=${CACHE:-out/image}
packages=systemd-sysv,systemd-resolved,dbus,udev,kmod,linux-image-cloud-amd64,initramfs-tools,zstd
packages=$packages,iproute2,iptables,conntrack,ethtool,socat,ca-certificates,openssh-server,e2fsprogs,procps,netbase
more=${PACKAGES:-}
[ "${CLOUD_INIT:-no}" = no ] || more="$more cloud-init cloud-guest-utils"

# Debian's packages alone, once for each list of them: everything below takes seconds. What is more begins with the least.
mkdir -p "$cache"
named() { echo "$cache/base-$(echo "$suite $mirror $packages $1" | sha256sum | cut -c1-12).tar"; }
pack() { # WORK TAR
  tar -C "$1" --numeric-owner --one-file-system --exclude="./var/cache/apt/archives/*.deb" -cf "$2.part" .
  mv "$2.part" "$2"
  rm -rf "$1"
}
tree=$(named "") full=$(named "$more")
if [ ! -f "$tree" ] && [ ! -f "$full" ]; then
  work=$(mktemp -d "$cache/debootstrap.XXXXXX")
  chmod 0755 "$work" # it becomes /
  debootstrap --variant=minbase --include="$packages" "$suite" "$work" ${mirror:+"$mirror"} >"$tree.log" 2>&1 ||
    { tail -5 "$tree.log" >&2; exit 1; }
  pack "$work" "$tree"
fi
if [ ! -f "$full" ]; then # apt finds dependencies that debootstrap cannot
  work=$(mktemp -d "$cache/debootstrap.XXXXXX")
  tar -C "$work" --numeric-owner -xpf "$tree"
  cp --remove-destination /etc/resolv.conf "$work/etc/resolv.conf"
  mount -t proc proc "$work/proc"
  DEBIAN_FRONTEND=noninteractive chroot "$work" sh -c "apt-get update && apt-get install -y --no-install-recommends $more" >"$full.log" 2>&1 ||
    { umount "$work/proc"; tail -5 "$full.log" >&2; exit 1; }
  umount "$work/proc"
  pack "$work" "$full"
fi
tree=$full

# One partition, for BIOS: what extlinux 6.03 and every hypervisor can read.
rm -f "$disk"
truncate -s "$size" "$disk"
echo 'start=2048, type=83, bootable' | sfdisk -q "$disk"
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" conv=notrunc status=none
device=$(losetup --find --show --offset 1048576 "$disk")
root=$(mktemp -d)
finish() {
  mountpoint -q "$root" && umount "$root"
  losetup -d "$device"
  rmdir "$root"
}
trap finish EXIT
mkfs.ext4 -q -L root -O ^64bit,^metadata_csum "$device"
mount "$device" "$root"
tar -C "$root" --numeric-owner -xpf "$tree"

rm -rf "$root"/run/* # of debootstrap's own, below what is mounted there at boot
echo 'LABEL=root / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
echo localhost >"$root/etc/hostname"
: >"$root/etc/machine-id"
cat >"$root/etc/systemd/network/80-dhcp.network" <<'EOF'
[Match]
Name=en* eth*
[Network]
DHCP=yes
EOF
# Debian makes host keys when the package is installed, and then cloud-init does. An image has none. One is enough: emulated,
# others take long.
mkdir -p "$root/etc/systemd/system/ssh.service.d"
cat >"$root/etc/systemd/system/ssh.service.d/host-keys.conf" <<'EOF'
[Service]
TimeoutStartSec=10min
ExecStartPre=
ExecStartPre=/bin/sh -c 'k=/etc/ssh/ssh_host_ed25519_key; [ -s $k ] || { rm -f $k; ssh-keygen -q -t ed25519 -N "" -f $k; }'
ExecStartPre=/usr/sbin/sshd -t
EOF
if [ -d "$root/etc/cloud/cloud.cfg.d" ]; then # it sets a locale otherwise, with a program that is not there
  printf 'locale: false\nssh_genkeytypes: [ed25519]\n' >"$root/etc/cloud/cloud.cfg.d/90-image.cfg"
fi
# Nobody here needs them, and systemd 252, slowed down, at times does not see that they are mounted: "Mount process finished, but
# there is no mount".
for mount in dev-hugepages dev-mqueue sys-kernel-debug sys-kernel-tracing sys-kernel-config sys-fs-fuse-connections; do
  ln -s /dev/null "$root/etc/systemd/system/$mount.mount"
done
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
chroot "$root" systemctl -q enable systemd-networkd.service systemd-resolved.service ssh.service serial-getty@ttyS0.service
if [ -n "$key" ]; then
  install -d -m 0700 "$root/root/.ssh"
  install -m 0600 "$key" "$root/root/.ssh/authorized_keys"
fi

mkdir -p "$root/boot/extlinux"
cat >"$root/boot/extlinux/extlinux.conf" <<'EOF'
DEFAULT linux
PROMPT 0
TIMEOUT 1
SERIAL 0 115200
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=LABEL=root ro console=tty0 console=ttyS0,115200 net.ifnames=0
EOF
extlinux --install "$root/boot/extlinux" >/dev/null 2>&1
