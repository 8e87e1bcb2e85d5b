#!/bin/sh
# readable.sh DIR: copies to DIR, which exists, what Packer 1.6.6 can read of the templates: all but plugins.pkr.hcl, and the
# settings of IMDS that amazon.pkr.hcl marks.
set -eu
cp "$(dirname "$0")"/*.hcl "$(dirname "$0")/provision.sh" "$1"
rm "$1/plugins.pkr.hcl"
sed -i '/# Newer than Packer 1.6.6/,/# To here/d' "$1/amazon.pkr.hcl"
