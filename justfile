# Most recipes are steps of scripts/test, which CI runs.

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

# Google's own Python clients against the sandbox, and the receivers of docs/bots.md
clients:
    scripts/test clients

# What users install: units, packages, containers, charts
deploy:
    scripts/test deploy

spelling:
    scripts/test spelling

# Licences, sources, advisories, and which crate may use which
deny:
    scripts/test deny

# Dependencies that no crate uses, and files that no module names
unused:
    scripts/test unused

# The pages in Chromium
browser:
    scripts/test browser

# Make the pictures of docs anew: docs/setup.svg and docs/pages (builds; needs Chromium)
pictures:
    scripts/pictures

# All commands and the fuzz targets compile for macOS
macos:
    scripts/test macos

# The end-to-end demo
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Fuzz one of: env_crypto envelope history_id id_token mail platform proxy push tarball (needs cargo-fuzz and a nightly compiler)
fuzz TARGET *ARGS:
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_STRIP=none \
        cargo +nightly fuzz run {{TARGET}} {{ARGS}}

# Benchmarks beside bare servers (about half an hour; `--only postgres` runs one of them)
bench *ARGS:
    cargo build --release
    cargo run --release -p postbell-bench -- {{ARGS}}

# `gog gmail watch serve` beside Postbell on the sandbox: the path of a built gog (some five minutes)
bench-peers GOG:
    cargo build --release -p postbell
    scripts/bench-peers {{GOG}}

# The whole path under kill -9 and faults: mailboxes, seconds, seed (`just soak 20 120`)
soak *ARGS:
    scripts/soak {{ARGS}}

# Google's Node and Go clients against the sandbox, and the watcher against Google's fake Pub/Sub (a few minutes)
google-clients:
    scripts/google-clients

# Three PostgreSQL servers under Patroni with etcd, whose leader is killed under load (about two minutes)
patroni *ARGS:
    deploy/patroni/try {{ARGS}}
