#!/bin/sh
# Makes the deb and the rpm of a binary: build.sh BINARY VERSION ARCH OUT, with ARCH as Go names it. Run from the root
# of the repository. The version is what `git describe` says. The same input gives the same bytes.
#
#   PACKAGERS   (deb rpm)
#   COMPRESSION (xz) of the deb: none is for tests, which install it at once
set -eu
binary=$1 described=$2 arch=$3 out=$4
nfpm=${NFPM:-"go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.1"}

# 1.2.3-4-gabcdef0 is later than 1.2.3; a bare commit, of a repository without tags, is earlier than any version.
version=$(echo "${described#v}" | sed -E 's/-([0-9]+)-(g[0-9a-f]+)/+\1.\2/; s/-dirty$/+dirty/; s/-/~/g')
case $version in [0-9]*.*) ;; *) version=0~$version ;; esac
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

cp "$binary" "$stage/rekindle"
mkdir "$stage/docs"
cp docs/*.md docs/*.yaml "$stage/docs"
host=$(go env GOHOSTARCH)
[ "$arch" = "$host" ] || binary=${COMPLETER:?a rekindle for $host, to write the completions}
for shell in bash zsh fish; do "$binary" completion $shell >"$stage/rekindle.$shell"; done
gzip -9n <systemd/rekindle.8 >"$stage/rekindle.8.gz"
cat >"$stage/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: rekindle

Files: *
Copyright: 2026 the rekindle authors
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
END
gzip -9n >"$stage/changelog.Debian.gz" <<END
rekindle ($version-1) unstable; urgency=medium

  * Built from $described.

 -- The rekindle authors <rekindle@rekindle.invalid>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
cat >"$stage/lintian" <<END
# Go programs are static: a node's libc is not ours to choose.
rekindle: statically-linked-binary [usr/bin/rekindle]
# bake removes the backups of dpkg's database, /var/lib/dpkg/*-old, from images. It reads and writes nothing of the database.
rekindle: uses-dpkg-database-directly [usr/bin/rekindle]
# It is not uploaded to Debian.
rekindle: initial-upload-closes-no-bugs [usr/share/doc/rekindle/changelog.Debian.gz:1]
END
mkdir -p "$out"
sed "s/compression: xz/compression: ${COMPRESSION:-xz}/" systemd/nfpm.yaml >"$stage/nfpm.yaml"
for packager in ${PACKAGERS:-deb rpm}; do
  VERSION=$version ARCH=$arch STAGE=$stage $nfpm package --config "$stage/nfpm.yaml" --packager $packager --target "$out/"
done
