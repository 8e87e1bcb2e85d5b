#!/bin/sh
# provision.sh: makes an image of the machine or chroot that it runs in. Packer runs it in the AMI and the qemu build, and
# test/image in a chroot. UPLOAD holds the program `rekindle` and the folder `systemd`, and may hold cluster.yaml.
#
#   ROLES   what the image is for: master,minion           FROM    the store, or a mirror: s3://BUCKET/PREFIX
#   UPLOAD  (/tmp/rekindle)                                REGION  the bucket's, if not the profile's
#   INSTALL (yes) packages that nodes need                 IMPORT  (true) container images into containerd's store
#   KEEP    a path that stays although it looks like a leftover
set -eu
: "${ROLES:?}" "${FROM:?}"
upload=${UPLOAD:-/tmp/rekindle}

# What the kubelet and kube-proxy call, where it is missing.
if [ "${INSTALL:-yes}" = yes ]; then
  for tool in iptables conntrack ethtool socat; do
    command -v "$tool" >/dev/null || missing="${missing:-} $tool"
  done
  if [ -n "${missing:-}" ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  elif [ -n "${missing:-}" ]; then
    dnf install -y -q $(echo "$missing" | sed 's/conntrack/conntrack-tools/; s/iptables/iptables-nft/')
  fi
fi

# What would write again when the machine shuts down, after bake has removed it.
if [ -d /run/systemd/system ]; then
  systemctl stop systemd-random-seed.service rsyslog.service amazon-ssm-agent.service 2>/dev/null || true # not all are there
  journalctl --relinquish-var
fi

set -- --role "$ROLES" --from "$FROM" --units "$upload/systemd" --import="${IMPORT:-true}"
[ -z "${REGION:-}" ] || set -- "$@" --region "$REGION"
[ -z "${KEEP:-}" ] || set -- "$@" --keep "$KEEP"
[ ! -f "$upload/cluster.yaml" ] || set -- "$@" --config "$upload/cluster.yaml"
chmod 0755 "$upload/rekindle"
"$upload/rekindle" bake "$@"
# The last look comes from the program that the image has, without what this script was given.
rekindle bake --check ${KEEP:+--keep "$KEEP"}
sync
