"""Certificates by ACME: a relay and a platform order from Pebble, share, restart, renew, and survive its absence.

Pebble (https://github.com/letsencrypt/pebble) rejects a fifth of the nonces, as it does to find clients that cannot retry, and
sleeps before it validates.
"""

import json
import os
import socket
import socketserver
import ssl
import stat
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

POSTBELL = os.environ["POSTBELL"]
NAMES = ["push.example.com", "bell.example.com"]
DEADLOCK = 60


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Dns(socketserver.StreamRequestHandler):
    """Answers 127.0.0.1 for every name (RFC 1035, over TCP), and nothing for other types than A."""

    def handle(self):
        while length := self.rfile.read(2):
            query = self.rfile.read(int.from_bytes(length, "big"))
            end = query.index(b"\0", 12) + 5
            question = query[12:end]
            is_a = question[-4:-2] == b"\0\1"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if is_a else b""
            counts = b"\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
            reply = query[:2] + b"\x81\x80" + counts + question + answer
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)


class Pebble:
    def __init__(self, folder, dns, tls_port, validity):
        self.folder, self.dns, self.validity = folder, dns, validity
        self.port, self.management = free_port(), free_port()
        self.tls_port = tls_port
        self.url = f"https://127.0.0.1:{self.port}/dir"

    def start(self):
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.folder / "pebble.pem"),
            "privateKey": str(self.folder / "pebble-key.pem"),
            "httpPort": free_port(),
            "tlsPort": self.tls_port,
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "test", "validityPeriod": self.validity}},
        }
        file = self.folder / f"pebble-{self.port}.json"
        file.write_text(json.dumps({"pebble": config}))
        env = os.environ | {"PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_VA_SLEEPTIME": "1"}
        command = ["pebble", "-config", str(file), "-dnsserver", f"127.0.0.1:{self.dns}"]
        log = open(self.folder / f"pebble-{self.port}.log", "w")
        self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        until("Pebble answers", self.root)

    def root(self):
        trusted = ssl.create_default_context(cafile=self.folder / "root.pem")
        url = f"https://127.0.0.1:{self.management}/roots/0"
        with urllib.request.urlopen(url, context=trusted) as answer:
            return answer.read().decode()

    def stop(self):
        self.process.kill()
        self.process.wait()


STARTED = []


class Server:
    """`postbell relay` or `postbell platform` with a configuration file."""

    def __init__(self, folder, part, port, config):
        self.part, self.port, self.log = part, port, folder / f"{part}-{port}.log"
        file = folder / f"{part}-{port}.toml"
        file.write_text(config)
        self.command = [POSTBELL, "--config", str(file), part]
        self.start()

    def start(self):
        log = open(self.log, "a")
        STARTED.append(self)
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0, self.log.read_text()

    def said(self, text):
        return self.log.read_text().count(text)

    def certificate(self, root=None, name=NAMES[0], protocol=None):
        """Returns the certificate that the server shows, and the protocol that it has chosen."""
        context = ssl.create_default_context(cadata=root)
        if root is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if protocol:
            context.set_alpn_protocols([protocol])
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as stream:
            with context.wrap_socket(stream, server_hostname=name) as tls:
                return tls.getpeercert(binary_form=True), tls.selected_alpn_protocol()

    def get(self, path):
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{self.port}{path}", context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()


def until(what, condition, seconds=DEADLOCK):
    """Waits until the condition holds, and returns its value."""
    end = time.monotonic() + seconds
    problem = None
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except (OSError, AssertionError) as error:
            problem = error
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what} ({problem})")


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder):
    """The authority of Pebble's own server, which no system knows."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl(folder, "req", "-x509", *key, "-subj", "/CN=root", "-keyout", "root-key.pem", "-out", "root.pem")
    openssl(folder, "req", *key[:-2], "-subj", "/CN=pebble", "-keyout", "pebble-key.pem", "-out", "pebble.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signing = ["-CA", "root.pem", "-CAkey", "root-key.pem", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl(folder, "x509", "-req", "-in", "pebble.csr", *signing, "-out", "pebble.pem")


def tls_config(folder, pebble):
    return f"""
