#!/usr/bin/env bash
# Makes the OpenPGP fixtures from the lab's keys. They are committed; run this again after tests/lab/keys/gen.sh only.
set -euo pipefail
cd "$(dirname "$0")"
KEYS=../../lab/keys
. "$KEYS/home.sh"
gpg --batch --quiet --import "$KEYS/lab.secret.asc" "$KEYS/foreign.secret.asc"

# key N: the fingerprint of the lab key's Nth part: 1 is the primary, 2… are the subkeys
key() { gpg --list-keys --with-colons lab@prebake.invalid | awk -F: -v n="$1" '/^fpr/ && ++i == n {print $10}'; }
PRIMARY=$(key 1) EXPIRED=$(key 2) CURRENT=$(key 4)
REVOKED=$(key 3)
FOREIGN=$(gpg --list-keys --with-colons foreign@prebake.invalid | awk -F: '/^fpr/ {print $10; exit}')

# sign CLOCK KEY OUT ARGS…
sign() {
    local clock=$1 key=$2 out=$3
    shift 3
    gpg --batch --yes --faked-system-time "$clock!" --local-user "$key!" --output "$out" "$@" --detach-sign data.txt
}

printf 'The bytes that every signature here is over.\n' >data.txt
sign 20250601T000000 "$CURRENT" good.sig
sign 20250601T000000 "$CURRENT" good-armored.asc --armor
sign 20230601T000000 "$EXPIRED" by-expired-subkey.sig
sign 20250601T000000 "$PRIMARY" by-primary.sig
sign 20250601T000000 "$FOREIGN" by-foreign.sig
sign 20250601T000000 "$CURRENT" sha1.sig --digest-algo SHA1 --allow-weak-digest-algos
sign 20250601T000000 "$CURRENT" text-mode.sig --textmode
sign 20250101T000000 "$CURRENT" before-its-subkey.sig --ignore-time-conflict --ignore-valid-from
sign 20990101T000000 "$PRIMARY" from-the-future.sig
head -c 300 good.sig >truncated.sig
cat by-foreign.sig good.sig >foreign-then-good.sig
cat good.sig sha1.sig text-mode.sig >good-then-refused.sig
cat sha1.sig text-mode.sig >all-refused.sig

# gpg refuses to sign by a revoked or expired key, so these two come from keyrings in which it is not (yet): the lab's
# key without its revocation, and with the expiry moved out.
gpgconf --kill all
rm -rf "${GNUPGHOME:?}"/*
gpg --batch --quiet --import-options import-minimal --import "$KEYS/lab.secret.asc"
unrevoke() { # drops the subkey revocation signatures (class 0x28) from an exported key
    gpg --export-secret-keys "$PRIMARY" | (cd "$GNUPGHOME" && gpgsplit --prefix part- && for part in part-*; do
        gpg --list-packets "$part" 2>/dev/null | grep -q 'sigclass 0x28' || cat "$part"
    done)
}
unrevoke >"$GNUPGHOME/../unrevoked.$$"
gpgconf --kill all
rm -rf "${GNUPGHOME:?}"/*
gpg --batch --quiet --import "$GNUPGHOME/../unrevoked.$$"
rm "$GNUPGHOME/../unrevoked.$$"
sign 20240101T000000 "$REVOKED" by-revoked-subkey.sig

gpg --batch --quiet --faked-system-time 20230701T000000! --pinentry-mode loopback --passphrase '' \
    --quick-set-expire "$PRIMARY" 2036-12-31 "$EXPIRED"
sign 20250601T000000 "$EXPIRED" by-subkey-after-its-expiry.sig
