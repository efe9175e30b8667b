SHELL := /bin/bash
MODULES := app gatekeeper lab loadgen
VERSION ?= dev
COMMIT  ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo none)
GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
each = set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && $(1)); done
export GOWORK := off

.DEFAULT_GOAL := help
.PHONY: help build test lint charts prove demo image

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10
build: ## build every program into build/
	@$(call each,CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o ../build/ .)
test: ## run every test that needs no cluster, with the race detector
	@$(call each,go vet ./... && go test -race ./...)
lint: ## check style with the pinned linter, formatting and module files included
	@$(call each,$(GOLANGCI) run -c ../.golangci.yml ./... && $(GOLANGCI) fmt -c ../.golangci.yml --diff && go mod tidy -diff)
charts: ## lint the charts against their schemas (needs helm)
	helm lint --strict helm/podinfo-like helm/gatekeeper helm/loadgen
prove: build ## run the scenarios on a cluster: make prove ARGS="--engine existing"
	build/lab prove $(ARGS)
demo: build ## watch a promotion and a rollback: make demo ARGS="--engine kind"
	build/lab demo $(ARGS)
image: ## build the container images with Docker
	for i in app gatekeeper loadgen; do docker build -f Dockerfile.$$i --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t ghcr.io/rollout-monitoring/$$i:$(VERSION) . || exit 1; done
