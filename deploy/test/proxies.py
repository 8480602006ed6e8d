"""The proxies of deploy/proxies, each before the same relay, pages and controller.

Ports, paths of certificates and what has to do with a public name are replaced in the files; everything else is tested as it is.
"""

import base64
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
POSTBELL = os.environ["POSTBELL"]
PUSH, BELL, MACHINE = "push.example.com", "bell.example.com", "machine.example.com"
FOLDER = ROOT / "deploy/proxies"
FILES = {"caddy": "Caddyfile", "nginx": "nginx.conf", "haproxy": "haproxy.cfg", "traefik": "traefik-routes.yml"}
SENDER = "gmail-push@sandbox-project.iam.gserviceaccount.com"
PATIENCE = 60  # seconds after which something that does not come has failed

work = Path(tempfile.mkdtemp())
processes = []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


ports = {name: free_port() for name in ("relay", "platform", "controller", "gateway", "watcher")}


def until(what, succeeds):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            result = succeeds()
            if result is not False:
                return result
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within {PATIENCE} s")


def start(*command, log, **variables):
    output = (work / log).open("w")
    process = subprocess.Popen(command, stdout=output, stderr=output, cwd=work, env=os.environ | variables)
    processes.append(process)
    return process


def run(*command):
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def call(url, body=None, method=None, **headers):
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=PATIENCE) as answer:
        return answer.read()


class World:
    """A sandbox, `postbell serve` with one connected user, and the controller of that user's machine."""

    def __init__(self):
        start(POSTBELL, "sandbox", log="sandbox.toml")
        config = until("sandbox", lambda: "service_usage_url" in (work / "sandbox.toml").read_text() and (work / "sandbox.toml").read_text())
        google = config[config.index("[google]") :]
        self.sandbox = re.search('gmail_url = "(.*)"', google)[1] + "/sandbox"
        (work / "postbell.toml").write_text(f"""
            [relay]
            listen = "127.0.0.1:{ports["relay"]}"
            audience = "https://{PUSH}"
            [platform]
            listen = "127.0.0.1:{ports["platform"]}"
            url = "https://{BELL}"
            api_key = "0123456789abcdef0123456789abcdef"
            gateway_secret = "fedcba9876543210fedcba9876543210"
            {google}""")
        start(POSTBELL, "serve", log="serve.log")
        until("relay", lambda: call(f"http://127.0.0.1:{ports['relay']}/ready"))
        self.platform = f"http://127.0.0.1:{ports['platform']}"
        until("platform", lambda: call(f"{self.platform}/ready"))
        run(POSTBELL, "users", "add", "ann", "--url", f"http://127.0.0.1:{ports['controller']}", "--machine-status", "running")
        key = "0123456789abcdef0123456789abcdef"
        envelope = json.loads((ROOT / "crates/postbell-protocol/fixtures/envelope.json").read_text())
        offer = {"gogConfigTarball": envelope, "email": "ann@example.com", "gmailPushOidcEmail": SENDER}
        body = json.dumps({"userId": "ann", "googleCredentials": offer}).encode()
        call(f"{self.platform}/api/platform/google-credentials", body, x_internal_api_key=key, content_type="application/json")
        answer = call(f"{self.platform}/api/platform/gateway-token?userId=ann", x_internal_api_key=key)
        self.token = json.loads(answer)["gatewayToken"]
        self.start_controller()

    def start_controller(self):
        home = work / "machine"
        (home / "bin").mkdir(parents=True)
        openclaw = home / "bin/openclaw"
        openclaw.write_text(f'#!/bin/sh\nexec python3 "{ROOT}/deploy/test/proxies_gateway.py" {ports["gateway"]} "{work}/hooks"\n')
        openclaw.chmod(0o755)
        start(
            POSTBELL,
            "controller",
            log="controller.log",
            HOME=str(home),
            PATH=f"{home}/bin:{os.environ['PATH']}",
            POSTBELL_CONFIG=str(work / "sandbox.toml"),
            PORT=str(ports["controller"]),
            POSTBELL_CONTROLLER__GATEWAY_PORT=str(ports["gateway"]),
            POSTBELL_CONTROLLER__WATCHER_PORT=str(ports["watcher"]),
            OPENCLAW_GATEWAY_TOKEN=self.token,
            KILOCLAW_GATEWAY_ARGS="[]",
            KILOCLAW_GOOGLE_ACCOUNT_EMAIL="ann@example.com",
            KILOCLAW_GOG_CONFIG_TARBALL=call(f"{self.sandbox}/mailboxes/ann@example.com/tarball", b"").decode(),
        )
        health = f"http://127.0.0.1:{ports['controller']}/_kilo/health"
        until("controller", lambda: b'"ready"' in call(health))

    def push(self, proxy):
        """Puts a mail into the mailbox, and pushes as Google does: the mail's id."""
        mail = json.loads(call(f"{self.sandbox}/mailboxes/ann@example.com/mails", b"Subject: hi\n\nhello"))
        data = json.dumps({"emailAddress": "ann@example.com", "historyId": int(mail["historyId"])}).encode()
        body = json.dumps({"message": {"messageId": mail["id"], "data": base64.b64encode(data).decode()}}).encode()
        token = f"Bearer {self.google_token()}"
        status, text, _ = proxy.ask(PUSH, "/push/user/ann", body, authorization=token, content_type="application/json")
        assert status == 204, (status, text)
        return mail["id"]

    def google_token(self):
        claims = {"email": SENDER, "audience": f"https://{PUSH}/push/user/ann"}
        return json.loads(call(f"{self.sandbox}/id-token", json.dumps(claims).encode(), content_type="application/json"))["idToken"]

    def sign_in_link(self):
        return run(POSTBELL, "users", "link", "ann").strip().splitlines()[-1]


