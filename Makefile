# The one door: people and CI call these targets and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null || echo .venv-uv/bin/uv)
QUICKSTART := sweeps/quickstart/resolved.yaml

# A container may forbid Python to keep what it has compiled: torch, timm and Ray would then cost every process that
# starts ten seconds more.
unexport PYTHONDONTWRITEBYTECODE

# natten is built against the torch that is installed: with its kernels where there is a GPU and CUDA's compiler, and
# in pure Python elsewhere (seconds).
NATTEN := natten==0.21.7
NATTEN_BUILD := setuptools wheel packaging cmake ninja

.PHONY: quickstart setup check test bench lock clean cluster-up cluster-run cluster-down

# Or `podman-compose`.
COMPOSE ?= docker compose
WORKERS ?= 2
SPACE ?= search_spaces/quickstart.yaml
CLUSTER := $(COMPOSE) --file docker/compose.yaml

## Run a small sweep on digits and print its leaderboard (the first call installs everything).
quickstart: setup
	@if [ -e $(QUICKSTART) ]; then $(BIN)/sweeper resume quickstart; \
	else $(BIN)/sweeper run search_spaces/quickstart.yaml; fi

## Make .venv and install sweeper in it, as pinned in requirements.lock.
setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@command -v uv >/dev/null 2>&1 || [ -x .venv-uv/bin/uv ] || \
		{ $(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet uv; }
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python '>=3.11,<3.14' $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	$(UV) pip install --quiet --python $(BIN)/python $(NATTEN_BUILD)
	$(UV) pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps $(NATTEN)
	@touch $@

## Format, lint, types and layers.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

## The whole test suite with its coverage gate, in a process for each core (four at most); a file's tests stay together.
test: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--durations=25 --cov --cov-report term:skip-covered --cov-fail-under 90

## Print every benchmark's table.
bench: setup
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

## Pin the newest versions that fit together, for Python 3.11 to 3.13 on Linux and macOS.
lock:
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
		--extra dev --extra sweep --extra export --extra cluster pyproject.toml -o requirements.lock

## Start a Ray cluster, MLflow, PostgreSQL and an artifact store in containers: make cluster-up WORKERS=4
cluster-up:
	docker/make-secrets.sh
	$(CLUSTER) up --detach --build --scale worker=$(WORKERS)

## Run a sweep on it: make cluster-run SPACE=search_spaces/davit.yaml
cluster-run:
	$(CLUSTER) --profile tools run --rm sweeper run $(SPACE)

## End it; the volumes, with all sweeps, stay.
cluster-down:
	$(CLUSTER) --profile tools --profile gpu down

clean:
	rm -rf $(VENV) .venv-uv .mypy_cache .ruff_cache .pytest_cache .coverage*