[tls]
acme = {json.dumps(NAMES)}
acme_agree_terms = true
acme_email = "ops@example.com"
acme_directory = "{pebble.url}"
acme_root_file = "{folder}/root.pem"
acme_store = "{folder}/acme"
"""


def relay(folder, pebble):
    return Server(folder, "relay", pebble.tls_port, f"""
[relay]
listen = "127.0.0.1:{pebble.tls_port}"
audience = "https://{NAMES[0]}"
inbox = "sqlite:{folder}/relay-{pebble.port}.db"
[directory]
url = "http://127.0.0.1:1"
api_key = "0123456789abcdef0123"
""" + tls_config(folder, pebble))


def platform(folder, pebble):
    port = free_port()
    return Server(folder, "platform", port, f"""
[platform]
listen = "127.0.0.1:{port}"
url = "https://{NAMES[1]}"
store = "sqlite:{folder}/platform.db"
api_key = "0123456789abcdef0123"
gateway_secret = "0123456789abcdef0123"
""" + tls_config(folder, pebble))


def check_first_order(folder, pebble):
    """The authority is away at first: the reason is visible, and no certificate is shown."""
    server = relay(folder, pebble)
    until("the relay says why", lambda: server.said("Could not get a TLS certificate"))
    try:
        server.certificate()
        raise AssertionError("a certificate from nowhere")
    except ssl.SSLError:
        pass
    [failure] = (folder / "acme").glob("*/failure.json")
    assert "refused" in failure.read_text(), failure.read_text()
    pebble.start()
    # The next attempt would be in a minute.
    failure.unlink()
    root = pebble.root()
    until("the relay has a certificate", lambda: server.certificate(root))
    return server, root


def check_sharing(folder, pebble, server, root):
    """Another process uses the same certificate, and neither orders again when it starts."""
    other = platform(folder, pebble)
    first, _ = server.certificate(root)
    until("the platform has it, too", lambda: other.certificate(root, NAMES[1])[0] == first)
    for protocol in ["h2", "http/1.1"]:
        assert server.certificate(root, protocol=protocol)[1] == protocol
    assert server.get("/ready")[0] == 200
    for process in [server, other]:
        process.stop()
        process.start()
        until("it serves again", lambda process=process: process.certificate(root)[0] == first)
        process.stop()
    orders = server.said("Ordering a TLS certificate") + other.said("Ordering a TLS certificate")
    assert orders <= 2, f"{orders} orders: one failed, one succeeded"
    for file in (folder / "acme").rglob("*"):
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode & 0o077 == 0, f"{file} has mode {mode:o}"
    assert server.said("KEY-----") == 0


def check_renewal(folder, pebble):
    """Certificates of some seconds are renewed ahead; without the authority the last one stays until it ends."""
    pebble.start()
    server = relay(folder, pebble)
    root = pebble.root()
    first, _ = until("a certificate", lambda: server.certificate(root))
    assert server.get("/ready")[0] == 200
    until("its renewal", lambda: server.certificate(root)[0] != first)
    pebble.stop()
    until("a failed renewal", lambda: "postbell_tls_certificate_failing 1" in server.get("/metrics")[1])
    status, body = until("the end", lambda: (it := server.get("/ready"))[0] == 503 and it)
    assert "certificate_expired" in body, body
    assert server.get("/health")[0] == 200
    server.stop()


def main():
    with tempfile.TemporaryDirectory() as folder, socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dns) as dns:
        folder = Path(folder)
        threading.Thread(target=dns.serve_forever, daemon=True).start()
        make_certificates(folder)
        dns_port = dns.server_address[1]
        lasting = Pebble(folder, dns_port, free_port(), 90 * 86400)
        brief = Pebble(folder, dns_port, free_port(), 20)
        try:
            server, root = check_first_order(folder, lasting)
            check_sharing(folder, lasting, server, root)
            check_renewal(folder, brief)
        except BaseException:
            for log in folder.glob("*.log"):
                print(f"== {log.name}\n{log.read_text()[-6000:]}")
            raise
        finally:
            dns.shutdown()
            for server in STARTED:
                server.process.kill()
            for pebble in [lasting, brief]:
                if hasattr(pebble, "process"):
                    pebble.stop()
    print("tls: orders, sharing, restarts and renewal work")


main()
