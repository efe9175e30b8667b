# The app: one static binary on a base without shell or package manager. From the root of the repository:
#   docker build -f Dockerfile.app --build-arg VERSION=1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) -t app:1.2.3 .
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS build
ENV CGO_ENABLED=0 GOWORK=off
WORKDIR /src/app
COPY serve/go.mod serve/go.sum /src/serve/
COPY app/go.mod app/go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY serve/ /src/serve/
COPY app/ ./
ARG TARGETOS TARGETARCH VERSION=dev COMMIT=none
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /app .

FROM gcr.io/distroless/static-debian12:nonroot@sha256:b7bb25d9f7c31d2bdd1982feb4dafcaf137703c7075dbe2febb41c24212b946f
ARG VERSION=dev COMMIT=none
LABEL org.opencontainers.image.title="app" \
      org.opencontainers.image.description="A REST service with the metrics and the faults that a rehearsed rollout needs" \
      org.opencontainers.image.source="https://github.com/rollout-monitoring/microservice_rollout_monitoring" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /app /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/app"]
CMD ["serve"]
