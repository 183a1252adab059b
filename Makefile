# What can be built, checked and measured. `make` alone lists it.

SWIFT        ?= swift
SWIFT_BUILD  := Scripts/heartbeat.sh $(SWIFT) build
BIN          := .build/release/condi-convert
PREFIX       ?= /usr/local
# What 'make accuracy' calibrates on and measures with: photos, and a folder of data sets.
CALIBRATION  ?= ../shared/data/calibration/DIV2K_valid_crops
TESTSETS     ?= ../shared/data/testsets
PACKAGES     := libzip-dev libjson-c-dev zlib1g-dev libdeflate-dev libssl-dev libopenblas-dev liblapacke-dev libpng-dev libjpeg-dev libwebp-dev
SWIFT_SOURCES := Package.swift Sources Tests Fuzz Benchmarks Examples/SwiftPackage
INTEROP_VENV := .venv-interop
WHEEL_VENV   := .venv-wheel
# What making the Debian package takes, and trying it on a bare system.
DEB_PACKAGES := dpkg-dev
DEB_TEST_PACKAGES := mmdebstrap
MPI_PACKAGES := libopenmpi-dev openmpi-bin
# What the tests make two hosts of.
MPI_TEST_PACKAGES := iproute2
MPI_BUILD    := .build-mpi
MPI_BIN      := $(MPI_BUILD)/condi-convert-mpi
# What emulates vector units that the processor lacks.
TEST_PACKAGES := libsimde-dev

# All that is built here shares one folder and these options, so that no module is compiled twice: tests
# see the internals of the very modules that the program is made of.
RELEASE      := -c release -Xswiftc -enable-testing

# Instrumented for AddressSanitizer and for the fuzzer, which share a folder as well. The compiler alone is
# told of the fuzzer: linked to it are only programs that say so.
SANITIZED    := $(RELEASE) --sanitize=address -Xswiftc -Xfrontend -Xswiftc -sanitize=fuzzer \
  --scratch-path $(CURDIR)/.build-sanitized

.PHONY: help packages all-packages build demo install uninstall deb deb-test examples docs test lint format \
  check-calls interop wheel bench bench-check accuracy fuzz sanitize mpi mpi-test clean

help:
	@echo 'make demo         install what is missing, build, quantize a checkpoint to 2 bits, show what it costs'
	@echo 'make test         build and run all tests, in about ten minutes'
	@echo 'make build        build the program, .build/release/condi-convert'
	@echo 'make install      install program, manual, completions and schemas below PREFIX (/usr/local)'
	@echo 'make uninstall    remove exactly that'
	@echo 'make deb          make a Debian package in out/'
	@echo 'make deb-test     install that package on a bare system and try it; needs root'
	@echo 'make mpi          make the program for mpirun, .build-mpi/condi-convert-mpi; installs Open MPI'
	@echo 'make mpi-test     check that ranks of mpirun write and print what one process does'
	@echo 'make examples     build and run the programs of Examples/SwiftPackage'
	@echo 'make docs         make a site of the documentation in out/docs'
	@echo 'make lint         check formatting, documentation of what is public, imports, the map of folders and links'
	@echo 'make format       apply that formatting'
	@echo 'make check-calls  check the program for calls that a fault of Swift 6.3 breaks'
	@echo 'make interop      check written files with torch, spandrel, safetensors, mlx, onnxruntime, gguf and others'
	@echo 'make wheel        make a wheel of the Python package in out/'
	@echo 'make fuzz         fuzz every reader, each for FUZZ_SECONDS (30)'
	@echo 'make sanitize     run all tests under AddressSanitizer'
	@echo 'make bench        time convert and inspect beside Python scripts that do the same'
	@echo 'make bench-check  run the benchmarks on small inputs'
	@echo 'make accuracy     measure what quantization costs, in hours: Benchmarks/accuracy.md'
	@echo 'make clean        remove what was built'

# Installs only the Debian packages that are missing; does nothing and needs no network otherwise.
packages:
	@missing=; for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	    || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# All that any target installs, and MORE_PACKAGES.
all-packages:
	@$(MAKE) --no-print-directory packages PACKAGES='$(PACKAGES) $(DEB_PACKAGES) $(DEB_TEST_PACKAGES) \
	  $(MPI_PACKAGES) $(MPI_TEST_PACKAGES) $(TEST_PACKAGES) $(MORE_PACKAGES)'

build: packages
	$(SWIFT_BUILD) $(RELEASE) --product condi-convert

demo: build
	@Scripts/demo.sh $(BIN)

# Builds nothing where there is a program: 'sudo make install' should not leave root's files here.
install:
	@[ -x $(BIN) ] || $(MAKE) --no-print-directory build
	@Scripts/install.sh install $(BIN) $(PREFIX)
	@echo "installed in $(DESTDIR)$(PREFIX); 'make uninstall PREFIX=$(PREFIX)' removes it"

uninstall:
	@Scripts/install.sh uninstall $(PREFIX)

deb: build
	@$(MAKE) --no-print-directory packages PACKAGES='$(DEB_PACKAGES)'
	@Scripts/make-deb.sh $(BIN) out

deb-test: deb
	@$(MAKE) --no-print-directory packages PACKAGES='$(DEB_TEST_PACKAGES)'
	Scripts/deb-smoke-test.sh out/condi-convert_*.deb