class Proxy:
    """A proxy with a file of deploy/proxies."""

    def __init__(self, name):
        self.name, self.port = name, free_port()
        text = (FOLDER / FILES[name]).read_text()
        for address, server in (("127.0.0.1:8080", "relay"), ("127.0.0.1:8081", "platform"), ("127.0.0.1:18789", "controller")):
            assert address in text, (name, address)
            text = text.replace(address, f"127.0.0.1:{ports[server]}")
        folder = work / name
        folder.mkdir()
        getattr(self, name)(text, folder)
        until(name, lambda: self.ask(PUSH, "/health")[0] == 200)

    def caddy(self, text, folder):
        settings = f"admin off\nlocal_certs\nskip_install_trust\nauto_https disable_redirects\nhttps_port {self.port}\nstorage file_system {folder}\n"
        (folder / "Caddyfile").write_text(f"{{\n{settings}}}\n{text}")
        start("caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile", log="caddy.log", HOME=str(folder))

    def nginx(self, text, folder):
        text = re.sub("/etc/letsencrypt/live/example.com", str(work), text)
        text = text.replace("[::]:443", f"[::1]:{self.port}").replace(" 443 ssl", f" 127.0.0.1:{self.port} ssl")
        (folder / "nginx.conf").write_text(
            f"""daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; events {{}}
            http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; {text} }}"""
        )
        start("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr", log="nginx.log")

    def haproxy(self, text, folder):
        (folder / "certs").mkdir()
        (folder / "certs/example.pem").write_text((work / "fullchain.pem").read_text() + (work / "privkey.pem").read_text())
        text = text.replace("/etc/haproxy/certs/", str(folder / "certs")).replace(":::443 v4v6", f"127.0.0.1:{self.port}")
        (folder / "haproxy.cfg").write_text(text)
        start("haproxy", "-db", "-f", str(folder / "haproxy.cfg"), log="haproxy.log")

    def traefik(self, text, folder):
        (folder / "routes.yml").write_text(text.replace("certResolver: letsencrypt", ""))
        settings = (FOLDER / "traefik.yml").read_text().replace(":443", f"127.0.0.1:{self.port}")
        settings = re.sub("certificatesResolvers:\n(  .*\n)+", "", settings)
        settings = settings.replace("/etc/traefik/traefik-routes.yml", str(folder / "routes.yml"))
        (folder / "traefik.yml").write_text(settings)
        start("traefik", f"--configfile={folder}/traefik.yml", log="traefik.log")

    def connect(self, host):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, timeout=PATIENCE, context=context)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        return connection

    def ask(self, host, path, body=None, **headers):
        connection = self.connect(host)
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request("POST" if body is not None else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def check_push(world, proxy):
    """A mail's push goes through to the bot, with the right token only."""
    mail = world.push(proxy)
    until("mail", lambda: mail in (work / "hooks").read_text())
    assert proxy.ask(PUSH, "/push/user/ann", b"{}", authorization="Bearer wrong")[0] == 401
    token = f"Bearer {world.google_token()}"
    assert proxy.ask(PUSH, "/push/user/ann", b"x" * 70_000, authorization=token)[0] == 413


def check_what_is_public(world, proxy):
    for host, path in ((PUSH, "/metrics"), (PUSH, "/ready"), (PUSH, "/api/relay/forget"), (BELL, "/metrics")):
        assert proxy.ask(host, path)[0] == 404, (host, path)
    status, _, _ = proxy.ask(PUSH, "/api/controller/checkin", b'{"sandboxId":"ann"}', authorization=f"Bearer {world.token}", content_type="application/json")
    assert status == 204, status
    assert proxy.ask(MACHINE, "/_kilo/health")[0] == 200
    assert proxy.ask(BELL, "/")[0] in (200, 303)


def check_pages(world, proxy):
    """A person signs in, and the page's events come while the response goes on."""
    link = urllib.parse.urlsplit(world.sign_in_link())
    assert link.netloc == BELL, link.netloc
    assert proxy.ask(BELL, link.path)[0] == 200
    form = {"content_type": "application/x-www-form-urlencoded", "origin": f"https://{BELL}"}
    status, text, answer = proxy.ask(BELL, link.path, b"", **form)
    assert status == 303, (status, text)
    cookies = "; ".join(cookie.split(";")[0] for cookie in answer.get_all("set-cookie"))
    assert proxy.ask(BELL, "/bot", cookie=cookies)[0] == 200

    connection = proxy.connect(BELL)
    connection.request("GET", "/bot/events", headers={"cookie": cookies})
    events = connection.getresponse()
    assert events.status == 200 and events.headers["content-type"] == "text/event-stream", events.status
    # First each part of the page comes once. The one that comes again is a change, while the response goes on.
    seen = set()
    while (line := events.readline()) not in seen:
        if line.startswith(b"event: "):
            if not seen:
                world.push(proxy)
            seen.add(line)
    connection.close()


def check_websocket(world, proxy):
    """A WebSocket reaches the gateway through the controller, and carries frames both ways."""
    connection = proxy.connect(MACHINE).sock
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /ws HTTP/1.1", f"Host: {MACHINE}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    stream = connection.makefile("rb")
    assert b" 101 " in (first := stream.readline()), first
    while stream.readline() != b"\r\n":
        pass
    for text in (b"hello", b"again"):
        connection.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        assert stream.read(2 + len(text)) == bytes([0x81, len(text)]) + text
    connection.close()


def main():
    names = ",".join(f"DNS:{name}" for name in (PUSH, BELL, MACHINE))
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "privkey.pem", "-out", "fullchain.pem"]
    run("openssl", "req", "-x509", *options, "-subj", "/CN=example.com", "-addext", f"subjectAltName={names}", "-days", "2")
    world = World()
    for name in sys.argv[1:]:
        proxy = Proxy(name)
        for check in (check_push, check_what_is_public, check_pages, check_websocket):
            check(world, proxy)
        print(f"{name}: push, check-in, pages with server-sent events, WebSocket: ok", flush=True)


try:
    main()
except BaseException:
    for log in sorted(work.glob("*.log")):
        print(f"-- {log.name}", log.read_text()[-3000:], sep="\n", file=sys.stderr)
    raise
finally:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    shutil.rmtree(work)
