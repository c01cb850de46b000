# "make demo" and "make test" install what they need (see install-deps), on Debian 12, as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PURE        := ./daemon/gtid ./daemon/topology ./daemon/analysis ./daemon/plan ./daemon/drawing ./daemon/audit

# Where our code runs in the test's own process: there the race detector sees it. The other tests start the programs.
RACED       := ./backend/... ./cmd/... ./daemon/... ./haproxy/... ./tests/sim ./tests/swarm/...
# What of it is also run without, because the race detector slows it down: elections, and most of the random worlds.
ALSO        := ./daemon/lead
# The other tests, the longest first: at the end none runs alone.
FIRST       := ./tests/e2e ./tests/runbook ./tests/chaos ./tests/hostile ./tests/hard ./tests/monitoring

# Arguments for the demo and the benchmarks, as in: make demo ARGS=--once
ARGS :=
# How long each fuzz target runs.
FUZZTIME := 10s
# The least coverage that the tests of each pure package must reach, in percent.
COVER := 95

# How many random schedules a pair of each flavour must survive.
SCHEDULES := 200

# What make test-fleet plays: "all", or "part", which ends before anything is upgraded or replaced.
FLEET := all

# How often make chaos runs each scenario, and how often it cuts each network connection.
RUNS := 20
WORLDS := 1000000
FROM := 1
EDGES := 1

.PHONY: help build package install-deps demo test test-raced test-servers test-worlds \
	test-package test-deb test-fleet lint lint-ansible bench \
	bench-failover bench-backend bench-scale sweep e2e hard hostile soak converge chaos fuzz cover clean

help:
	@echo "make build           both programs, into bin/"
	@echo "make package         Debian packages and RPMs for amd64 and arm64, into bin/package (VERSION=1.2.3)"
	@echo "make demo            a primary, three replicas, a daemon, and a failover (ARGS=--once ends after it)"
	@echo "make test            all tests, with real MariaDB and MySQL"
	@echo "make lint            gofmt, go vet, staticcheck"
	@echo "make cover           test coverage of the pure packages, at least $(COVER) % each"
	@echo "make fuzz            each fuzz target for FUZZTIME=$(FUZZTIME)"
	@echo "make bench           the Go benchmarks"
	@echo "make bench-failover  failovers on real servers, measured (ARGS=-help shows the flags)"
	@echo "make bench-backend   what a steady fleet of 4 and of 100 servers costs the backend (ARGS=-help)"
	@echo "make bench-scale     1,000 to 10,000 simulated servers: cost, API, failovers (ARGS='-servers 1000 -quick')"
	@echo "make sweep           kill a daemon before and after every statement of a failover, on real servers"
	@echo "make e2e             the failovers of make test, all of them on both flavours"
	@echo "make hard            what people have met in the field, on real servers of both flavours"
	@echo "make hostile         attacks on the daemon, each alone beside a failover of real servers"
	@echo "make soak            WORLDS=$(WORLDS) random worlds on paper, from number FROM=$(FROM) on"
	@echo "make converge        SCHEDULES=$(SCHEDULES) random schedules of writes, switches, kills and cuts on a pair"
	@echo "make chaos           whole deployments, damaged RUNS=$(RUNS) times; each connection cut EDGES=$(EDGES) times"
	@echo "make test-package    both packages on Debian hosts: built twice, checked, installed, upgraded, removed"
	@echo "make test-deb        the part of it that CI runs: the Debian package for amd64"
	@echo "make test-fleet      eight Debian hosts, deployed by Ansible (FLEET=part, ORCHESTRATOR_FLEET_FLAVOR=mysql)"
	@echo "make lint-ansible    yamllint, and ansible-lint with its production profile"
	@echo "make install-deps    install what these need; they call it themselves"

build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

package:
	cmd/package/build

install-deps:
	@tests/install.sh

demo: install-deps build
	@go run ./tests/demo $(ARGS)

# The build is for its cache: else each package that starts the programs would compile them, all at the same time. All
# is vetted once, before.
test: install-deps build
	go vet ./...
	@$(MAKE) --no-print-directory -j 2 test-servers test-worlds

# What is timed runs with little beside it: first our own code, then the servers.
test-raced:
	go test -vet=off -count=1 -race -p 2 -timeout 20m $(RACED)

test-servers: test-raced
	go test -vet=off -count=1 -p 3 -timeout 20m $(ALSO) $(FIRST) \
		$$(go list ./tests/... | grep -vE '/tests/(sim|swarm)$$')

# It computes only, and nothing in it is timed: it gets what the others leave of the processors.
test-worlds:
	nice -n 19 go test -vet=off -count=1 -timeout 40m ./tests/sim

lint:
	@files=$$(gofmt -l $$(git ls-files '*.go')); \
		if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

cover:
	@failed=0; \
	for package in $(PURE); do \
		said=$$(go test -short -cover $$package) || failed=1; \
		echo "$$said"; \
		part=$$(sed -n 's/.*coverage: \([0-9.]*\)%.*/\1/p' <<<"$$said"); \
		if ! awk -v part="$${part:-0}" 'BEGIN { exit !(part >= $(COVER)) }'; then \
			echo "$$package: $${part:-0} % covered, want $(COVER) %"; failed=1; \
		fi; \
	done; exit $$failed

fuzz:
	@failed=; for file in $$(git ls-files '*_test.go'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$target in ./$$(dirname $$file)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || \
				failed="$$failed $$target"; \
		done; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

bench:
	go test -run '^$$' -bench . -benchmem ./...

bench-failover: install-deps build
	@go run ./tests/bench $(ARGS)

bench-backend: install-deps build
	@go run ./tests/cost $(ARGS)

bench-scale: build
	@go run ./tests/swarm/bench $(ARGS)

sweep: install-deps
	ORCHESTRATOR_SWEEP=all go test -count=1 -v -timeout 30m -run KilledAtEveryStatement ./tests/e2e

e2e: install-deps
	ORCHESTRATOR_E2E=all go test -count=1 -v -timeout 30m ./tests/e2e

hard: install-deps
	ORCHESTRATOR_HARD=all go test -count=1 -v -timeout 60m ./tests/hard ./tests/lab

hostile: install-deps
	ORCHESTRATOR_HOSTILE=all go test -count=1 -v -timeout 60m -parallel 1 ./tests/hostile

soak:
	@go run ./tests/sim/soak -worlds $(WORLDS) -from $(FROM)

converge: install-deps
	ORCHESTRATOR_SCHEDULES=$(SCHEDULES) go test -v -count=1 -timeout 60m ./tests/pair

chaos: install-deps
	ORCHESTRATOR_CHAOS=$(RUNS) ORCHESTRATOR_EDGES=$(EDGES) go test -v -count=1 -parallel 1 -timeout 300m ./tests/chaos

test-package:
	@tests/install.sh lintian rpm qemu
	ORCHESTRATOR_PACKAGES=all go test -v -count=1 -timeout 60m ./tests/hosts ./tests/packages

# It names the tests to skip, so that no new test is skipped by accident.
test-deb:
	@tests/install.sh lintian
	ORCHESTRATOR_PACKAGES=deb go test -v -count=1 -timeout 20m \
		-skip 'RPM|TheSameSourceMakesTheSameBytes|Arm64|ShellsAndManualPages' ./tests/packages

test-fleet:
	@tests/install.sh ansible
	ORCHESTRATOR_FLEET=$(FLEET) go test -v -count=1 -timeout 60m ./tests/fleet

lint-ansible:
	@tests/install.sh ansible
	tests/fleet/lint

clean:
	rm -rf bin coverage.out
