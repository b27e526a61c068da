# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs.
# Everything lives in .venv; .venv/bin/droplan is the program.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-full lint format bench soak failure-modes dist deb lock clean

help:
	@echo "make demo       watch droplan protect an emulated fleet (about a minute)"
	@echo "make test       the test suite"
	@echo "make test-full  the same without sampling"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make bench      the figures of docs/benchmarks.md"
	@echo "make failure-modes  docs/failure-modes.md, from tests/faults and the tests' markers"
	@echo "make soak       a daemon that is given no rest for ten minutes: what it holds (MINUTES=10)"
	@echo "make dist       dist/: the wheel, the sdist, and what they are made of"
	@echo "make deb        dist/droplan_VERSION_amd64.deb for Debian 12 and 13, each in a clean root of it"
	@echo "make lock       renew requirements*.txt from pyproject.toml"
	@echo "make clean      remove $(VENV) and every build product"

# $(call need,program:package ...): as root on Debian install what is missing, otherwise name it.
define need
@missing=""; for pair in $(1); do \
  PATH="$$PATH:/usr/sbin:/sbin"; command -v "$${pair%%:*}" >/dev/null 2>&1 || missing="$$missing $${pair##*:}"; \
done; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
    echo "installing:$$missing"; \
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $$missing; } >/dev/null || exit 1; \
  else \
    echo "missing packages:$$missing"; echo "install them with: sudo apt-get install$$missing"; exit 1; \
  fi; \
fi
endef

$(BIN)/python:
	$(call need,)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/lab.stamp: requirements-lab.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) install --use-pep517 --require-hashes -r requirements-lab.txt
	@$(PIP) install --no-deps --no-build-isolation --editable . 2>/dev/null || $(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) for development"
	@$(PIP) install --use-pep517 --require-hashes -r requirements-dev.txt
	@$(PIP) install --no-deps --editable .
	@touch $@ $(VENV)/lab.stamp

demo: $(VENV)/lab.stamp
	@$(BIN)/droplan lab demo

test: $(VENV)/dev.stamp
	$(call need,nft:nftables iptables:iptables ipset:ipset ip:iproute2 strace:strace chromium:chromium chromedriver:chromium-driver systemd-nspawn:systemd-container debootstrap:debootstrap mandoc:mandoc zsh:zsh fish:fish shellcheck:shellcheck)
	@$(BIN)/pytest -m "not full"

test-full: $(VENV)/dev.stamp
	$(call need,nft:nftables iptables:iptables ipset:ipset ip:iproute2 strace:strace chromium:chromium chromedriver:chromium-driver systemd-nspawn:systemd-container debootstrap:debootstrap mandoc:mandoc zsh:zsh fish:fish shellcheck:shellcheck)
	@DROPLAN_TEST_FULL=1 $(BIN)/pytest

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/dev.stamp
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(VENV)/dev.stamp
	$(call need,nft:nftables iptables:iptables)
	@$(BIN)/python -m tests.bench

failure-modes: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.faults

soak: $(VENV)/dev.stamp
	$(call need,nft:nftables ip:iproute2)
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10)

dist: $(VENV)/dev.stamp
	@$(BIN)/python packaging/dist.py

deb: $(VENV)/dev.stamp
	$(call need,debootstrap:debootstrap)
	@$(BIN)/python packaging/deb.py --lint

lock: $(VENV)/dev.stamp
	@for extra in "" metrics lab dev; do \
	  $(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	    --no-emit-options $${extra:+--extra $$extra} -o requirements$${extra:+-$$extra}.txt pyproject.toml; \
	done

clean:
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
