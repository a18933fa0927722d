.DEFAULT_GOAL := help
.PHONY: help setup setup-mysql setup-all build demo check test test-all bench crash ledger chaos verify fuzz clean

GO          ?= go
DB          ?= postgres
FUZZTIME    ?= 30s
GOTESTFLAGS ?=
CHAOS       ?= 10m
ROUND       ?=
VERIFY      ?= 1h
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What make test leaves to chance; empty: the clock, as in all other targets.
SEED ?= 1

# Two packages at a time: each may run a database server of its own. Four tests of one: most of them wait most of the time.
GOTEST := $(GO) test -p 2 -parallel 4 $(GOTESTFLAGS)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install PostgreSQL 15 if it is missing
	@scripts/setup.sh

setup-mysql: ## fetch MySQL 9.7 and MariaDB 10.11
	@scripts/setup.sh mysql
	@scripts/setup.sh pooler

setup-all: ## all of these, PostgreSQL 14, 16, 17 and 18, and MariaDB 11.8
	@scripts/setup.sh all

build: ## build bin/changeling
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/changeling ./cmd/changeling

demo: ## change a table under load on a throwaway server (DB=postgres, mysql or mariadb)
	@case '$(DB)' in \
	postgres) scripts/setup.sh ;; \
	mysql|mariadb) scripts/setup.sh mysql ;; \
	*) echo 'make demo: DB=$(DB) is unknown, expected postgres, mysql or mariadb' >&2; exit 1 ;; esac
	$(GO) run ./cmd/changeling demo --db $(DB)

check: ## gofmt, go vet, staticcheck, go.mod
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "gofmt these files:" >&2; echo "$$files" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	@set -e; for example in examples/*/; do ( cd $$example && $(GO) vet ./... && $(GO) mod tidy -diff ); done

test: setup setup-mysql ## all tests on PostgreSQL 15, MySQL 9.7 and MariaDB 10.11
	$(GO) vet ./...
	CHANGELING_TEST_PG=15 CHANGELING_TEST_MYSQL=mysql9.7,mariadb10.11 CHANGELING_SEED=$(SEED) $(GOTEST) -timeout 70m ./...

test-all: setup-all ## all tests on PostgreSQL 14 to 18, MySQL 9.7, MariaDB 10.11 and 11.8
	$(GO) vet ./...
	CHANGELING_TEST_PG=14,15,16,17,18 CHANGELING_TEST_MYSQL=mysql9.7,mariadb10.11,mariadb11.8 \
		$(GOTEST) -timeout 120m ./...

crash: setup setup-mysql ## the program killed at every statement, the server at every step; upgrades from every version
	CHANGELING_FULL=1 $(GOTEST) -count=1 -timeout 120m -run 'Dies|Crash|Killed|Frozen|TakenBack|EveryVersion|BesideDDL' ./...

ledger: setup ## long runs that compare the table with every acknowledged write
	CHANGELING_FULL=1 $(GOTEST) -count=1 -timeout 120m -run Ledger ./...

chaos: setup setup-mysql ## random tables, statements, users and mishaps for CHAOS=10m, from SEED; ROUND=mysql9.7/123 is one round alone
	CHANGELING_TEST_PG=15 CHANGELING_TEST_MYSQL=mysql9.7,mariadb10.11 CHANGELING_CHAOS=$(CHAOS) CHANGELING_SEED=$(if $(filter file,$(origin SEED)),,$(SEED)) CHANGELING_ROUND=$(ROUND) \
		$(GO) test -count=1 -v -parallel 4 -timeout 24h -run '^TestChaos$$' .

verify: setup setup-mysql ## bits flipped in a shadow, and no false alarm, under full load for VERIFY=1h on each server
	CHANGELING_TEST_PG=15 CHANGELING_TEST_MYSQL=mysql9.7,mariadb10.11 CHANGELING_VERIFY=$(VERIFY) CHANGELING_SEED=$(if $(filter file,$(origin SEED)),,$(SEED)) \
		$(GO) test -count=1 -v -parallel 4 -timeout 24h -run '^TestVerification$$' .

fuzz: setup ## each fuzz target for FUZZTIME=30s
	@set -e; for package in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' "$$package"); \
		for target in $$(echo "$$targets" | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

bench: setup ## benchmarks against the native ALTER TABLE and other tools
	$(GO) run ./bench

clean: ## remove what make has built
	rm -rf bin
