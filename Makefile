# Everything is built without cgo and without the databases that Caddy's
# certificate authority could use; the race detector alone needs cgo. All
# targets build alike, as xcaddy.json does, so that each finds in Go's cache
# what another one has built.
export CGO_ENABLED := 0
export GOFLAGS     := $(GOFLAGS) -trimpath
TAGS     := nobadger,nomysql,nopgx
GO_BUILD := go build -tags $(TAGS)
GO_TEST  := go test -timeout 20m -tags $(TAGS)
FUZZTIME ?= 10s
SKEWTIME ?= 60

# Tests that need what nobody who builds the plugin needs are modules of their own.
FAULTS := faults
BESIDE := bench/ratelimit

.PHONY: help demo build test-deps test race skew fuzz bench lint tidy-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: ## run a federation on this machine; DOCS="<folder>..." for folders of your own
	@echo "building the demo; the first build takes a few minutes"
	@$(GO_BUILD) -o bin/demo ./cmd/demo
	@exec bin/demo $(DOCS)

build: ## build Caddy with this plugin into bin/caddy, through xcaddy from xcaddy.json
	@mkdir -p bin
	cd tools && go run ./build ../bin/caddy

test-deps: ## install the servers that the tests start (as root), or say what is missing
	@tools/install-test-dependencies.sh

test: test-deps ## run all tests
	$(GO_TEST) ./...
	cd $(FAULTS) && $(GO_TEST) ./...
	cd $(BESIDE) && go vet -tags $(TAGS) ./...
	cd tools && go vet ./...

race: test-deps ## run all tests with the race detector
	CGO_ENABLED=1 $(GO_TEST) -race ./...
	cd $(FAULTS) && CGO_ENABLED=1 $(GO_TEST) -race ./...

skew: test-deps ## limit over three gateways whose clocks differ, for SKEWTIME seconds; compiles everything anew
	tools/skewed-clock.sh bin/skew
	RATELIMIT_TEST_SKEWED=1 RATELIMIT_TEST_SECONDS=$(SKEWTIME) $(GO_TEST) -overlay bin/skew/overlay.json \
		-run TestThreeGatewayProcessesAdmitOneBudget -count 1 -v ./modules/ratelimit

fuzz: ## fuzz every target for FUZZTIME
	@set -e; for package in $$(go list -tags $(TAGS) ./...); do \
		for target in $$($(GO_TEST) -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO_TEST) -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -parallel 2 $$package; \
		done; \
	done

bench: ## run the benchmarks
	$(GO_TEST) -run '^$$' -bench . -benchmem ./modules/... ./bench/...
	cd $(BESIDE) && $(GO_TEST) -run '^$$' -bench . -benchtime 1x ./...

lint: ## run the linters
	go vet -tags $(TAGS) ./...
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run --build-tags $(TAGS) ./...
	set -e; for module in $(FAULTS) $(BESIDE); do \
		(cd $$module && go vet -tags $(TAGS) ./... && $(CURDIR)/bin/golangci-lint run --build-tags $(TAGS) ./...); \
	done

tidy-check: ## check that go.mod and the sources agree
	go mod tidy -diff
	set -e; for module in tools $(FAULTS) $(BESIDE); do (cd $$module && go mod tidy -diff); done

clean: ## remove what was built
	rm -rf bin testdata/demo/index
