# rekindle: `make help` lists the targets. VERSION is stamped into the binary.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO      ?= go
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT    := $(GO) tool -modfile=test/tools/go.mod golangci-lint
APT     := awscli openssl spin
# What packages, images, machines and networks of namespaces take besides.
MACHINES_APT := debootstrap dnsmasq-base extlinux fdisk iproute2 lintian openssh-client packer qemu-system-x86 qemu-utils rpm \
                syslinux-common systemd-container
# Tests that need root and machines: each has its target and its build tag.
TAGGED  := machine image vm fleet network
# The race detector needs cgo; the agent itself is built without it.
TESTFLAGS ?= -race -timeout 20m
# For a benchmark: make bench-gossip BENCHFLAGS='--nodes 100,300'
BENCHFLAGS ?=

.PHONY: help build test lint demo deps deps-machines packages image ami-check $(addprefix test-,$(TAGGED)) bench-boot bench-assets \
        bench-join bench-restore bench-backup bench-rebuild bench-gossip bench-failover golden clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

deps: ## install what tests and benchmarks need from Debian (root, apt) and fetch the Go modules
	$(call install,$(APT))
	@$(GO) mod download && cd test && $(GO) mod download && (cd alerts && $(GO) mod download) && cd tools && $(GO) mod download

deps-machines: ## install what packages, images and machines need from Debian besides (root, apt)
	$(call install,$(MACHINES_APT))

# install has Debian's packages installed that are missing.
define install
@missing=$$(for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
 if [ -n "$$missing" ]; then echo "apt-get install" $$missing; \
   apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

build: ## build bin/rekindle, static and stripped, and print its size
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/rekindle ./cmd/rekindle
	@stat -c '%s' bin/rekindle | awk '{printf "bin/rekindle %.1f MB\n", $$1/1e6; if ($$1 > 56e6) {print "larger than 56 MB: see docs/decisions/005 and 008"; exit 1}}'

test: build lint ## lint, then all unit, golden and script tests under the race detector
	$(GO) test $(TESTFLAGS) ./...
	cd test/alerts && $(GO) test $(TESTFLAGS) ./...
	cd test && $(GO) test -count=1 $(TESTFLAGS) ./... # these run the built agent, which go's test cache does not see

lint: ## gofmt, go vet, golangci-lint (depguard keeps agent/plan pure)
	@out=$$(gofmt -l agent cmd roles test); if [ -n "$$out" ]; then echo "gofmt -w needed:" $$out; exit 1; fi
	@out=$$(grep -rn 'time\.Sleep(' --include='*.go' agent cmd roles | grep -v _test.go); if [ -n "$$out" ]; then \
	  echo "$$out"; echo "wait on a context, a timer or an event, under a deadline"; exit 1; fi
	$(GO) vet ./...
	cd test && $(GO) vet ./...
	$(LINT) run --allow-parallel-runners ./...
	cd test && $(GO) tool -modfile=tools/go.mod golangci-lint run --allow-parallel-runners -c ../.golangci.yml ./...
	cd test/alerts && $(GO) tool -modfile=../tools/go.mod golangci-lint run --allow-parallel-runners -c ../../.golangci.yml ./...
	cd test && $(GO) tool -modfile=tools/go.mod golangci-lint run --allow-parallel-runners -c ../.golangci.yml \
	  --build-tags "$(TAGGED)" $(TAGGED:%=./%/...)

demo: build ## boot a cluster on an embedded AWS, and kill its masters, one and all; no root, no network
	cd test && $(GO) run ./lab --binary ../bin/rekindle --dir ../out/demo

packages: build ## make a deb and an rpm of bin/rekindle in out/packages
	systemd/package/build.sh bin/rekindle "$(VERSION)" $$($(GO) env GOARCH) out/packages

ami-check: ## have Debian's Packer read the templates of packer/
	packer/check.sh

image: build ## build a disk image for QEMU from a debootstrap base, with stand-ins for Kubernetes (root)
	cd test && $(GO) run ./image

test-machine: build ## machines with systemd as PID 1: units, sandbox, packages (root)
	cd test && $(GO) test -count=1 -v -timeout 20m -tags machine ./machine

test-image: build ## the image: what it holds, its boot in QEMU, and Packer's own build of it (root)
	cd test && $(GO) test -count=1 -v -timeout 30m -tags image ./image

test-network: build ## clusters in network namespaces with loss, delay and partitions (root)
	cd test && $(GO) test -count=1 -v -timeout 20m -tags network ./network

test-vm: build ## the image in virtual machines whose power fails while they boot and restore (root)
	cd test && $(GO) test -count=1 -v -timeout 60m -tags vm ./vm $(if $(CUTS),-args -cuts $(CUTS))

test-fleet: build ## Auto Scaling groups of machines that are killed, cut off and replaced (root)
	cd test && $(GO) test -count=1 -v -timeout 30m -tags fleet ./fleet

bench-boot: build ## time, requests and memory of a boot with a warm cache
	cd test && $(GO) run ./bench/boot --binary ../bin/rekindle $(BENCHFLAGS)

bench-assets: ## fetch 1 GiB against awscli
	cd test && $(GO) run ./bench/assets $(BENCHFLAGS)

bench-join: ## have 2,000 nodes, and then 50, join one master at once
	cd test && $(GO) run ./bench/join $(BENCHFLAGS)

bench-restore: ## restore a backup of a 2 GiB database against download and etcdutl
	cd test && $(GO) run ./bench/restore $(BENCHFLAGS)

bench-backup: ## back a 500 MiB etcd up while it is written to, and follow it with deltas
	cd test && $(GO) run ./bench/backup $(BENCHFLAGS)

bench-rebuild: build ## terminate a single master with its disk, until etcd serves again with 200 MiB
	cd test && $(GO) run ./bench/rebuild --binary ../bin/rekindle $(BENCHFLAGS)

bench-gossip: ## membership of 100 and 1,000 nodes, in virtual time
	cd test && $(GO) run ./bench/gossip $(BENCHFLAGS)

bench-failover: ## kill masters under a client of the API proxy (root: black holes need network namespaces)
	cd test && $(GO) run ./bench/failover $(BENCHFLAGS)

golden: ## rewrite the golden files; review the diff
	@$(GO) test -count=1 $$(grep -rl 'flag.Bool("update"' --include='*_test.go' agent cmd roles | xargs -n1 dirname | sort -u | sed 's|^|./|') -update

clean: ## remove what was built
	rm -rf bin out
