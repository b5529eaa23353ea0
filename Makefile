# The tasks of this project. `make help` lists them; docs/operations.md explains them.

SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# Downloads are outside the tree, so `git clean` keeps them.
export SYNCPLANE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/syncplane

GOLANGCI    := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.1.4

# The functions run on arm64; ARCH=amd64 builds for x86_64.
ARCH       ?= arm64
LAMBDA_ENV  = CGO_ENABLED=0 GOOS=linux
# No service that the functions call needs net/rpc or HTTP/2; without them a zip is
# 0.2 MB smaller.
BOOTSTRAP   = go build -trimpath -tags lambda.norpc,nethttpomithttp2 -ldflags="-s -w"
# Without C libraries the command starts faster, and without net/rpc it is 8 MB smaller:
# the linker drops the methods that nothing calls.
COMMAND     = CGO_ENABLED=0 go build -trimpath -tags lambda.norpc

# Each function is a directory in functions/; build-api builds functions/api.
FUNCTIONS  := api relay intake reconcile
BUILDS     := $(FUNCTIONS:%=build-%)
SAM_BUILDS := build-ApiFunction build-RelayFunction build-IntakeFunction build-ReconcileFunction

.PHONY: run test help token invoke generate lint vuln verify soak bench build image bin/syncplane bin/image/syncplane $(BUILDS) $(SAM_BUILDS)

## First steps

run: bin/syncplane ## run the local server on http://127.0.0.1:8080; PORT=, HOST=, DATA_DIR=, STORE=
	@exec bin/syncplane serve

# A test that waits leaves the processor to other packages, so more of them run at once
# than there are processors. GOGC is for the linker and large tests, which spend a sixth of
# their time in garbage collection. With -trimpath, copies of the repository share what is
# compiled and linked, and the results of tests that read no file of it.
test: ## run all tests with the race detector; tests over moto run in verify
	@GOGC=400 go run ./pkg/testkit/suite -race -trimpath -p 5

help: ## print this list
	@awk -F ':.*## ' '/^## / { printf "\n%s\n\n", substr($$0, 4) } /^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

## With the local server

token: bin/syncplane ## print a bearer token; WORKSPACE=, SCOPE=, TTL=
	@bin/syncplane token

EVENT ?= events/create-sync.json

invoke: bin/syncplane ## invoke the Lambda function locally; EVENT=events/create-sync.json
	@for name in api relay intake; do $(LAMBDA_ENV) $(BOOTSTRAP) -o bin/host/$$name/bootstrap ./functions/$$name; done
	@bin/syncplane invoke $(EVENT)

IMAGE ?= syncplane

image: bin/image/syncplane ## build the container image of the local server; IMAGE=syncplane
	docker build --quiet --tag $(IMAGE) --file Dockerfile bin/image

bin/image/syncplane:
	@GOOS=linux $(COMMAND) -ldflags="-s -w" -o $@ ./cmd/syncplane
	@mkdir -p -m 700 bin/image/data

bin/syncplane:
	@[ -e $@ ] || echo 'compiling $@; the first time this takes a minute or two' >&2
	@$(COMMAND) -o $@ ./cmd/syncplane

## For AWS

build: $(BUILDS) ## build the functions for Lambda: bin/lambda/*/bootstrap

$(BUILDS): build-%:
	$(LAMBDA_ENV) GOARCH=$(ARCH) $(BOOTSTRAP) -o bin/lambda/$*/bootstrap ./functions/$*

# `sam build` does not pass the architecture to a Makefile, but writes it to build.toml
# first. For the build of a single function it does not, so set ARCH.
SAM_ARCH    = $(shell sed -n 's/^architecture = "\(.*\)"/\1/p' $(ARTIFACTS_DIR)/../../build.toml 2>/dev/null | sort -u)

build-ApiFunction:       FUNCTION = api
build-RelayFunction:     FUNCTION = relay
build-IntakeFunction:    FUNCTION = intake
build-ReconcileFunction: FUNCTION = reconcile

$(SAM_BUILDS): # called by `sam build`
	$(LAMBDA_ENV) GOARCH=$(or $(SAM_ARCH:x86_64=amd64),$(ARCH)) $(BOOTSTRAP) -o $(ARTIFACTS_DIR)/bootstrap ./functions/$(FUNCTION)

## Quality

generate: ## generate pkg/api/openapi.json and pkg/client
	@go generate ./pkg/api ./pkg/client

lint: ## run golangci-lint with its formatters
	$(GOLANGCI) run

vuln: ## run govulncheck, which needs its online database
	$(GOVULNCHECK) ./...

verify: bin/syncplane ## check template, API and events with official tools and client libraries; SEED=
	@verify/run

DURATION ?= 10m

soak: ## random operations on syncs and runs, with faults; DURATION=10m for each test, SEED=1
	CI=true go test -p 1 -race -count=1 -timeout 0 -v -run '^(TestFaults|TestRunModel)$$' \
	  ./pkg/app/httpfunc ./pkg/storage/bolt ./pkg/storage/dynamo -soak $(DURATION) -seed $(or $(SEED),1)

bench: bin/syncplane ## compare speed and size with a bare handler, Rust, Go with chi, and Node.js
	@go run ./bench
