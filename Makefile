# The menu. Every entry sets up what it needs.
.PHONY: help demo test flagship check bench fuzz dist clean

help:           ## show this menu
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

demo:           ## bake the lab's release and boot two machines from it
	@tests/prerequisites.sh demo
	@echo "== compiling prebake and the demo (the first time about eight minutes on two cores)"
	@cargo build --bin prebake --example demo
	@echo "== a release of the lab's own, a build of it, a server, and two machines in QEMU (about two minutes)"
	@target/debug/examples/demo

check:          ## format, lints, links of the sources' documentation
	@echo "== format, lints and documentation: everything is compiled once for that"
	cargo fmt --all --check
	cargo clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --document-private-items --quiet

test:           ## everything, with the real judges
	@tests/prerequisites.sh test
	$(MAKE) --no-print-directory check
	@echo "== the judges: Butane, Ignition, Matchbox, containerd, Kubernetes and what it runs (built from source once, then kept in ~/.cache/prebake)"
	tests/peers/build.sh butane ignition matchbox cri containerd containerd-1.7 kubernetes kubeadm-1.30 cni cluster-api cluster-api-aws cluster-api-convert sops terraform >/dev/null
	@echo "== tests: of units, golden files, vectors, judges, and machines in QEMU"
	PREBAKE_LAB_IGNITION=go tests/run.sh

WORKERS ?= 1
DISKS ?= 0
flagship:       ## form a cluster of two emulated machines behind an air gap (half an hour); others by CONTROLLERS=3 WORKERS=1 DISKS=1 CUT="w1 c2"
	@tests/prerequisites.sh test
	tests/peers/build.sh kubernetes containerd cni etcd coredns kube-vip >/dev/null
ifdef CONTROLLERS
	cargo build --bin prebake --example flagship
	@CONTROLLERS=$(CONTROLLERS) WORKERS=$(WORKERS) DISKS=$(DISKS) CUT="$(CUT)" target/debug/examples/flagship
else
	cargo test --test it cluster::flagship -- --ignored --nocapture
endif

bench:          ## race against the peers
	@tests/prerequisites.sh bench
	cargo bench

TIME ?= 60
fuzz:           ## every parser of foreign bytes against libFuzzer, TIME=60 seconds each
	@tests/prerequisites.sh fuzz
	@fuzz/run.sh $(TIME) $(TARGETS)

dist:           ## static binaries and packages for amd64 and arm64 into dist/, the same bytes everywhere
	packaging/dist.sh
	packaging/packages.sh

clean:          ## remove what was built and published here
	cargo clean
	rm -rf output dist
