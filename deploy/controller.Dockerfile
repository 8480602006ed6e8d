# syntax=docker/dockerfile:1
# A bot's machine: OpenClaw's gateway, supervised by Postbell's controller (docs/controller.md).
#
#   docker build -f deploy/controller.Dockerfile -t my-bot deploy
#
# The bot's files and the watcher's state are in /home/node: mount a volume there.

ARG POSTBELL=ghcr.io/postbell/postbell:0.1.0
# hadolint ignore=DL3006
FROM $POSTBELL AS postbell

FROM node:24-bookworm-slim
# This base image removes the CA certificates that it was built with.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
ARG OPENCLAW_VERSION=2026.9.6
RUN npm install -g "openclaw@$OPENCLAW_VERSION" && npm cache clean --force
COPY --from=postbell /usr/local/bin/postbell /usr/local/bin/postbell
# The user `node`, not root: the gateway could read the controller's variables from /proc.
USER 1000:1000
ENV HOME=/home/node
WORKDIR /home/node
EXPOSE 18789
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["postbell", "healthcheck", "http://127.0.0.1:18789/health"]
ENTRYPOINT ["postbell", "controller"]
