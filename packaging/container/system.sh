#!/bin/sh
# system.sh DIR: what prebake reads of a system, into DIR. Debian's packages are installed where the image lacks them.
set -eu
certificates=/etc/ssl/certs/ca-certificates.crt
loaders=/usr/lib/ipxe
if [ ! -f $certificates ] || [ ! -d $loaders ]; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates ipxe
fi
mkdir -p "$1/etc/ssl/certs" "$1$loaders" "$1/tmp" "$1/store" "$1/output" "$1/config"
chmod 1777 "$1/tmp"
cp $certificates "$1$certificates"
# Only what firmware fetches: disks and CDs are of no use here.
for loader in $loaders/*.efi $loaders/*.pxe $loaders/*.kpxe $loaders/*.kkpxe $loaders/ipxe.lkrn; do
    [ ! -f "$loader" ] || cp "$loader" "$1$loaders/"
done
