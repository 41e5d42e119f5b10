#!/usr/bin/env bash
# Makes the key files that are wrong in themselves, each with a signature over data.txt that gpg made while they were
# not. Run gen.sh first. The keys are made anew each time, and nothing refers to their fingerprints; their secret halves
# are thrown away.
set -euo pipefail
cd "$(dirname "$0")"
KEYS=../../lab/keys
. "$KEYS/home.sh"

# part UID N: the fingerprint of a key's Nth part: 1 is the primary, 2… are the subkeys
part() { gpg --list-keys --with-colons "$1" | awk -F: -v n="$2" '/^fpr/ && ++i == n {print $10}'; }

# make NAME EXPIRES: a primary with one signing subkey, and the subkey's signature as by-NAME.sig
make() {
    at 20200101T000000 --quick-generate-key "$1" rsa2048 cert,sign "$2"
    at 20200102T000000 --quick-add-key "$(part "$1" 1)" rsa2048 sign never
    at 20210601T000000 --local-user "$(part "$1" 2)!" --output "by-$1.sig" --detach-sign data.txt
}
export_key() { gpg --batch --yes --armor --output "$1.asc" --export "$1"; }

# A subkey that may only authenticate by now: `change-usage` makes a new binding (S off, A on, done).
make wrong-usage never
at 20220101T000000 --command-fd 0 --no-tty --status-file /dev/null --edit-key wrong-usage <<'ANSWERS'
key 1
change-usage
s
a
q
save
ANSWERS
export_key wrong-usage

make expired-primary 2022-01-01
export_key expired-primary

make revoked-primary never
# gpg keeps a ready-made revocation, disarmed by a colon.
sed -i 's/^:-----/-----/' "$GNUPGHOME/openpgp-revocs.d/$(part revoked-primary 1).rev"
gpg --batch --quiet --import "$GNUPGHOME/openpgp-revocs.d/$(part revoked-primary 1).rev"
export_key revoked-primary

# The foreign primary has adopted the lab's current subkey, with the binding that the lab's primary made for it.
gpg --batch --quiet --import "$KEYS/lab.asc" "$KEYS/foreign.asc"
split() { (cd "$GNUPGHOME" && mkdir "$1" && gpg --export "$2" | gpgsplit --prefix "$1/"); }
split lab lab@prebake.invalid
split foreign foreign@prebake.invalid
# Packets are numbered in order; the current subkey and its binding are the last two.
mapfile -t packets < <(printf '%s\n' "$GNUPGHOME"/lab/*)
cat "$GNUPGHOME"/foreign/* "${packets[@]: -2}" | gpg --enarmor 2>/dev/null |
    sed 's/PGP ARMORED FILE/PGP PUBLIC KEY BLOCK/; /^Comment/d' >adopted-subkey.asc

# Two keys in one file, armored and binary.
gpg --batch --yes --armor --output two-keys.asc --export foreign@prebake.invalid lab@prebake.invalid
gpg --batch --yes --output two-keys.gpg --export foreign@prebake.invalid lab@prebake.invalid
chmod 644 ./*.asc ./*.gpg ./*.sig
