# What a person or `.ci/run` calls. Every target fails clearly when a tool is missing: nothing is skipped.
ARGS ?=
CARGO ?= cargo
TOOLS := target/tools/bin
CLIENTS := target/clients/bin
comma := ,
BUILT := $(or $(CARGO_TARGET_DIR),target)

# Says before the first build what is built and how long it takes; cargo then shows how far it is.
first_build = @test -n "$$(find $(BUILT)/$(1) -maxdepth 2 -name '$(2)' 2>/dev/null | head -n 1)" || \
	echo "The first time, this builds $(3). That takes $(4); cargo shows how far it is." >&2

.PHONY: help run ops test rights soak fuzz lint bench e2e tools tools-fuzz
.PHONY: fmt clippy doc deny machete guard shellcheck template

help: ## This list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST)

run: ## The whole system on this machine; ARGS=--once ends after the story
	$(call first_build,debug,nbhd-local,the functions$(comma) the simulated vendors and what both need,some minutes)
	$(CARGO) run --locked --package nbhd-local -- $(ARGS)

ops: ## The operator's command on the running local world; ARGS="tenant <id>"
	$(call first_build,debug,nbhd-ops,the operator's command,some minutes)
	$(CARGO) run --locked --package nbhd-ops -- --settings .local/settings.env $(ARGS)

test: ## Every test, then the rights they used; NBHD_REQUIRE_SHARED=1 makes absent contracts and mail a failure
	$(call first_build,debug,it-*,every crate with its tests,some minutes)
	@rm -rf $(BUILT)/rights
	NBHD_RIGHTS=$(abspath $(BUILT))/rights $(CARGO) test --locked --workspace --no-fail-fast $(ARGS)
	$(if $(ARGS),@echo "The rights are not compared: only a run of every test shows which are used.",@$(MAKE) rights)

# What the functions may do at AWS is exactly what they did while every test ran.
rights:
	@if test -x $(TOOLS)/python; then $(TOOLS)/python -B .ci/rights.py template.yaml $(BUILT)/rights; \
	elif test "$$NBHD_REQUIRE_SHARED" = 1; then echo "there is no $(TOOLS)/python: run \`make tools\`" >&2; exit 1; \
	else echo "passed over: the rights are not compared, since \`make tools\` has not been run" >&2; fi

soak: ## Random histories, as many as asked, from a seed, on every core; ARGS="20000 7"
	NBHD_MODEL="$(ARGS)" $(CARGO) test --locked --profile harness --package nbhd-tests --test it model::histories

fuzz: ## Fuzzes every parser of a stranger's bytes, 3 minutes each; ARGS="html 60"
	tests/fuzz/run $(ARGS)

bench: ## Cold start, size, instructions per update, isolation: figures, bars and verdicts
	@command -v valgrind >/dev/null || { echo "valgrind is not installed: run \`make tools\`" >&2; exit 1; }
	$(call first_build,harness,nbhd-bench,the bench$(comma) and then each function as it is released,some twenty minutes)
	$(CARGO) run --locked --profile harness --package nbhd-bench -- $(ARGS)

e2e: ## The vendors' own clients against the simulated vendors, and a browser at the page of `make run`
	@test -x $(CLIENTS)/python || { echo "there is no $(CLIENTS)/python: run \`make tools\`" >&2; exit 1; }
	@command -v chromedriver >/dev/null || { echo "chromium-driver is not installed: run \`make tools\`" >&2; exit 1; }
	$(CARGO) build --locked --package nbhd-local
	$(CARGO) run --locked --package nbhd-sim --no-default-features --bin nbhd-vendors -- \
		$(CLIENTS)/python -B -m unittest discover -s tests/e2e

lint: fmt clippy doc deny machete guard shellcheck template ## Every static check

tools: ## Installs what `make lint`, `make e2e` and `make bench` need, in pinned versions
	.ci/tools

tools-fuzz: ## Installs what `make fuzz` needs besides a C++ compiler
	.ci/tools fuzz

fmt:
	$(CARGO) fmt --all -- --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml -- --check

clippy:
	$(CARGO) clippy --locked --quiet --workspace --all-targets -- -D warnings
	@# Also as each is deployed: alone, with no feature but its own.
	for function in $(notdir $(wildcard functions/*)); do \
		$(CARGO) clippy --locked --quiet --package $$function -- -D warnings || exit 1; \
	done

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --quiet --workspace --no-deps

# Advisories need a database from the network; the rest of cargo-deny works without one.
deny:
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is not installed: run \`make tools\`" >&2; exit 1; }
	$(CARGO) deny --locked --log-level error check bans licenses sources

machete:
	@command -v cargo-machete >/dev/null || { echo "cargo-machete is not installed: run \`make tools\`" >&2; exit 1; }
	cargo-machete

guard:
	.ci/dependencies

shellcheck:
	@command -v shellcheck >/dev/null || { echo "shellcheck is not installed: run \`make tools\`" >&2; exit 1; }
	shellcheck .ci/run .ci/tools .ci/dependencies tests/fuzz/run

template:
	@test -x $(TOOLS)/cfn-lint || { echo "cfn-lint is not in $(TOOLS): run \`make tools\`" >&2; exit 1; }
	$(TOOLS)/python .ci/template.py template.yaml
