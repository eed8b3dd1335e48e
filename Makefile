# `make run` and `make test` need git, make and Python 3.11 to 3.13, and do their own set-up in .venv.
#
#   make run PAPER=lottery_ticket ARGS="scale=smoke replicates=2"
#   make test ARGS="-k stats"
#   make test PYTHON=python3.12          the interpreter of a new .venv

PYTHON ?= python3
PAPER ?= lottery_ticket
ARGS ?=

# The stamp of the lock that .venv was made from; once `make gpu` has run, every other goal keeps to the CUDA lock.
ENVIRONMENT := $(or $(wildcard .venv/cuda.stamp),.venv/cpu.stamp)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test dist format schema lock gpu clean

help:                             ## this list
	@echo 'Encore: published experiments performed again, each ending in a verdict on the claims of the paper.'
	@echo
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
	@echo
	@echo 'Variables: PAPER=$(PAPER)  ARGS="overrides of the run, or options of pytest"  PYTHON=$(PYTHON)'

run: $(ENVIRONMENT)               ## fetch the data of PAPER, run it and print its verdicts
	.venv/bin/encore run paper=$(PAPER) $(ARGS)
	.venv/bin/encore report

# Two test processes: the machines this is checked on have two cores, every process holds a jax runtime of about a
# gigabyte with eight virtual devices, and some tests start workers of their own. More processes gain nothing there.
test: $(ENVIRONMENT)              ## lint, types and the whole test suite
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ty check
	.venv/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

# Each of the two is installed into an environment that holds nothing but the locked libraries, and lists the papers.
TRIAL = .cache/trial
dist: $(ENVIRONMENT)              ## build wheel and sdist, and try both in an empty environment
	rm -rf dist
	.venv/bin/python -m hatchling build -d dist
	for built in dist/*.whl dist/*.tar.gz; do \
	  .venv/bin/python -m venv --clear --without-pip $(TRIAL) && \
	  .venv/bin/uv pip install --quiet --python $(TRIAL) --require-hashes -r locks/installer.txt && \
	  .venv/bin/uv pip install --quiet --python $(TRIAL) --require-hashes --no-build-isolation -r locks/cpu.txt && \
	  .venv/bin/uv pip install --quiet --python $(TRIAL) --no-deps --no-build-isolation "$$built" && \
	  (cd $(TRIAL) && env -u PYTHONPATH -u ENCORE_ROOT bin/encore list) || exit 1; \
	done
	rm -rf $(TRIAL)

format: $(ENVIRONMENT)            ## mend what the linter can mend, and the layout
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

gpu: .venv/cuda.stamp             ## install the CUDA lock (Linux, NVIDIA) into .venv

schema: $(ENVIRONMENT)            ## write anew what editors know of configs
	.venv/bin/python -m core.papers.schema

# One file for all supported Pythons, with hashes and without any address. `make lock ARGS=--upgrade` takes the newest.
COMPILE = .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet $(ARGS)
TESTED = --extra trackio --extra joblib --extra slurm --extra ray --extra search
lock: $(ENVIRONMENT)              ## make the locks again from pyproject.toml
	printf 'setuptools\nuv\n' | $(COMPILE) --output-file locks/installer.txt -
	$(COMPILE) --group dev $(TESTED) --output-file locks/cpu.txt pyproject.toml
	$(COMPILE) --group dev $(TESTED) --extra cuda --output-file locks/cuda.txt pyproject.toml

clean:                            ## remove the environment and the caches, never a result
	rm -rf .venv .cache .pytest_cache .ruff_cache dist

# The installer comes through the pip that every Python brings, and then installs the lock in seconds. Where uv does not
# reach the registry although pip does (a mirror or certificate known to pip alone), pip installs the same lock. The one
# source distribution in it and this project are built by what the locks hold, hence no build isolation. Bytecode is
# made once, here: where Python is told to write none (many containers), every process would compile 1,790 modules.
.venv/%.stamp: locks/%.txt locks/installer.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo 'Encore needs Python 3.11, 3.12 or 3.13, and "$(PYTHON)" is none of them: add PYTHON=python3.12, say.'; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
	  { echo 'Python cannot make a virtual environment here: on Debian and Ubuntu install python3-venv first.'; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/installer.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --no-build-isolation -r locks/$*.txt || \
	  .venv/bin/python -m pip install --quiet --require-hashes --no-build-isolation --use-pep517 -r locks/$*.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	.venv/bin/python -m compileall -qq -j 0 .venv/lib core configs experiments || true
	@touch $@
