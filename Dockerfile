# syntax=docker/dockerfile:1

# docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/gpu-cost-exporter:TAG --push .

# The program opens the driver's libnvidia-ml.so.1 while it runs. A static musl binary cannot do that ("Dynamic loading
# not supported"), a static glibc one crashes when the image's glibc is another. So it is linked dynamically against an
# old glibc and runs on the same or a newer one: both images below are Debian 12.
ARG BUILDER=docker.io/library/rust:1-bookworm
# `cc` and not `base`: a Rust program needs libgcc_s.so.1.
ARG RUNTIME=gcr.io/distroless/cc-debian12
# Where the program comes from: `build` compiles it, `given` takes a gpu-cost-exporter that lies beside this file.
ARG PROGRAM=build

# For each platform on a machine of its own kind, emulated if need be: what links for another one is no part of the image
# of the compiler.
FROM ${BUILDER} AS build
ARG TARGETARCH
WORKDIR /build
COPY . .
# Dependencies and what was compiled of them stay on the machine that builds, apart for each platform.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,id=gpu-cost-exporter-${TARGETARCH},sharing=locked \
    cargo build --release --locked --bin gpu-cost-exporter \
    && cp target/release/gpu-cost-exporter /gpu-cost-exporter

FROM scratch AS given
COPY gpu-cost-exporter /

FROM ${PROGRAM} AS program

FROM ${RUNTIME}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gpu-cost-exporter" \
      org.opencontainers.image.description="Live per-pod GPU cost, idle cost and waste of a Kubernetes node, exact to the cent, for Prometheus" \
      org.opencontainers.image.source="https://github.com/gpu-cost-exporter/gpu-cost-exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# NVIDIA's container runtime brings in the driver's library and the devices of all GPUs, without a request for any of
# them: one that is requested could not be given to a pod that works. `utility` is the part with NVML. No check of the
# CUDA version: there is no CUDA here.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=utility \
    NVIDIA_DISABLE_REQUIRE=true

COPY --from=program /gpu-cost-exporter /usr/bin/gpu-cost-exporter
COPY LICENSE /usr/share/doc/gpu-cost-exporter/

# The kubelet's socket lies in a directory of root's that nobody else may enter. Root without any capability is enough.
USER 0:0
EXPOSE 8080
# It goes on answering for a while after this, so that its last sums are scraped.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/gpu-cost-exporter"]
