# Thin names over scripts/; each script installs what it needs (scripts/need).
.PHONY: build demo demo-check test bench check clean

build:
	scripts/build

demo:
	scripts/demo

demo-bench:
	scripts/bench

check:
	scripts/demo --check

test:
	scripts/test

check:
	scripts/check

clean:
	scripts/cargo clean
