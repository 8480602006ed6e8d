"""What deploy/test/compose checks beyond syntax: `POSTBELL BOT PLATFORM`, the parsed compose files."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

STORE = "postgres://postbell:word@postgres/postbell?sslmode=disable"
SECRETS = {
    "POSTBELL_RELAY__INBOX": STORE,
    "POSTBELL_PLATFORM__STORE": STORE,
    "POSTBELL_PLATFORM__API_KEY": "key",
    "POSTBELL_PLATFORM__GATEWAY_SECRET": "secret",
    "POSTBELL_PLATFORM__PRIVATE_KEY": pathlib.Path("crates/postbell-protocol/fixtures/key.pem").read_text(),
    "POSTBELL_WATCH_HOOK_TOKEN": "token",
}
# Keys of https://fly.io/docs/reference/configuration/ that our files use.
FLY_KEYS = {
    "": {"app", "primary_region", "kill_signal", "kill_timeout", "build", "env", "mounts", "http_service", "services", "metrics", "vm"},
    "build": {"image", "dockerfile"},
    "mounts": {"source", "destination", "initial_size"},
    "http_service": {"internal_port", "force_https", "auto_stop_machines", "auto_start_machines", "min_machines_running", "concurrency", "checks"},
    "http_service.concurrency": {"type", "soft_limit", "hard_limit"},
    "http_service.checks": {"grace_period", "interval", "method", "path", "timeout"},
    "services": {"internal_port", "protocol", "auto_stop_machines", "auto_start_machines", "ports", "http_checks"},
    "services.ports": {"port", "handlers"},
    "services.http_checks": {"grace_period", "interval", "method", "path", "protocol", "timeout"},
    "metrics": {"port", "path"},
    "vm": {"size", "memory"},
}
ROUTES = {"/health", "/ready", "/metrics"}


def check_compose(postbell, bot, platform):
    for service in [*bot["services"].values(), *platform["services"].values()]:
        assert service["read_only"] and service["cap_drop"] == ["ALL"], service
        assert "no-new-privileges:true" in service["security_opt"], service
        assert service["restart"] == "unless-stopped" and service["healthcheck"]["test"][0] == "CMD", service
    watch, serve = bot["services"]["watch"], platform["services"]["postbell"]
    for service in (watch, serve):
        check_variables(postbell, service["environment"], {secret["source"]: SECRETS[secret["source"]] for secret in service["secrets"]})
        check_usage(postbell, service["healthcheck"]["test"][2:])
        check_usage(postbell, service["command"])
    # Process lists show arguments, and a webhook's URL can be a secret.
    assert not [word for word in watch["command"] if word.startswith("--hook")], watch
    # The database is reached by Postbell alone, under the name that the URL has.
    members = [name for name, service in platform["services"].items() if "database" in (service.get("networks") or {})]
    assert sorted(members) == ["postbell", "postgres"] and platform["networks"]["database"]["internal"], members
    assert list(platform["services"]["postgres"]["networks"]) == ["database"]
    # The health check asks where the watcher listens.
    assert "--listen=127.0.0.1:8080" in watch["command"] and watch["healthcheck"]["test"][-1] == "http://127.0.0.1:8080/ready"


def check_usage(postbell, arguments):
    """clap ends with 2 for arguments that it does not know."""
    parsed = subprocess.run([postbell, *arguments, "--help"], env={}, capture_output=True, text=True)
    assert parsed.returncode == 0, parsed


def check_variables(postbell, variables, secrets):
    """The variables are keys of the configuration, over that of the image."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "postbell.toml"
        file.write_text(pathlib.Path("deploy/container/postbell.toml").read_text().replace("/data/", f"{folder}/"))
        variables = variables | secrets | {"POSTBELL_CONFIG": str(file)}
        checked = subprocess.run([postbell, "config", "check"], env=variables, capture_output=True, text=True)
        assert checked.returncode == 0, checked


def check_fly(postbell):
    files = {path.stem: tomllib.loads(path.read_text()) for path in pathlib.Path("deploy/fly").glob("*.toml")}
    serve, machine = files["serve"], files["machine"]
    for file in files.values():
        check_keys("", file)
        assert file["kill_signal"] == "SIGTERM" and file["kill_timeout"] <= 300
        assert all(isinstance(value, str) for value in file["env"].values())
    check_variables(postbell, serve["env"], {name: value for name, value in SECRETS.items() if value != STORE})
    image = tomllib.loads(pathlib.Path("deploy/container/postbell.toml").read_text())
    ports = {image["relay"]["listen"].split(":")[1], image["platform"]["listen"].split(":")[1]}
    assert {str(serve["http_service"]["internal_port"]), str(serve["services"][0]["internal_port"])} == ports
    checks = [*serve["http_service"]["checks"], *serve["services"][0]["http_checks"], *machine["http_service"]["checks"], serve["metrics"]]
    assert {check["path"] for check in checks} <= ROUTES
    assert str(machine["http_service"]["internal_port"]) == machine["env"]["PORT"]
    assert json.loads(machine["env"]["KILOCLAW_GATEWAY_ARGS"])
    assert (pathlib.Path("deploy/fly") / machine["build"]["dockerfile"]).is_file()
    # The controller needs one more variable than this file has: the token is a secret.
    assert "OPENCLAW_GATEWAY_TOKEN" not in machine["env"]


def check_keys(table, content):
    unknown = content.keys() - FLY_KEYS[table]
    assert not unknown, f"[{table}]: {unknown}"
    for key, value in content.items():
        name = f"{table}.{key}".removeprefix(".")
        if name != "env":
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    check_keys(name, inner)


def check_versions():
    """Every file names the image of this version, and the chart has it."""
    version = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["workspace"]["package"]["version"]
    files = [path for path in pathlib.Path("deploy").rglob("*") if path.suffix in (".yaml", ".toml", ".Dockerfile")]
    images = [re.findall(r"postbell/postbell:(?:\$\{POSTBELL_VERSION:-)?([\w.-]+)", path.read_text()) for path in files]
    named = [name for names in images for name in names]
    assert len(named) == 5 and set(named) == {version}, named
    chart = pathlib.Path("deploy/helm/postbell/Chart.yaml").read_text()
    assert re.findall(r"(?m)^(?:version|appVersion): (.*)$", chart) == [version, version], chart


if __name__ == "__main__":
    bot, platform = (json.loads(pathlib.Path(file).read_text()) for file in sys.argv[2:])
    check_compose(sys.argv[1], bot, platform)
    check_fly(sys.argv[1])
    check_versions()
    print("the files of deploy/compose and deploy/fly fit the program")
