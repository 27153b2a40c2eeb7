# Everything a contributor runs. `make demo` and `make test` set up whatever they need.

# `make test PYTHON=python3.13` uses that interpreter, in an environment of its own.
ifdef PYTHON
export UV_PYTHON := $(PYTHON)
export UV_PROJECT_ENVIRONMENT := .cache/venv$(subst /,-,$(PYTHON))
endif
VENV := $(or $(UV_PROJECT_ENVIRONMENT),.venv)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-simulation test-faults bench-recovery lint format fuzz bench-frames generate

help:  ## list the targets
	@grep -hE '^[a-z][a-zA-Z0-9_-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## *' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(VENV)/.compiled  ## install uv and the locked dependencies, compile what is compiled

$(VENV)/.ready: uv.lock pyproject.toml
	@tools/uv sync --frozen --all-extras --quiet
	@touch $@

# Once, by one process: workers that start together would each compile for themselves. From nothing, for Numba does
# not see that a pass of another file, which is part of what it kept, has changed.
$(VENV)/.compiled: $(VENV)/.ready $(wildcard schemas/*.py streams/*.py streams/*/*.py)
	@find schemas streams -name '*.nb[ic]' -delete
	@echo "compiling the hot path for this machine (half a minute, once)"
	@tools/uv run --frozen --all-extras python -c "from streams.preparation import prepare_booking; prepare_booking()"
	@touch $@

demo: setup  ## real requests through real Kafka into a ledger whose books close (three minutes)
	@tools/uv run --frozen --all-extras wattledger demo

demo-vllm: setup  ## a real vLLM on CPU, agent, Kafka, worker, ledger: three tenants' tokens as the server counts them (6 GB)
	@tools/vllm-env
	@tools/uv run --frozen --all-extras python -m tools.demo_vllm

# Two at a time on two cores; by file, so that a file's own brokers and databases start once. A test that fails
# is run once more, and if it passes then, the summary names it as RERUN: real brokers on a busy machine.
test: setup  ## unit, property and end-to-end tests (under 20 minutes)
	@tools/uv run --frozen --all-extras pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	    --reruns 1 --max-suite-reruns 4 --rerun-show-tracebacks

test-simulation: setup  ## the commit protocol under 100,000 drawn schedules (ten minutes on two cores)
	@tools/uv run --frozen --all-extras python -m tests.protocol

N ?= 240
SEED ?= 1
test-faults: setup  ## N faults from SEED against three brokers and a database; resumable (a minute for 20)
	@tools/uv run --frozen --all-extras python -m tests.faults --faults $(N) --seed $(SEED)

test-vllm:  ## the hook in a real vLLM on CPU: its scheduler, a server under load, transformers (6 GB once, 10 min)
	@tools/vllm-env
	@cd tests/vllm && ../../.cache/vllm-venv/bin/python -m pytest -c pytest.ini

test-helm: setup  ## the chart under Helm, kubectl-validate and helm-unittest (builds them once: Go, ten minutes)
	@tools/helm-env
	@WATTLEDGER_HELM_TOOLS=$(CURDIR)/.cache/bin tools/uv run --frozen --all-extras pytest tests/helm

test-outage: setup  ## an hour without Kafka in a minute: the agent's memory flat, every frame there once
	@tools/uv run --frozen --all-extras python -m tests.agent.outage

test-images: setup  ## what goes into each image, installed and run: agent, worker, API, an engine (package index, five minutes)
	@WATTLEDGER_TEST_IMAGES=1 tools/uv run --frozen --all-extras pytest tests/images

test-sglang:  ## the hook on SGLang's own scheduler classes, on CPU, no model (needs test-vllm's environment)
	@tools/vllm-env
	@tools/sglang-env
	@cd tests/sglang && PYTHONPATH=../../.cache/sglang-site ../../.cache/vllm-venv/bin/python -m pytest \
	    -c ../vllm/pytest.ini

test-pure: setup  ## what needs neither broker nor database, in two minutes: for other Pythons
	@tools/uv run --frozen --all-extras pytest tests/schemas tests/streams tests/attribution tests/simulation \
	    --ignore=tests/simulation/test_publish.py --ignore=tests/streams/test_repair.py tests/test_rooms.py

lint: setup  ## ruff and mypy, as CI runs them
	@tools/uv run --frozen --all-extras ruff check .
	@tools/uv run --frozen --all-extras ruff format --check .
	@tools/uv run --frozen --all-extras mypy

format: setup  ## format and fix what can be fixed
	@tools/uv run --frozen --all-extras ruff check --fix .
	@tools/uv run --frozen --all-extras ruff format .

