# syntax=docker/dockerfile:1
# A small image with Hubplane, which does not run as root. Build it with: docker build -t hubplane .

FROM rust:1-slim-bookworm AS build
WORKDIR /src
# Build the dependencies first: this layer is reused until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
# The manifest refers to the test kit, which is not built here.
COPY tests/kit/Cargo.toml tests/kit/
RUN mkdir src tests/kit/src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs tests/kit/src/lib.rs \
 && cargo build --release --locked && rm -r src
COPY config config
COPY src src
# Cargo compares time stamps, and the placeholders above may be newer than the sources.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
# The public certificate authorities, for TLS to Redis and to identity providers.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --no-create-home --shell /usr/sbin/nologin hubplane
COPY --from=build /src/target/release/hubplane /usr/local/bin/hubplane
USER hubplane
# A hubplane.toml mounted here is used; without one, the built-in configuration.
WORKDIR /etc/hubplane
ENV HUBPLANE_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Checks that the process is alive, not that it is ready: without Redis a replica still serves its own clients, and a restart
# would disconnect them.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["hubplane", "healthcheck"]
ENTRYPOINT ["hubplane"]
CMD ["serve"]
