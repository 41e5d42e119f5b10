# Sourced by the scripts that make keys and signatures: a gpg home that goes with the script, and gpg at another time.
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
chmod 700 "$GNUPGHOME"

# at YYYYMMDDTHHMMSS ARGS…: gpg with the clock standing there
at() {
    local clock=$1
    shift
    gpg --batch --quiet --yes --pinentry-mode loopback --passphrase '' --faked-system-time "$clock!" "$@"
}
