# syntax=docker/dockerfile:1

# tests/docker/build_stage_commands runs the commands of this stage without Docker, so they must stay
# within the work directory.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Cargo needs the manifest of each crate of the workspace, also of those that it doesn't build.
COPY testkit/Cargo.toml testkit/
# The mounts keep downloads and compiled dependencies between builds.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin token-broker \
    && cp target/release/token-broker token-broker

# This image has glibc, libgcc and CA certificates, and no shell. The user's id is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/token-broker /usr/local/bin/token-broker
USER nonroot
EXPOSE 50051
# This checks readiness: the container is unhealthy while the store is unreachable. If your platform
# restarts unhealthy containers, add `--service liveness`: a Redis outage doesn't change that answer.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["/usr/local/bin/token-broker", "health"]
# By default the broker listens on loopback, so no client outside of the container can reach it. Any
# other address needs TLS and a policy (docs/tls.md, docs/access.md), which the operator gives it.
ENTRYPOINT ["/usr/local/bin/token-broker"]
