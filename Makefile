# One vocabulary for people and CI. Everything runs in .venv, made from requirements.lock by infra/environment.sh:
# PYTHON=python3.12 and TORCH=cuda say which Python and which build of PyTorch, where its own choice is not wanted.
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_LOGGING_LEVEL := WARNING
STORE := sqlite:///$(CURDIR)/mlflow.db

.PHONY: recursion sweep bench peers ui docs test test-slow test-faults test-kills check audit format lock clean

recursion: .venv/made  ## run the laptop study (P="-P name=value ..." for settings)
	mlflow run . -e recursion --env-manager local --experiment-name recursion $(P)

sweep: .venv/made  ## how much real data, how many epochs: twelve trials of the laptop model (P="-P name=value ..." for settings)
	mlflow run . -e sweep --env-manager local --experiment-name sweep $(P)

bench: .venv/made  ## every speed against its peers, an hour and a half (SECTIONS="generation scoring ..." for some)
	python -m benchmarks $(SECTIONS)

peers: .venv/made  ## the other engines that `make bench` then measures too: CTranslate2, OpenVINO GenAI
	$(BIN)/python -m pip install --quiet $$(python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['peers'])")

# MLflow's job processes serve judges of language-model applications: not used here.
ui: .venv/made  ## browse the runs, figures, lineage and models
	@echo "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_BACKEND_STORE_URI=$${MLFLOW_TRACKING_URI:-$(STORE)} mlflow server --host 127.0.0.1 --port 5000 --workers 1 --artifacts-destination $(CURDIR)/mlartifacts

docs: .venv/made  ## the documentation as a site: site/index.html
	$(BIN)/python -m pip install --quiet --requirement docs/requirements.txt
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
	@echo "file://$(CURDIR)/site/index.html"

test: .venv/made  ## every quick test, on two cores
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not faults and not slow"

test-slow: .venv/made  ## whole studies that take minutes
	pytest -m slow

test-faults: .venv/made  ## real kills of real studies, real clusters, servers and power cuts: an hour
	pytest -m faults

test-kills: .venv/made  ## a study struck at random moments, KILLS times: a minute each
	KILLS=$${KILLS:-100} pytest -m faults tests/test_kills.py

check: .venv/made  ## ruff, mypy, import-linter, known vulnerabilities
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	@$(MAKE) --no-print-directory audit

audit: .venv/made  ## known vulnerabilities of what requirements.lock pins, where a source of advisories can be reached
	python -m tests.audit

format: .venv/made
	ruff check --fix .
	ruff format .

.venv/made: requirements.lock
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" infra/environment.sh

lock: .venv/made  ## pin pyproject.toml's dependencies anew, on the oldest Python
	rm -rf .lock-venv && python3.11 -m venv .lock-venv
	python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); print('\n'.join(p['project']['dependencies'] + p['dependency-groups']['dev']))" > .lock-venv/wanted
	.lock-venv/bin/python -m pip install --quiet --requirement .lock-venv/wanted
	.lock-venv/bin/python -m pip freeze --all | grep -v "^pip==" | sed 's/+cpu//' | grep -v -i -E '^(nvidia|triton|cuda)' > requirements.lock
	rm -rf .lock-venv

clean:  ## the environment and caches; never the store or the runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
