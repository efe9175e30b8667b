SHELL := /bin/bash
PROGRAMS := app gatekeeper lab loadgen monitoring
MODULES := $(PROGRAMS) serve examples/orders
VERSION ?= dev
FUZZTIME ?= 60s
PACKAGE ?= evidence
CLUSTER ?= ../shared/cluster/cluster
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo none)
BUILDX  ?= docker buildx
EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
GREMLINS := go run github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0
GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
ACTIONLINT := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
# The race detector needs a C compiler.
RACE := $(shell command -v cc >/dev/null && echo -race)
each = set -e; for m in $(or $(2),$(MODULES)); do echo "== $$m"; (cd $$m && $(1)); done
export GOWORK := off
export GOTOOLCHAIN := auto
# Every target works without Go on the PATH: hack/toolchain then fetches it into .lab, after saying so.
export PATH := $(CURDIR)/.lab/go/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: provedocs provecharts provegateway provepolicies provedeploy views rules dashboards pictures screenshots help toolchain lab build test acceptance mutate fuzz bench crash golden report lint charts prove proveupgrade demo version notes tagged flows archives package

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12
toolchain:
	@hack/toolchain
lab: toolchain
	@cd lab && CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o ../build/ .
build: toolchain ## build every program into build/
	@$(call each,CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o ../build/ .,$(PROGRAMS))
demo: lab ## watch a promotion and a rollback; without Docker too
	build/lab demo $(ARGS)
report: lab ## make the example deployment_report.md with its charts anew, from a real run of the story on the embedded engine
	rm -rf build/report; build/lab demo --engine embedded --report build/report $(ARGS)
	rm -rf rollouts; cp -r build/report/rollouts build/report/deployment_report.md .
test: toolchain ## run every test that needs no cluster, with the race detector
	@[ -n "$(RACE)" ] || echo "there is no C compiler (cc): the tests run without the race detector"
	@# Go's memory of results does not see what lab's tests read of the other modules.
	@$(call each,go vet ./... && go test $(RACE) -short -timeout 20m $$([ $$m != lab ] || echo -count=1) ./...)
	@[ -z "$(RACE)" ] || { echo "== the simulations of the evidence, without the race detector"; cd gatekeeper && go test -short ./internal/evidence; }
	@echo "== the pages in a browser"; cd gatekeeper && go test -run 'Browser|Keyboard|Fresh' ./internal/web
	@echo "== whole releases on the embedded engine, and gatekeepers that are killed"; cd lab && go test -v -timeout 60m -run 'TestReleases|TestKilled|TestASecond|TestAKilled|TestCrash' .
acceptance: toolchain ## simulate 20,000 rollouts a case against the statistics and write docs/acceptance.md; minutes
	cd gatekeeper && ACCEPTANCE=$(CURDIR)/docs/acceptance.md go test -count 1 -timeout 60m -run '^TestAcceptance$$' ./internal/evidence
	@cat docs/acceptance.md
mutate: toolchain ## change the code of PACKAGE=evidence at one place at a time and list what no test finds; minutes
	cd gatekeeper && $(GREMLINS) unleash --tags mutate --invert-logical --invert-loopctrl --invert-assignments --remove-self-assignments \
		--output-statuses lc --workers 2 --timeout-coefficient 20 ./internal/$(PACKAGE)
fuzz: toolchain ## feed the decoders what nobody would write, FUZZTIME=60s each; findings are kept in testdata/fuzz
	@$(call each,$(CURDIR)/hack/fuzz $(FUZZTIME))
bench: lab ## measure: ratios against other programs (ARGS="load --rounds 3"), or how soon faults are found (ARGS=detect)
	build/lab bench $(ARGS)
crash: lab ## kill gatekeepers 200 times while 50 rollouts run, and check that nothing is lost (ARGS="--database postgres"); minutes
	build/lab crash $(ARGS)
prove: lab ## run the scenarios: make prove ARGS="--engine existing"
	build/lab prove $(ARGS)
proveupgrade: lab ## upgrade from the first version with a release in flight, on CLUSTER; minutes
	$(CLUSTER) up && hack/cluster-images $(CLUSTER) && hack/on-cluster $(CLUSTER) build/lab upgrade $(ARGS)
golden: lab ## make the golden hook requests and courses anew, from Flagger in the embedded engine
	rm -rf build/golden; build/lab prove --engine embedded --only 1,2,3 --capture build/golden; \
	cp build/golden/hooks.json gatekeeper/internal/flagger/testdata/ && cp build/golden/transcripts.json lab/internal/drill/
