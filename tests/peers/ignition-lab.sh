#!/usr/bin/env bash
# ignition-lab.sh: prints the path of real Ignition 2.24.0, built once; the lab's releases carry the same.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lab/release/common.sh"
source "$HERE/ignition.sh"
go_ignition
