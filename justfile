# The recipes are CI's steps; `scripts/test` runs them all without `just`.

# Every check
check:
    scripts/test

# Install what the checks need
tools:
    scripts/test tools

format:
    scripts/test format

lint:
    scripts/test lint

docs:
    scripts/test docs

test:
    scripts/test test

# Google's own clients against the sandbox
clients:
    scripts/test clients

spelling:
    scripts/test spelling

# What may depend on what, and under which licences (needs cargo-deny)
deny:
    cargo deny check bans licenses sources

# Dependencies that nothing uses (needs cargo-machete)
unused:
    cargo machete

# The whole path at work
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Fuzz one of: envelope history_id id_token platform proxy push sealed tarball (needs cargo-fuzz and a nightly compiler)
fuzz TARGET *ARGS:
    cargo +nightly fuzz run {{TARGET}} {{ARGS}}

# What the parts cost, beside bare servers in the same run (some twenty minutes; `--only controller` for one of them)
bench *ARGS:
    cargo build --release
    cargo run --release -p postbell-bench -- {{ARGS}}
