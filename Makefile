# make build   what is missing on this machine, .venv, and `labelgen build`
# make test    what the tests need besides, and all tests
# make test-system   the roles on an enforcing system: two guests with real containers. As root; a quarter of an hour
# make lint    ruff and mypy
# make mutate  each check taken out of the verifier, one at a time: some test notices. What is known is not tried again
# make bench   times and memory beside the bare commands; BASE=... for one base only

# Two workers; what shares a base stays on one of them, so that no base is made twice.
PYTEST_ARGS ?= -n 2 --dist loadgroup
BASE ?=

.PHONY: build test test-system lint mutate bench

build:
	@tools/setup build
	.venv/bin/labelgen build

test:
	@tools/setup test
	.venv/bin/pytest $(PYTEST_ARGS)

test-system:
	@tools/setup system
	.venv/bin/pytest tests/system

lint:
	@tools/setup test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

mutate:
	@tools/setup test
	.venv/bin/python tests/mutate.py

bench:
	@tools/setup build
	.venv/bin/python bench/bench.py $(if $(BASE),--base $(BASE))