rules: toolchain ## write monitoring/alert_rules.yaml and the operator's objects from monitoring/slo.yaml
	cd monitoring && go run . rules && go run . rules --slo tests/slo.yaml --accelerate 30 --out ../lab/monitoring/accelerated_rules.yaml && go run . rules --slo ../lab/gateway/slo.yaml --out ../lab/gateway/alert_rules.yaml
dashboards: toolchain ## write monitoring/grafana_dashboards from their code
	cd monitoring && go run . dashboards
pictures: monitoring/pictures/node_modules/.package-lock.json ## draw the dashboards from the Prometheus at PROMETHEUS=http://… into docs/pictures/dashboards (needs Node.js 20.11 and chromium)
	node monitoring/pictures/pictures.mjs --prometheus "$(PROMETHEUS)" $(ARGS)
monitoring/pictures/node_modules/.package-lock.json: monitoring/pictures/package-lock.json
	cd monitoring/pictures && npm ci --ignore-scripts --no-audit --no-fund
views: toolchain ## prove collector and Jaeger on a cluster of CLUSTER=../shared/cluster/cluster, built from their modules; minutes
	$(CLUSTER) up && hack/views $(CLUSTER)
provegateway: lab ## run the scenarios behind a Gateway on a cluster of CLUSTER=../shared/cluster/cluster, with Traefik built from its modules; minutes
	$(CLUSTER) up && hack/prove-gateway $(CLUSTER) $(ARGS)
provecharts: build ## install the charts on a cluster of CLUSTER=../shared/cluster/cluster where Pod Security is enforced, and run helm test
	$(CLUSTER) up && hack/prove-charts $(CLUSTER)
provepolicies: lab ## run releases on a cluster of CLUSTER=../shared/cluster/cluster where kube-router enforces the charts' NetworkPolicies, and ask as a stranger
	hack/prove-policies $(CLUSTER) $(ARGS)
provedeploy: lab ## run deploy.yml for good and bad releases on CLUSTER, without GitHub; minutes
	hack/prove-deploy $(CLUSTER)
screenshots: lab ## take the pictures of the page in docs/screenshots anew, of real releases in the embedded engine (needs chromium)
	mkdir -p docs/screenshots && cd lab && SCREENSHOTS=$(CURDIR)/docs/screenshots go test -count 1 -timeout 20m -run '^TestReleasesOnThePage$$' .
lint: toolchain ## check style with the pinned linter, formatting and module files included
	@$(call each,$(GOLANGCI) run -c $(CURDIR)/.golangci.yml ./... && $(GOLANGCI) fmt -c $(CURDIR)/.golangci.yml --diff && go mod tidy -diff)
charts: toolchain ## lint, render and check the charts, with the values of each feature and kind of cluster (ARGS=-update writes what they come to)
	cd lab && go test -count 1 ./static -run '^TestCharts|^TestTheDoctors' $(ARGS)
.PHONY: images provebuild
images: ## build the container images with Docker's buildx; PUSH=1 pushes them, PLATFORMS=linux/amd64,linux/arm64
	@mkdir -p build
	VERSION=$(VERSION) COMMIT=$(COMMIT) SOURCE_DATE_EPOCH=$(EPOCH) $(BUILDX) bake --metadata-file build/images.json $(BAKEARGS)
provebuild: lab ## build the images twice without Docker and check them: user, labels, size, no shell, the same digests (needs Debian, root)
	hack/prove-build
version: ## write the version V=0.3.0 into VERSION and the charts, and open its section of CHANGELOG.md
	hack/version set $(V)
notes: ## print what CHANGELOG.md says of the version in VERSION
	@hack/version notes
tagged: ## check that TAG=v0.3.0 is the version in VERSION and that CHANGELOG.md tells of it
	hack/version check "$(TAG)"
flows: toolchain ## check workflows, actions and all shell scripts (needs shellcheck)
	$(ACTIONLINT)
	shellcheck .ci/run $$(grep -rlE '^#!.*\bbash' hack .github)
archives: toolchain ## build gatekeeper, loadgen and monitoring for Linux and macOS into build/archives, with checksums
	hack/archives
package: ## pack the charts into build/charts, with the version in VERSION (needs helm)
	hack/package
provedocs: toolchain ## run the commands of documents as they stand there: ENV=repo, or ENV=cluster and ENV=adopt on a cluster of CLUSTER=../shared/cluster/cluster; minutes
	hack/provedocs $(ENV) $(CLUSTER)
