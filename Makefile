# SPDX-License-Identifier: Apache-2.0
# A thin front of meson and of the scripts; `make` says what there is.
BUILD  ?= build
PREFIX ?= /usr/local
DESTDIR ?=
NAME   ?=

release := $(BUILD)/release

.PHONY: help build check demo bench lint install clean

help:
	@echo 'make demo                 the disk that gives huge pages back, under two minutes'
	@echo 'make check                builds and runs all tests'
	@echo 'make bench [NAME=disk]    benchmarks; the last lines are the ratios'
	@echo 'make lint                 clang-format, clang-tidy, cppcheck, shellcheck, floors'
	@echo 'make build                builds all in $(release)'
	@echo 'make install              to PREFIX ($(PREFIX)) below DESTDIR, and nowhere else;'
	@echo '                          says how nbdkit finds the plugin there'
	@echo 'make clean                removes $(BUILD)'
	@echo
	@echo 'demo, check, bench and lint install the Debian packages that they lack.'

build:
	@scripts/deps.sh build
	@scripts/build.sh $(release) --prefix=$(abspath $(PREFIX)) -Dplugin=enabled -Dcli=enabled \
		-Dtools=enabled -Dtests=disabled

check:
	@scripts/deps.sh build check
	@CC=gcc scripts/check.sh $(BUILD)/check -Dplugin=enabled

demo: build
	@scripts/deps.sh demo
	@scripts/with-build.sh $(release) demo/demo.sh

bench: build
	@scripts/deps.sh check demo bench
	@scripts/with-build.sh $(release) bench/run.sh $(NAME)

lint:
	@scripts/deps.sh build lint
	@scripts/lint.sh $(BUILD)/lint

install: build
	@DESTDIR='$(DESTDIR)' meson install -C $(release) --no-rebuild --quiet
	@cat $(release)/integrations/plugin-use.txt

clean:
	@rm -rf $(BUILD)
