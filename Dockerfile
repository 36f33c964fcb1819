# The three binaries in one image; each service of docker-compose.yml starts one of them.
#   docker build -t causeway .
#   docker run --rm -v "$PWD/causeway.toml:/etc/causeway/causeway.toml:ro" causeway causeway-source run --config /etc/causeway/causeway.toml

# The full image, not -slim: librdkafka, OpenSSL, zlib, zstd and aws-lc are built from source and need
# make, gcc, g++, perl and pkg-config, which it has.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p causeway-source -p causeway-sink -p causeway-reconcile \
 && mkdir -p /out/bin /out/spool \
 && cp target/release/causeway-source target/release/causeway-sink target/release/causeway-reconcile /out/bin/

FROM debian:12.12-slim
# Certificate authorities, for TLS to SQL Server, PostgreSQL, Vault and the registry.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/bin/ /usr/local/bin/
# Where a reconciliation may put rows that exceed its memory: a volume of this folder belongs to the user.
COPY --from=build --chown=65532:65532 /out/spool/ /var/lib/causeway/
# Numeric, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /tmp
CMD ["causeway-source", "--help"]
