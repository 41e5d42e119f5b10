# The bootstrap container: it reads cluster.yaml, serves the machines' boots, waits until the cluster is there, writes its
# kubeconfig, and ends. docs/guides/cluster.md says how it is run.
#
#   make dist
#   docker build --build-arg FLATCAR_VERSION=4593.2.5 --build-arg K8S_VERSION=1.33.13 --tag prebake .
#   docker build --target plain --tag prebake:plain .     # nothing baked in: it fetches when it runs
#
# packaging/Containerfile is the other image: a boot server alone, of a tree that was built elsewhere.

# Has a shell, apt, and nothing to do with what runs later.
ARG BASE_IMAGE=debian:stable-slim

FROM scratch AS binary
ARG TARGETARCH
COPY dist/prebake-$TARGETARCH /prebake

# What the program reads of a system: certificates of authorities, and iPXE's loaders for TFTP.
FROM ${BASE_IMAGE} AS system
COPY packaging/container/system.sh /system.sh
RUN sh /system.sh /system

# Everything that a cluster of these versions fetches, verified, as a mirror in a directory. CLUSTER may be a description of one's
# own in the build's context, so that its network plugin and add-ons are baked in as well.
FROM ${BASE_IMAGE} AS bake
ARG FLATCAR_CHANNEL=stable
ARG FLATCAR_VERSION=4593.2.5
ARG K8S_VERSION=1.33.13
ARG CLUSTER=packaging/container/cluster.yaml
# Of a mirror of the site; none of them stays in the image.
ARG PREBAKE_MIRROR_FLATCAR
ARG PREBAKE_MIRROR_KUBERNETES
ARG PREBAKE_MIRROR_GITHUB
ARG PREBAKE_MIRROR_OCI
ARG PREBAKE_MIRROR_WEB
COPY --from=system /system /
COPY --from=binary /prebake /usr/bin/prebake
COPY ${CLUSTER} /bake/cluster.yaml
COPY packaging/container/bake.sh /bake.sh
RUN sh /bake.sh /bake/cluster.yaml /mirror

# No shell, no libc, no files of a distribution.
FROM scratch AS plain
COPY --from=system /system /
COPY --from=binary /prebake /prebake
ENV PREBAKE_STORE=/store
# `output` is /output, and /config/cluster.yaml and /templates are found where they are mounted.
WORKDIR /
EXPOSE 8080/tcp 69/udp 67/udp
ENTRYPOINT ["/prebake", "cluster"]
CMD ["--help"]

FROM plain
COPY --from=bake /mirror /mirror
ENV PREBAKE_MIRROR_FLATCAR=file:///mirror/flatcar \
    PREBAKE_MIRROR_KUBERNETES=file:///mirror/kubernetes \
    PREBAKE_MIRROR_GITHUB=file:///mirror/github \
    PREBAKE_MIRROR_OCI=file:///mirror/oci \
    PREBAKE_MIRROR_WEB=file:///mirror/web
