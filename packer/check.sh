#!/bin/sh
# check.sh: what the packer that is installed can say about the templates: their form, and whether they are valid. Version
# 1.6.6, which Debian has, cannot read all of them (readable.sh).
set -eu
cd "$(dirname "$0")"
export CHECKPOINT_DISABLE=1
packer version
packer fmt -check -diff .
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/packer" "$work/bin" "$work/systemd" "$work/out/image/store"
./readable.sh "$work/packer"
ssh-keygen -q -t ed25519 -N '' -f "$work/out/image/id"
touch "$work/bin/rekindle" "$work/out/image/base.img"
cd "$work"
packer validate -var version=v1.2.3 -var kubernetes_version=1.37.2 packer

# What must be refused, is.
for bad in version=a/b kubernetes_version=v1.37.2 architecture=mips accelerator=hvf volume_size=4; do
  if packer validate -var version=v1 -var kubernetes_version=1.37.2 -var "$bad" packer >/dev/null 2>&1; then
    echo "packer accepts $bad" >&2
    exit 1
  fi
done

# What it cannot read: every AMI requires IMDSv2, at build time and afterwards.
cd - >/dev/null
amis=$(grep -c '^source "amazon-ebs"' amazon.pkr.hcl)
for setting in 'imds_support = "v2.0"' 'http_tokens                 = "required"' 'encrypt_boot         = true'; do
  [ "$(grep -cF "$setting" amazon.pkr.hcl)" = "$amis" ] || { echo "amazon.pkr.hcl: not every source has $setting" >&2; exit 1; }
done
echo "packer: ok"
