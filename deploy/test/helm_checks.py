"""What deploy/test/helm checks beyond schemas: `schemas FOLDER` and `manifests POSTBELL FILE…`."""

import base64
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

# Names that the Prometheus operator and Prometheus give a scraped metric in addition to those of its type.
SUFFIXES = re.compile(r"_(total|bucket|sum|count)$")
REFERENCE = re.compile(r'"#/\$defs/([^"]+)"')
# The oldest version that the chart supports, and the newest.
VERSIONS = ("1.27.0", "1.37.0")
KINDS = (
    "configmap-v1",
    "ingress-networking-v1",
    "networkpolicy-networking-v1",
    "poddisruptionbudget-policy-v1",
    "secret-v1",
    "service-v1",
    "statefulset-apps-v1",
)
SECRETS = {"POSTBELL_PLATFORM__API_KEY": "key", "POSTBELL_PLATFORM__GATEWAY_SECRET": "secret"}


def schemas(folder):
    """Writes strict JSON schemas, each in one file, of Kubernetes and of the Prometheus operator's resources."""
    import kubernetes_validate
    from cloudcoil.models.prometheus_operator import v1

    source = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    for version in VERSIONS:
        strict = source / f"v{version}-local-strict"
        definitions = json.loads((strict / "_definitions.json").read_text())["$defs"]
        (folder / f"v{version}").mkdir(parents=True)
        for kind in KINDS:
            schema = (strict / f"{kind}.json").read_text()
            (folder / f"v{version}" / f"{kind}.json").write_text(whole(schema, definitions))
    for resource in (v1.PrometheusRule, v1.ServiceMonitor):
        schema = resource.model_json_schema(by_alias=True)
        for part in (schema, *schema["$defs"].values()):
            if part.get("properties"):
                part["additionalProperties"] = False
        (folder / f"{resource.__name__.lower()}.json").write_text(json.dumps(schema))


def whole(schema, definitions):
    """Adds the definitions that a schema refers to, because kubeconform does not resolve references to other files."""
    schema = json.loads(schema.replace("/api/_definitions.json#/", "#/"))
    used, missing = {}, REFERENCE.findall(json.dumps(schema))
    while missing:
        name = missing.pop()
        if name not in used:
            text = json.dumps(definitions[name]).replace("/api/_definitions.json#/", "#/")
            used[name] = json.loads(text)
            missing += REFERENCE.findall(text)
    return json.dumps(schema | {"$defs": used})


def manifests(postbell, files):
    """Checks each file's manifests against each other and against the program."""
    types, answers = running(postbell)
    for file in files:
        resources = [document for document in yaml.safe_load_all(file.read_text()) if document]
        by_kind = {resource["kind"]: resource for resource in resources}
        pod = by_kind["StatefulSet"]["spec"]["template"]["spec"]
        check_ports(by_kind, pod)
        check_restricted(pod)
        check_configuration(postbell, by_kind, pod)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = pod["containers"][0][probe]["httpGet"]["path"]
            assert answers[path] == 200, f"{file}: {path} answers {answers[path]}"
        check_start(pod["containers"][0]["startupProbe"])
        check_egress(by_kind, pod)
        rules = by_kind.get("PrometheusRule", {"spec": {"groups": []}})
        for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
            for name in re.findall(r"\bpostbell_\w+", rule["expr"]):
                assert SUFFIXES.sub("", name) in types or name in types, f"{file}: no metric {name}: {sorted(types)}"
    print(f"{len(files)} files fit the program: its configuration, routes, and metrics")


def check_start(probe):
    """A start may take as long as systemd's unit allows."""
    unit = pathlib.Path("deploy/systemd/postbell-serve.service").read_text()
    minutes = int(re.search(r"(?m)^TimeoutStartSec=(\d+)min$", unit)[1])
    assert probe["periodSeconds"] * probe["failureThreshold"] == minutes * 60, probe