generate: setup  ## Protobuf code, AsyncAPI, frame examples, metrics, alerts and the chart's values, from their sources
	@tools/uv run --frozen --all-extras python -m tools.protoc
	@tools/uv run --frozen --all-extras python -m tools.asyncapi
	@tools/uv run --frozen --all-extras python -m tools.frame_examples
	@tools/uv run --frozen --all-extras python -m tools.metrics
	@tools/uv run --frozen --all-extras python -m tools.licences
	@tools/uv run --frozen --all-extras python -m tools.helm_docs

audit: setup  ## ask a vulnerability service about everything that is locked; fails where it cannot be asked
	@tools/uv run --frozen --all-extras --group audit python -m tools.audit --service $(or $(SERVICE),osv)

fuzz: setup  ## a million mutated frames against the decoders (about five minutes)
	@tools/uv run --frozen --all-extras python -m tools.fuzz_frames --frames 1000000

bench-frames: setup  ## size and speed of the frame codecs beside the obvious alternatives
	@tools/uv run --frozen --all-extras python -m benchmarks.frames

bench-hook:  ## what the vLLM hook costs per row in the real scheduler, and in a server's inter-token latency (8 min)
	@tools/vllm-env
	@.cache/vllm-venv/bin/python benchmarks/hook.py
	@.cache/vllm-venv/bin/python benchmarks/hook_latency.py

bench-agent: setup  ## what the node agent costs at 8 GPUs and 400 iterations/s, against a real Kafka (2 min)
	@tools/uv run --frozen --all-extras python -m benchmarks.agent

bench-attribution: setup  ## accuracy and speed of the split beside other estimators; writes docs/attribution.md
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 tools/uv run --frozen --all-extras --group bench \
	    python -m benchmarks.attribution

bench-receipts: setup  ## what signing and checking a receipt cost, beside the signature alone (20 s)
	@tools/uv run --frozen --all-extras python -m benchmarks.receipts

bench-answers: setup  ## a 30-day report of one tenant of 1,000 over 100 million ledger rows (30 min, 8 GB of disk)
	@tools/uv run --frozen --all-extras python -m benchmarks.report --rows 100000000

bench-export: setup  ## memory of an export of 100,000 and of a million requests (3 min)
	@tools/uv run --frozen --all-extras python -m benchmarks.export

bench-page: setup  ## how long the demo's pages take to answer (2 min)
	@tools/uv run --frozen --all-extras python -m benchmarks.page

bench-uncertainty: setup  ## coverage of 90 % intervals on 1,200 simulated fleets (10 min)
	@OPENBLAS_NUM_THREADS=1 tools/uv run --frozen --all-extras python -m benchmarks.uncertainty

GPU_PYTHON ?= python3
bench-gpu:  ## one slice (8 min) of measuring sub-batches on an NVIDIA GPU; three make the data set (GPU_PYTHON has PyTorch)
	@$(GPU_PYTHON) -m benchmarks.gpu slice

test-gpu:  ## the measured model against transformers' Llama, on CPU (6 GB once, 2 min)
	@tools/vllm-env
	@.cache/vllm-venv/bin/python -m pytest -c tests/vllm/pytest.ini --rootdir . tests/gpu/test_torch_model.py

bench-carbon: setup  ## one tenant's month of grams over a fleet, from rollups (one minute)
	@tools/uv run --frozen --all-extras python -m benchmarks.carbon

bench-stream: setup  ## one worker core from Kafka bytes to durable rows, beside a plain consumer; latency (6 min)
	@tools/uv run --frozen --all-extras python -m benchmarks.stream

bench-fleet: setup  ## a mixed fleet on one worker core, beside a decoder, JSON records and permutations (4 min)
	@tools/uv run --frozen --all-extras python -m benchmarks.fleet

bench-scaling: setup  ## what the cost grows with, memory per engine, a day of engines that come and go (2 min)
	@OPENBLAS_NUM_THREADS=1 tools/uv run --frozen --all-extras python -m benchmarks.scaling

bench-recovery: setup  ## kill -9 at the demo's load: until the books go on, beside Faust's defaults (12 min)
	@tools/uv run --frozen --all-extras python -m benchmarks.recovery

bench-evaluate: setup  ## the evaluation: simulated rows, counterfactual coalitions, memory (one minute)
	@tools/uv run --frozen --all-extras python -m benchmarks.evaluate

evaluate-docs: setup  ## run the evaluations of docs/evaluation.md and write its tables (half an hour)
	@tools/uv run --frozen --all-extras python -m benchmarks.evaluate_docs
