# Everything that is done with this project starts here; docs/operations.md explains it.

SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# Downloads live outside the tree and survive `git clean`.
export SYNCPLANE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/syncplane

GOLANGCI    := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.1.4

# The Lambda runs on arm64; ARCH=amd64 builds for a host that cannot.
ARCH       ?= arm64
LAMBDA_ENV  = CGO_ENABLED=0 GOOS=linux
BOOTSTRAP   = go build -trimpath -tags lambda.norpc -ldflags="-s -w"

# A function is a directory in functions/; `make build` makes build-api of api.
FUNCTIONS  := api relay intake reconcile
BUILDS     := $(FUNCTIONS:%=build-%)
SAM_BUILDS := build-ApiFunction build-RelayFunction build-IntakeFunction build-ReconcileFunction

.PHONY: run test help token invoke lint vuln verify soak bench build bin/syncplane $(BUILDS) $(SAM_BUILDS)

## The two that are enough

run: bin/syncplane ## the local server on http://127.0.0.1:8080; PORT=, DATA_DIR=, STORE=
	@exec bin/syncplane serve

test: ## all tests, with the race detector
	go test -race ./...

help: ## this list
	@awk -F ':.*## ' '/^## / { printf "\n%s\n\n", substr($$0, 4) } /^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

## With the local server

token: bin/syncplane ## a bearer token; WORKSPACE=, SCOPE=, TTL=
	@bin/syncplane token

EVENT ?= events/create-sync.json

invoke: bin/syncplane ## the Lambda on this machine; EVENT=events/create-sync.json
	@for name in api relay intake; do $(LAMBDA_ENV) $(BOOTSTRAP) -o bin/host/$$name/bootstrap ./functions/$$name; done
	@bin/syncplane invoke $(EVENT)

bin/syncplane:
	@go build -trimpath -o $@ ./cmd/syncplane

## For AWS

build: $(BUILDS) ## bin/lambda/*/bootstrap, the functions as Lambda runs them

$(BUILDS): build-%:
	$(LAMBDA_ENV) GOARCH=$(ARCH) $(BOOTSTRAP) -o bin/lambda/$*/bootstrap ./functions/$*

# `sam build` tells a Makefile nothing of the architecture, but notes it down
# first. It does not where it is to build a single function: then say ARCH.
SAM_ARCH    = $(shell sed -n 's/^architecture = "\(.*\)"/\1/p' $(ARTIFACTS_DIR)/../../build.toml 2>/dev/null | sort -u)

build-ApiFunction:       FUNCTION = api
build-RelayFunction:     FUNCTION = relay
build-IntakeFunction:    FUNCTION = intake
build-ReconcileFunction: FUNCTION = reconcile

$(SAM_BUILDS): # called by `sam build`
	$(LAMBDA_ENV) GOARCH=$(or $(SAM_ARCH:x86_64=amd64),$(ARCH)) $(BOOTSTRAP) -o $(ARTIFACTS_DIR)/bootstrap ./functions/$(FUNCTION)

## Quality

lint: ## golangci-lint and gofumpt
	$(GOLANGCI) run

vuln: ## govulncheck; needs its online database
	$(GOVULNCHECK) ./...

verify: bin/syncplane ## template, API and events against official tools and client libraries; SEED=
	@verify/run

DURATION ?= 10m

soak: ## creates, changes and deletes over a DynamoDB that fails; DURATION=10m SEED=1
	CI=true go test -race -count=1 -timeout 0 -v -run '^TestFaults$$' ./pkg/app/httpfunc -soak $(DURATION) -seed $(or $(SEED),1)

bench: bin/syncplane ## speed and size, compared with a bare handler and Node.js
	@go run ./bench
