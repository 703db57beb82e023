# .ci/run and .github/workflows/ci.yml call the targets below. "make help" lists
# them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

GO       ?= go
FUZZTIME ?= 60s
COMPARE  ?= -write
TUNNELS  ?=
COVER    ?= cover.out
SOAK     ?= 30m
CUTS     ?= 10000
RANDOMTIME ?= 15m

# Every module of the repository, the root one first.
MODULES := . $(patsubst ./%/go.mod,%,$(sort $(shell find . -mindepth 2 -name go.mod -not -path '*/.*/*')))

# $(call in-modules,COMMAND) runs COMMAND in each module, up to the first that
# fails.
in-modules = @for module in $(MODULES); do echo "[$$module] $(strip $(1))"; (cd "$$module" && $(1)); done

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-13s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## run the file push example
	cd examples/filepush && $(GO) run .

.PHONY: cluster
cluster: ## run the gateway example: three nodes, three NATS servers and a thousand devices
	cd examples/gateway && $(GO) run . demo

.PHONY: test
test: ## run all tests
	$(call in-modules,$(GO) test -timeout 30m ./...)

.PHONY: race
race: ## run all tests under the race detector
	$(call in-modules,$(GO) test -race -timeout 30m ./...)

.PHONY: bench
bench: ## run the benchmarks
	cd test/bench && $(GO) test -run '^$$' -bench . ./...

.PHONY: compare
compare: ## measure geminio beside other libraries, with the flags COMPARE (-write)
	cd test/peers && $(GO) run . $(COMPARE)

.PHONY: tunnels
tunnels: ## measure relay and traversal beside chisel and frp, with the flags TUNNELS
	cd test/tunnels && $(GO) run . $(TUNNELS)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (60s) each
	@packages=$$($(GO) list ./...); \
	for package in $$packages; do \
		listed=$$($(GO) test -list '^Fuzz' "$$package"); \
		for target in $$(sed -n '/^Fuzz/p' <<<"$$listed"); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

.PHONY: random
random: ## run random programs on pairs of Ends, and check the ledgers, for RANDOMTIME (15m) each
	RANDOMTIME=$(RANDOMTIME) $(GO) test -race -tags geminiodebug -timeout 0 -v -run 'Random|GivenUp|ClosedWhile' ./test/fault

.PHONY: cuts
cuts: ## cut the connection of a session that does all kinds of work CUTS (10000) times, over TCP and TLS
	CUTS=$(CUTS) $(GO) test -timeout 0 -v -run TestWorkThatNoticesNoCut ./test/e2e
	cd examples && CUTS=$(CUTS) $(GO) test -timeout 0 -v -run TestCutsOfSSH ./traversal

.PHONY: soak
soak: ## keep a pair of Ends busy for SOAK (30m), and check that nothing grows
	$(GO) run ./test/soak -for $(SOAK) -svg soak.svg

.PHONY: scale
scale: ## measure the cost of ten thousand clients and a hundred thousand streams
	$(GO) run ./test/scale

.PHONY: cluster-scale
cluster-scale: ## measure a cluster of three nodes with ten thousand clients
	cd cluster && $(GO) run ./scale

.PHONY: transports
transports: ## run the end-to-end tests over other transports, such as TLS and WebSockets
	@for network in unix tls bytes; do echo "over $$network"; NETWORK=$$network LESS=2 $(GO) test -timeout 30m ./test/e2e; done
	@for proxy in "" -nginx; do echo "over ws $$proxy"; (cd websocket && LESS=4 $(GO) run ./test/e2e $$proxy -- -timeout 30m); done

# In this build the locks of the multiplexer check its ledgers and queues whenever they are
# released. See multiplexer/debug_on.go.
.PHONY: debug
debug: ## run the tests of the core with checks of its invariants
	LESS=8 $(GO) test -tags geminiodebug -timeout 30m ./multiplexer ./application ./test/fault ./test/e2e
	$(GO) vet -tags geminiodebug ./...