def check_egress(by_kind, pod):
    """The network policy lets a relay reach its directory."""
    variables = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    directory, policy = variables.get("POSTBELL_DIRECTORY__URL"), by_kind.get("NetworkPolicy")
    if directory and policy:
        url = urllib.parse.urlsplit(directory)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        allowed = [rule["port"] for egress in policy["spec"]["egress"] for rule in egress["ports"]]
        assert port in allowed, (directory, allowed)


def check_ports(by_kind, pod):
    ports = {port["name"] for port in pod["containers"][0]["ports"]}
    service = {port["name"]: port["targetPort"] for port in by_kind["Service"]["spec"]["ports"]}
    assert set(service.values()) == ports, (service, ports)
    for rule in by_kind.get("Ingress", {"spec": {"rules": []}})["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            assert path["backend"]["service"]["port"]["name"] in service, path
    for endpoint in by_kind.get("ServiceMonitor", {"spec": {"endpoints": []}})["spec"]["endpoints"]:
        assert endpoint["port"] in service, endpoint


def check_restricted(pod):
    """The Pod Security Standard `restricted` (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""
    context, container = pod["securityContext"], pod["containers"][0]["securityContext"]
    assert context["runAsNonRoot"] and context["runAsUser"] != 0, context
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}, context
    assert container["allowPrivilegeEscalation"] is False and container["capabilities"] == {"drop": ["ALL"]}, container
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}, kinds


def check_configuration(postbell, by_kind, pod):
    """The variables of the container are keys of the program's configuration, and enough for its command."""
    container = pod["containers"][0]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "postbell.toml"
        file.write_text(by_kind["ConfigMap"]["data"]["postbell.toml"])
        variables = {variable["name"]: variable["value"].replace("/data/", f"{folder}/") for variable in container["env"]}
        secrets = by_kind.get("Secret", {}).get("data")
        variables |= {name: base64.b64decode(value).decode() for name, value in secrets.items()} if secrets else SECRETS
        variables |= {"POSTBELL_CONFIG": str(file), "CREDENTIALS_DIRECTORY": folder}
        checked = subprocess.run([postbell, "config", "check"], env=variables, capture_output=True, text=True)
        command = container["args"][-1]
        assert checked.returncode == 0 and f"for postbell {command}" in checked.stdout, checked
        parsed = subprocess.run([postbell, *container["args"], "--help"], env=variables, capture_output=True, text=True)
        assert parsed.returncode == 0, parsed


def running(postbell):
    """Returns the metrics of a running `serve`, and the statuses of its health routes."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as one, socket.socket() as other:
        addresses = []
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
            addresses.append("127.0.0.1:%d" % free.getsockname()[1])
        one.close()
        other.close()
        store = f"sqlite:{folder}/postbell.db"
        variables = SECRETS | {
            "POSTBELL_RELAY__AUDIENCE": "https://push.example.com",
            "POSTBELL_RELAY__LISTEN": addresses[0],
            "POSTBELL_RELAY__INBOX": store,
            "POSTBELL_PLATFORM__LISTEN": addresses[1],
            "POSTBELL_PLATFORM__STORE": store,
        }
        server = subprocess.Popen([postbell, "serve"], env=variables, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            for address in addresses:
                wait_for(f"http://{address}/health", server)
            push_without_token(addresses[0])
            types, answers = set(), {}
            for address in addresses:
                text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
                types |= set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
                for path in ("/health", "/ready"):
                    answers[path] = urllib.request.urlopen(f"http://{address}{path}").status
            return types, answers
        finally:
            server.terminate()
            server.wait()


def push_without_token(address):
    """A push that is refused: pushes are listed in the metrics from the first one on."""
    try:
        urllib.request.urlopen(urllib.request.Request(f"http://{address}/push/user/ann", method="POST"))
    except urllib.error.HTTPError as error:
        assert error.code == 401, error


def wait_for(url, server):
    for _ in range(600):
        try:
            return urllib.request.urlopen(url)
        except urllib.error.URLError:
            assert server.poll() is None, f"serve has ended with {server.returncode}"
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


if __name__ == "__main__":
    if sys.argv[1] == "schemas":
        schemas(pathlib.Path(sys.argv[2]))
    else:
        manifests(sys.argv[2], [pathlib.Path(file) for file in sys.argv[3:]])
