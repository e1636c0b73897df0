# Two stages: the toolchain builds one binary, the final image holds it and the libraries it links.
FROM swift:6.3-bookworm AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        libdnnl-dev libgnutls28-dev libjpeg-dev libjs-dygraphs libmicrohttpd-dev libsqlite3-dev nettle-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# Dependencies first: their layer stays while the sources change.
COPY Package.swift ./
RUN swift package resolve
COPY . .
RUN swift build --configuration release --product vintner --static-swift-stdlib \
    && install -D --strip "$(swift build --configuration release --show-bin-path)/vintner" /out/vintner

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        dataset-fashion-mnist libdnnl2 libgnutls30 libgomp1 libjpeg62-turbo libmicrohttpd12 libnettle8 libsqlite3-0 libstdc++6 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin vintner \
    && install --directory --owner vintner --group vintner --mode 0700 /data
COPY --from=build /out/vintner /usr/local/bin/vintner
USER vintner
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s CMD ["vintner", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["vintner"]
# Inside the container only; publish the port on loopback (-p 127.0.0.1:8080:8080) or behind a TLS proxy.
CMD ["serve", "--data", "/data", "--host", "0.0.0.0", "--port", "8080", "--insecure-http"]