# Each test runs in a process of its own, so that a goroutine that outlives its test is
# found, although it would end while other tests run. The tests of the example programs, and of
# the modules of browsers and comparisons, are not included, since they start processes
# themselves. With an experiment of Go 1.26, and by
# default later, the garbage collector finds goroutines that are blocked without end;
# test/leak uses it.
.PHONY: leaks
leaks: ## run each test in a process of its own, and find goroutines that are left
	@if $(GO) version | grep -qE ' go1\.25(\.|rc| )'; then \
		echo "goroutines that are blocked for ever: passed over, it needs Go 1.26"; \
	elif GOEXPERIMENT=goroutineleakprofile $(GO) env GOEXPERIMENT >/dev/null 2>&1; then \
		export GOEXPERIMENT=goroutineleakprofile; \
	fi; \
	export LESS=8; \
	for module in $(MODULES); do \
		packages=./...; \
		case "$$module" in \
		examples) packages=./internal/... ;; \
		test/*) continue ;; \
		esac; \
		echo "[$$module] each test of $$packages"; \
		(cd "$$module" && $(GO) test -timeout 30m -exec "$(CURDIR)/test/leak/each" "$$packages"); \
	done

# The database of vulnerabilities is a Go module. The check uses the standard library of the
# newest Go, since the user of the library chooses the Go version.
.PHONY: vuln
vuln: ## look for known vulnerabilities in called code
	@database=$$(cd / && $(GO) mod download -json golang.org/x/vulndb@latest | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); \
	newest=$$($(GO) list -m -f '{{.Version}}' go@latest); \
	export GOTOOLCHAIN=go$$newest; \
	for module in $(MODULES); do \
		echo "[$$module] govulncheck of $$(basename "$$database"), go$$newest"; \
		(cd "$$module" && $(GO) tool -modfile=$(CURDIR)/tools/go.mod govulncheck -db "file://$$database/data/osv" ./...); \
	done

.PHONY: cover
cover: ## measure the coverage of the root module
	$(GO) test -coverpkg=./... -coverprofile=$(COVER) ./...
	@$(GO) tool cover -func=$(COVER) | tail -n 1

# Systems for which the root module is built and its tests are compiled.
SYSTEMS := linux/386 windows/amd64 darwin/arm64 freebsd/amd64 js/wasm

.PHONY: cross
cross: ## build and vet the root module, with its tests, for other systems
	@for system in $(SYSTEMS); do \
		echo "[$$system] go build, go vet"; \
		GOOS=$${system%/*} GOARCH=$${system#*/} CGO_ENABLED=0 $(GO) build ./...; \
		GOOS=$${system%/*} GOARCH=$${system#*/} CGO_ENABLED=0 $(GO) vet ./...; \
	done

.PHONY: generate
generate: ## generate the mocks
	$(GO) generate ./...

.PHONY: lint
lint: vet format small static tidy modern generated ## run all checks that need no tests

.PHONY: vet
vet:
	$(call in-modules,$(GO) vet ./...)

.PHONY: format
format:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

# A built program that is committed by mistake stays in the history for ever.
.PHONY: small
small:
	@large=$$(git ls-files -z | xargs -0 -I '{}' find '{}' -maxdepth 0 -size +512k); \
	if [ -n "$$large" ]; then echo "tracked files of more than 512 KiB:"; echo "$$large"; exit 1; fi

.PHONY: static
static:
	$(call in-modules,$(GO) tool -modfile=$(CURDIR)/tools/go.mod staticcheck ./...)

.PHONY: tidy
tidy:
	$(call in-modules,$(GO) mod tidy -diff)

# "go fix -diff" exists since Go 1.26.
.PHONY: modern
modern:
	@if $(GO) version | grep -qE ' go1\.25(\.|rc| )'; then \
		echo "go fix -diff: passed over, it needs Go 1.26"; \
	else \
		for module in $(MODULES); do echo "[$$module] $(GO) fix -diff ./..."; (cd "$$module" && $(GO) fix -diff ./...); done; \
	fi

.PHONY: generated
generated:
	@old=$$(mktemp); trap 'rm -f "$$old"' EXIT; cp mock/mock.go "$$old"; $(MAKE) --no-print-directory generate; \
	diff -u "$$old" mock/mock.go || { echo "mock/mock.go was not generated from the present interfaces: commit the new one"; exit 1; }
