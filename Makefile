# Slipway. `make` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
version := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ldflags := -s -w
embedded := cmd/slipway/embedded
sources = $(shell git ls-files -co --exclude-standard '*.go' go.mod go.sum 2>/dev/null)
gotestsum := go run gotest.tools/gotestsum@v1.13.0
lint := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.6.2
logs := .cache/tests
cluster := go -C e2e/cluster run .
# Before tests that want a Kubernetes: starts it, unless it runs or KUBECONFIG names one, and ends it with them. With & it
# starts while the first tests run, which wait for it.
borrow_cluster = [ -n "$$KUBECONFIG" ] || $(cluster) status >/dev/null 2>&1 || { trap 'wait; $(cluster) down -unused' EXIT; $(cluster) up >/dev/null $(1) }

.PHONY: help
help: ## list what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: demo
demo: bin/slipway ## the whole story on this machine: promote, replace under load, roll back
	@bin/slipway demo

.PHONY: build
build: bin/slipway bin/modelserver ## both programs into bin/

# The command line carries the model server for both platforms, so that one file is all a user needs.
bin/slipway: $(embedded)/modelserver-linux-amd64.zst $(embedded)/modelserver-linux-arm64.zst $(sources)
	@echo "building bin/slipway"
	@go build -trimpath -tags embedserver -ldflags '$(ldflags) -X main.version=$(version)' -o $@ ./cmd/slipway

bin/modelserver: $(sources)
	@echo "building bin/modelserver"
	@go build -trimpath -ldflags '$(ldflags)' -o $@ ./cmd/modelserver

$(embedded)/modelserver-linux-%.zst: $(sources)
	@echo "building the model server for linux/$*"
	@mkdir -p $(@D)
	@GOOS=linux GOARCH=$* GOAMD64=v1 GOARM64=v8.0 go build -buildvcs=false -trimpath -ldflags '$(ldflags)' -o $(@:.zst=) ./cmd/modelserver
	@go run ./cmd/slipway/embed $(@:.zst=) $@ && rm $(@:.zst=)

.PHONY: test
test: tools ## everything: units, then the whole against real MLflow, image registry and scikit-learn
	@rm -rf $(logs) && mkdir -p $(logs)
	@$(MAKE) --no-print-directory race e2e
	@echo "slowest tests:"; cat $(logs)/*.json | $(gotestsum) tool slowest --threshold 100ms 2>/dev/null | head -10 || true

.PHONY: unit
unit: ## tests that need nothing but Go, for every save
	@mkdir -p $(logs)
	@$(gotestsum) --format pkgname-and-test-fails --jsonfile $(logs)/unit.json -- -shuffle=on -timeout 10m ./...

.PHONY: race
race: tools ## the same under the race detector
	@mkdir -p $(logs)
	@CGO_ENABLED=1 $(gotestsum) --format pkgname-and-test-fails --jsonfile $(logs)/race.json -- -race -shuffle=on -timeout 30m ./...

.PHONY: e2e
e2e: tools ## tests against the real things (installed into a cache on first use)
	@mkdir -p $(logs)
	@go -C e2e/cluster test .
	@$(call borrow_cluster,&); $(gotestsum) --format pkgname-and-test-fails --jsonfile $(logs)/e2e.json -- -tags e2e -shuffle=on -timeout 60m -p 2 -parallel 4 -run E2E ./...

.PHONY: soak
soak: tools ## fifty rollouts and rollbacks under load lose no request (N=1000: more), nor does the autoscaler
	@$(call borrow_cluster,;); N=$${N:-50} SOAK=1 go test -tags e2e -count=1 -timeout 24h -v -run 'TestE2ENoRequestIsLostInACluster$$|TestE2EAutoscaler' ./e2e | grep -v "^=== "

.PHONY: cluster
cluster: ## a Kubernetes of one node on this machine (Linux, root); prints the line for your shell
	@$(cluster) up

.PHONY: cluster-down
cluster-down: ## end it
	@$(cluster) down

.PHONY: bench
bench: tools build ## ratios against what users would pick instead, measured in one run
	@$(call borrow_cluster,;); go test -tags bench -count=1 -timeout 60m -v ./e2e/bench | grep -v "^=== \|^--- PASS\|^PASS"

.PHONY: tools
tools: # what the tests need beside Go and Python, from Debian
	@for tool in wrk:wrk python3:python3 gcc:gcc; do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	python3 -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -e /usr/include/stdlib.h ] || missing="$$missing libc6-dev"; \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "missing:$$missing; install them, for example: sudo apt-get install$$missing" >&2; exit 1; }; \
	  echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

.PHONY: lint
lint: ## static checks
	@$(lint) run ./...

.PHONY: generate
generate: ## docs/cli.md from the command line itself, and what init writes from our own pipelines
	@go test ./cmd/slipway -run 'TestReferenceIsCurrent|TestOurPipelinesAreTheTemplates' -update

.PHONY: clean
clean: ## remove what was built
	@rm -rf bin .cache $(embedded)/*.zst
