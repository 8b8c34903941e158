# syntax=docker/dockerfile:1

# The commands of this stage are run by tests/docker/build_stage_commands, so they stay within
# the work directory.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Only so that the workspace is complete.
COPY testkit/Cargo.toml testkit/
# The mounts keep downloads and compiled dependencies from one build to the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin token-broker \
    && cp target/release/token-broker token-broker

# glibc, libgcc and CA certificates, no shell. The user is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/token-broker /usr/local/bin/token-broker
USER nonroot
EXPOSE 50051
# Readiness: unhealthy while the store is unreachable. Where unhealthy means a restart, override it
# with `--service liveness`, which a Redis outage leaves alone.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["/usr/local/bin/token-broker", "health"]
# The default is to listen on loopback, which nobody outside the container reaches. Any other
# address needs --insecure-allow-remote, which is for whoever runs the container to decide.
ENTRYPOINT ["/usr/local/bin/token-broker"]
