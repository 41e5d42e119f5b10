#!/usr/bin/env bash
# Makes the lab's OpenPGP keys. They were made once and are committed: running this again makes *different* keys,
# so every fixture in tests/data/openpgp and every recipe's primary_fingerprint has to be made again after it.
#
# Flatcar's structure: an RSA-4096 primary (sign and certify, no expiry) and sign-only subkeys, one of them expired,
# one revoked, one current. A foreign key (RSA-2048, of nobody) serves the negative tests.
set -euo pipefail
cd "$(dirname "$0")"
. ./home.sh

UID_LAB='prebake lab (throw-away test key, trust it nowhere) <lab@prebake.invalid>'
UID_FOREIGN='prebake foreign (throw-away test key, trust it nowhere) <foreign@prebake.invalid>'

at 20180226T000000 --quick-generate-key "$UID_LAB" rsa4096 cert,sign never
LAB=$(gpg --list-keys --with-colons "$UID_LAB" | awk -F: '/^fpr/{print $10; exit}')
at 20220810T000000 --quick-add-key "$LAB" rsa4096 sign 2023-08-10 # expired
at 20230811T000000 --quick-add-key "$LAB" rsa4096 sign 2036-01-01 # revoked below
at 20250307T000000 --quick-add-key "$LAB" rsa4096 sign 2036-12-31 # current

# "key 2" is the second subkey; reason 1 is "key has been compromised", which takes its past signatures with it.
at 20240601T000000 --command-fd 0 --no-tty --status-file /dev/null --edit-key "$LAB" <<'ANSWERS'
key 2
revkey
y
1

y
save
ANSWERS

at 20200101T000000 --quick-generate-key "$UID_FOREIGN" rsa2048 cert,sign never
FOREIGN=$(gpg --list-keys --with-colons "$UID_FOREIGN" | awk -F: '/^fpr/{print $10; exit}')

for name in lab:"$LAB" foreign:"$FOREIGN"; do
    gpg --batch --yes --armor --output "${name%%:*}.asc" --export "${name#*:}"
    at 20250401T000000 --armor --output "${name%%:*}.secret.asc" --export-secret-keys "${name#*:}"
done
chmod 644 ./*.asc
gpg --list-keys --with-subkey-fingerprint