examples: packages
	@SWIFT=$(SWIFT) Scripts/examples.sh $(RELEASE)

# Symbol graphs are those of all targets, tests as well.
docs: packages
	$(SWIFT_BUILD) $(RELEASE) --product condi-convertPackageTests
	@SWIFT=$(SWIFT) Scripts/docs.sh out/docs $(RELEASE)

test: build
	@$(MAKE) --no-print-directory packages PACKAGES='$(TEST_PACKAGES)'
	$(SWIFT_BUILD) $(RELEASE) --product condi-convertPackageTests
	$(SWIFT) test --skip-build $(RELEASE) $(TEST_FLAGS)

lint:
	$(SWIFT) format lint --strict --recursive $(SWIFT_SOURCES)
	python3 Scripts/public-api.py --check
	python3 Scripts/architecture.py
	python3 Scripts/site-pages.py --check
	python3 Scripts/links.py

check-calls: build
	python3 Scripts/check-calls.py $(BIN)

format:
	$(SWIFT) format --in-place --recursive $(SWIFT_SOURCES)

$(INTEROP_VENV)/.installed: Tests/Fixtures/interop/requirements.txt
	@python3 -c 'import ensurepip' 2>/dev/null \
	  || $(MAKE) --no-print-directory packages PACKAGES=python3-venv
	python3 -m venv $(INTEROP_VENV)
	$(INTEROP_VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check -r $<
	touch $@

interop: build $(INTEROP_VENV)/.installed
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/convert_and_check.py --require $(BIN)
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/random_checkpoints.py $(BIN) \
	  --count $(or $(INTEROP_COUNT),100)
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/random_formats.py $(BIN) \
	  --count $(or $(INTEROP_COUNT),40)
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/check_exports.py $(BIN)
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/check_networks.py $(BIN)
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/check_loaders.py $(BIN)
	$(INTEROP_VENV)/bin/python Tests/Fixtures/interop/check_torch.py $(BIN)
	cd python && CONDI_CONVERT=../$(BIN) ../$(INTEROP_VENV)/bin/python -m pytest --quiet
	@$(MAKE) --no-print-directory wheel
	$(INTEROP_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps \
	  --force-reinstall out/condi-*.whl
	cd Tests && ../$(INTEROP_VENV)/bin/python -m condi verify Fixtures/export/sample.condi
	CONDI_CONVERT=$(BIN) $(INTEROP_VENV)/bin/python Examples/quantize_and_load.py \
	  Examples/swinir_light_x2.pth out/example.condi
	cd python && ../$(INTEROP_VENV)/bin/python -m mypy

# Of what the sources are now: setuptools adds to what an earlier build left.
wheel:
	@python3 -c 'import ensurepip' 2>/dev/null \
	  || $(MAKE) --no-print-directory packages PACKAGES=python3-venv
	@[ -x $(WHEEL_VENV)/bin/pip ] || python3 -m venv $(WHEEL_VENV)
	rm -rf python/build out/condi-*.whl
	$(WHEEL_VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir out ./python
	@ls out/condi-*.whl

bench: build $(INTEROP_VENV)/.installed
	$(INTEROP_VENV)/bin/python Benchmarks/compare.py $(BIN)

bench-check: build $(INTEROP_VENV)/.installed
	$(SWIFT_BUILD) $(RELEASE) --product training-benchmark
	$(INTEROP_VENV)/bin/python Benchmarks/check.py $(BIN)

accuracy: build
	python3 Benchmarks/accuracy.py $(BIN) --calibration $(CALIBRATION) --testsets $(TESTSETS) \
	  $(ACCURACY_FLAGS)

fuzz: packages
	SWIFT=$(SWIFT) Fuzz/run.sh $(SANITIZED)

# Leaks are left out: Swift's runtime keeps what it made once, and a program that ends by 'exit'
# frees nothing.
sanitize: packages
	@$(MAKE) --no-print-directory packages PACKAGES='$(TEST_PACKAGES)'
	$(SWIFT_BUILD) $(SANITIZED) --product condi-convertPackageTests
	ASAN_OPTIONS=detect_leaks=0:$$ASAN_OPTIONS \
	  $(SWIFT) test --skip-build $(SANITIZED) $(SANITIZE_FLAGS)

# The same program, beside the library by which its ranks share a command's work.
mpi: build
	@$(MAKE) --no-print-directory packages PACKAGES='$(MPI_PACKAGES)'
	@mkdir -p $(MPI_BUILD)
	mpicc -shared -fPIC -O2 -std=gnu17 -Wall -Wextra -ISources/CMPI/include \
	  -o $(MPI_BUILD)/libcondi-mpi.so Sources/CMPI/plugin/openmpi.c
	@ln -f $(BIN) $(MPI_BIN)

mpi-test: build mpi
	@$(MAKE) --no-print-directory packages PACKAGES='$(MPI_TEST_PACKAGES)'
	python3 Tests/MPI/test_ranks.py $(BIN) $(MPI_BIN) $(MPI_TEST_FLAGS)

clean:
	rm -rf .build .build-sanitized .build-fuzz $(MPI_BUILD) $(INTEROP_VENV) $(WHEEL_VENV) out
