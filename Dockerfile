# syntax=docker/dockerfile:1
# Hubplane in a small image, without root. Build: docker build -t hubplane .

FROM rust:1-slim-bookworm AS build
WORKDIR /src
# The dependencies alone first: this layer stays as long as Cargo.toml and Cargo.lock do.
COPY Cargo.toml Cargo.lock ./
# The manifest names the test kit, which is not built here.
COPY tests/kit/Cargo.toml tests/kit/
RUN mkdir src tests/kit/src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs tests/kit/src/lib.rs \
 && cargo build --release --locked && rm -r src
COPY config config
COPY src src
# cargo goes by time stamps, and the stand-ins above are newer than the sources.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
# For TLS to Redis and to others: the public certificate authorities.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --no-create-home --shell /usr/sbin/nologin hubplane
COPY --from=build /src/target/release/hubplane /usr/local/bin/hubplane
USER hubplane
# A hubplane.toml mounted here is used; without one, the built-in configuration.
WORKDIR /etc/hubplane
ENV HUBPLANE_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Alive, not ready: without Redis a replica still serves its own clients, and a restart would take them away.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["hubplane", "healthcheck"]
ENTRYPOINT ["hubplane"]
CMD ["serve"]
