# Thin names over scripts/; each script installs what it needs (scripts/need).
.PHONY: build demo demo-check test bench check clean

build:
	scripts/build

demo:
	scripts/demo

demo-check:
	scripts/demo --check

test:
	scripts/test

bench:
	scripts/bench

check:
	scripts/check

clean:
	scripts/cargo clean
