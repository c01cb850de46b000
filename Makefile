# What can be done here. "make demo" and "make test" install what they need (see install-deps), on Debian 12, as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PURE        := ./daemon/gtid ./daemon/topology ./daemon/analysis ./daemon/plan ./daemon/drawing

# Arguments for the demo and the benchmarks, as in: make demo ARGS=--once
ARGS :=
# How long each fuzz target runs.
FUZZTIME := 10s
# The least part of each pure package that its tests must cover, in percent.
COVER := 95

# How many random schedules a pair of each flavour must survive.
SCHEDULES := 200

# How often each scenario of make chaos is played, and how often each edge of the network is cut.
RUNS := 20
EDGES := 1

.PHONY: help build package install-deps demo test test-package test-deb test-fleet lint lint-ansible bench bench-failover bench-backend sweep converge chaos fuzz cover clean

help:
	@echo "make build           both programs, into bin/"
	@echo "make package         Debian packages and RPMs for amd64 and arm64, into bin/package (VERSION=1.2.3)"
	@echo "make demo            a primary with three replicas, the daemon, and a failover to watch (ARGS=--once: ends at once)"
	@echo "make test            all tests, with real MariaDB and MySQL"
	@echo "make lint            gofmt, go vet, staticcheck"
	@echo "make cover           what the tests of the pure packages cover, each $(COVER) % at least"
	@echo "make fuzz            each fuzz target for FUZZTIME=$(FUZZTIME)"
	@echo "make bench           the Go benchmarks"
	@echo "make bench-failover  failovers on real servers, measured (ARGS=-help shows the flags)"
	@echo "make bench-backend   what a steady fleet of 4 and of 100 servers costs the backend (ARGS=-help shows the flags)"
	@echo "make sweep           a daemon killed before and after every statement of a failover, on real servers"
	@echo "make converge        SCHEDULES=$(SCHEDULES) random schedules of writes, switches, kills and cuts on a backend pair of each flavour"
	@echo "make chaos           whole deployments broken RUNS=$(RUNS) times each: daemons, backend pair, HAProxies; each edge of the network cut EDGES=$(EDGES) times"
	@echo "make test-package    both packages: built twice, checked, installed, upgraded, removed on Debian hosts that systemd runs"
	@echo "make test-deb        of it, what CI does: the Debian package for amd64"
	@echo "make test-fleet      eight Debian hosts, deployed by Ansible, and through their nights: eight minutes (ORCHESTRATOR_FLEET_FLAVOR=mysql: MySQL on them)"
	@echo "make lint-ansible    yamllint, ansible-lint with its profile for production"
	@echo "make install-deps    what all these need; they call it themselves"

build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

package:
	cmd/package/build

install-deps:
	@tests/install.sh

demo: install-deps build
	@go run ./tests/demo $(ARGS)

test: install-deps
	go vet ./...
	go test -count=1 -race -p 3 -timeout 20m ./...
	go test -count=1 -timeout 15m ./tests/sim ./daemon/lead

lint:
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

cover:
	@failed=0; \
	for package in $(PURE); do \
		said=$$(go test -short -cover $$package) || failed=1; \
		echo "$$said"; \
		part=$$(sed -n 's/.*coverage: \([0-9.]*\)%.*/\1/p' <<<"$$said"); \
		if ! awk -v part="$${part:-0}" 'BEGIN { exit !(part >= $(COVER)) }'; then echo "$$package: $${part:-0} % covered, want $(COVER) %"; failed=1; fi; \
	done; exit $$failed

fuzz:
	@for file in $$(git ls-files '*_test.go'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$target in ./$$(dirname $$file)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

bench:
	go test -run '^$$' -bench . -benchmem ./...

bench-failover: install-deps build
	@go run ./tests/bench $(ARGS)

bench-backend: install-deps build
	@go run ./tests/cost $(ARGS)

sweep: install-deps
	ORCHESTRATOR_SWEEP=all go test -count=1 -v -timeout 30m -run KilledAtEveryStatement ./tests/e2e

converge: install-deps
	ORCHESTRATOR_SCHEDULES=$(SCHEDULES) go test -v -count=1 -timeout 60m ./tests/pair

chaos: install-deps
	ORCHESTRATOR_CHAOS=$(RUNS) ORCHESTRATOR_EDGES=$(EDGES) go test -v -count=1 -timeout 300m ./tests/chaos

test-package:
	@tests/install.sh lintian rpm qemu
	ORCHESTRATOR_PACKAGES=all go test -v -count=1 -timeout 60m ./tests/hosts ./tests/packages

# What is left out by name, so that a test with a new name is not left out unseen.
test-deb:
	@tests/install.sh lintian
	ORCHESTRATOR_PACKAGES=deb go test -v -count=1 -timeout 20m -skip 'RPM|TheSameSourceMakesTheSameBytes|Arm64|ShellsAndManualPages' ./tests/packages

test-fleet:
	@tests/install.sh ansible
	ORCHESTRATOR_FLEET=1 go test -v -count=1 -timeout 60m ./tests/fleet

lint-ansible:
	@tests/install.sh ansible
	tests/fleet/lint

clean:
	rm -rf bin coverage.out
