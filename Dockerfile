# syntax=docker/dockerfile:1

# The program opens the driver's libnvidia-ml.so.1 while it runs. A static musl binary cannot do that ("Dynamic loading
# not supported"), a static glibc one crashes when the image's glibc is another. So it is linked dynamically against an
# old glibc and runs on the same or a newer one: both images below are Debian 12.
ARG BUILDER=docker.io/library/rust:1-bookworm
# `cc` and not `base`: a Rust program needs libgcc_s.so.1.
ARG RUNTIME=gcr.io/distroless/cc-debian12

FROM ${BUILDER} AS build
WORKDIR /build

# Dependencies first: they change rarely and take the longest, so they are a layer of their own. Cargo wants every
# member of the workspace to be there, hence the empty ones.
COPY Cargo.toml Cargo.lock ./
COPY tests/fake-nvml/Cargo.toml tests/fake-nvml/
RUN mkdir -p src tests/it tests/fake-nvml/src \
    && echo 'fn main() {}' | tee src/main.rs tests/it/main.rs > /dev/null \
    && touch src/lib.rs tests/fake-nvml/src/lib.rs \
    && cargo build --release --locked --bin gpu-cost-exporter

# What the program consists of, and what it compiles in.
COPY . .
# Cargo compares times, and a copied file may be older than the empty one that was built.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin gpu-cost-exporter

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

COPY --from=build /build/target/release/gpu-cost-exporter /usr/bin/gpu-cost-exporter
COPY LICENSE /usr/share/doc/gpu-cost-exporter/

# The kubelet's socket lies in a directory of root's that nobody else may enter. Root without any capability is enough.
USER 0:0
EXPOSE 8080
ENTRYPOINT ["/usr/bin/gpu-cost-exporter"]
