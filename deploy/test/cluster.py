"""Several relays and platforms on one database, behind HAProxy, with users whose machines are in this process, and a load of pushes."""

import base64
import collections
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
POSTBELL = os.environ["POSTBELL"]
AUDIENCE = "https://push.example.com"
SENDER = "gmail-push@sandbox-project.iam.gserviceaccount.com"
KEY = "0123456789abcdef0123456789abcdef"
PATIENCE = 60  # seconds after which something that does not come has failed

work = Path(tempfile.mkdtemp())
processes = []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(what, succeeds, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            result = succeeds()
            if result is not False:
                return result
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise SystemExit(f"{what}: not within {patience} s")


def start(*command, log, **variables):
    with (work / log).open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=work, env=os.environ | variables, start_new_session=True)
    processes.append(process)
    return process


def kill(process):
    """Kills a process and its children, as a machine that fails."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(*command):
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def call(url, body=None, method=None, **headers):
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers["content-type"] = "application/json"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=PATIENCE) as answer:
        return answer.read()


def main(test):
    """Runs a test. If it fails, prints the ends of all logs. Ends all processes."""
    try:
        test()
    except BaseException:
        for log in sorted(work.glob("*.log")):
            print(f"-- {log.name}", log.read_text(errors="replace")[-2500:], sep="\n", file=sys.stderr)
        raise
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                kill(process)
        shutil.rmtree(work, ignore_errors=True)


class Machines:
    """The machines of all users: they record what is delivered, or refuse it while `hold` is set."""

    def __init__(self):
        self.hold = False
        self.delivered = collections.Counter()
        self.greatest = collections.Counter()
        machines = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))["message"]
                if not machines.hold:
                    note = json.loads(base64.b64decode(message["data"]))
                    user = note["emailAddress"].split("@")[0]
                    machines.delivered[message["messageId"]] += 1
                    machines.greatest[user] = max(machines.greatest[user], int(note["historyId"]))
                self.send_response(503 if machines.hold else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a relay that was killed closes its connections
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Cluster:
    """A sandbox, relays and platforms on the database of a URL, and HAProxy before both kinds."""

    def __init__(self, store, relays, platforms, **variables):
        self.variables = variables
        self.machines = Machines()
        start(POSTBELL, "sandbox", log="sandbox.toml")
        config = until("sandbox", lambda: "service_usage_url" in (work / "sandbox.toml").read_text() and (work / "sandbox.toml").read_text())
        google = config[config.index("[google]") :]
        self.sandbox = re.search('gmail_url = "(.*)"', google)[1] + "/sandbox"
        self.relays = [f"http://127.0.0.1:{free_port()}" for _ in range(relays)]
        self.platforms = [f"http://127.0.0.1:{free_port()}" for _ in range(platforms)]
        self.push_url, self.pages_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        (work / "postbell.toml").write_text(f"""
            [relay]
            audience = "{AUDIENCE}"
            inbox = "{store}"
            rate_per_user = {{ per_second = 100000 }}
            retry = {{ attempts = 1000, first = "1s", factor = 1.0 }}
            [directory]
            url = "{self.pages_url}"
            api_key = "{KEY}"
            [platform]
            store = "{store}"
            url = "{self.pages_url}"
            api_key = "{KEY}"
            gateway_secret = "fedcba9876543210fedcba9876543210"
            relay_urls = {json.dumps(self.relays)}
            {google}""")
        self.processes = {}
        self.balance()
        for url in self.platforms:
            self.start("platform", url)
        for url in self.relays:
            self.start("relay", url)
        for url in (*self.platforms, *self.relays, self.push_url, self.pages_url):
            until(url, lambda url=url: call(f"{url}/ready"))

    def start(self, kind, url):
        listen = {f"POSTBELL_{kind.upper()}__LISTEN": url.removeprefix("http://")}
        log = f"{kind}-{url.rsplit(':')[-1]}.log"
        self.processes[url] = start(POSTBELL, kind, log=log, **listen, **self.variables)

    def balance(self):
        text = """defaults
            mode http
            option redispatch 1
            retries 3
            option httpchk GET /ready
            default-server check inter 500ms fall 2 rise 1
            timeout connect 2s
            timeout client 60s
            timeout server 60s
        """
        for name, front, servers in (("relay", self.push_url, self.relays), ("platform", self.pages_url, self.platforms)):
            listed = "\n".join(f"server {name}{number} {url.removeprefix('http://')}" for number, url in enumerate(servers))
            text += f"\nlisten {name}s\nbind {front.removeprefix('http://')}\nbalance roundrobin\n{listed}\n"
        (work / "haproxy.cfg").write_text(text)
        start("haproxy", "-db", "-f", str(work / "haproxy.cfg"), log="haproxy.log")

    def add(self, user, platform):
        """Adds a user, and connects their account at one of the platforms."""
        run(POSTBELL, "users", "add", user, "--url", self.machines.url, "--machine-status", "running")
        envelope = json.loads((ROOT / "crates/postbell-protocol/fixtures/envelope.json").read_text())
        offer = {"gogConfigTarball": envelope, "email": f"{user}@example.com", "gmailPushOidcEmail": SENDER}
        call(f"{platform}/api/platform/google-credentials", {"userId": user, "googleCredentials": offer}, x_internal_api_key=KEY)

    def pusher(self, user):
        return Pusher(self, user)


class Pusher:
    """Pushes for one user, with history ids that rise."""

    def __init__(self, cluster, user):
        claims = {"email": SENDER, "audience": f"{AUDIENCE}/push/user/{user}"}
        answer = json.loads(call(f"{cluster.sandbox}/id-token", claims))
        self.token, self.user, self.cluster = answer["idToken"], user, cluster
        self.history_id = self.acknowledged = 0

    def push(self, relay=None):
        """The status of the answer; 0 if there is none."""
        self.history_id += 1
        note = {"emailAddress": f"{self.user}@example.com", "historyId": self.history_id}
        data = base64.b64encode(json.dumps(note).encode()).decode()
        message = {"messageId": self.message_id(), "data": data}
        try:
            call(f"{relay or self.cluster.push_url}/push/user/{self.user}", {"message": message}, authorization=f"Bearer {self.token}")
        except urllib.error.HTTPError as refused:
            return refused.code
        except (OSError, http.client.HTTPException):
            return 0
        self.acknowledged = self.history_id
        return 204

    def message_id(self):
        return f"{self.user}-{self.history_id}"


class Load:
    """Pushes for each of some users at once, until it is stopped, or for each until the first failure if `once`."""

    def __init__(self, pushers, once=False):
        self.pushers, self.once, self.stopping = pushers, once, False
        self.count = self.refused = 0
        self.longest, self.last = 0.0, time.monotonic()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.push, args=(pusher,), daemon=True) for pusher in pushers]
        for thread in self.threads:
            thread.start()

    def push(self, pusher):
        while not self.stopping:
            is_acknowledged = pusher.push() == 204
            with self.lock:
                now = time.monotonic()
                if is_acknowledged:
                    self.count += 1
                    self.longest, self.last = max(self.longest, now - self.last), now
                else:
                    self.refused += 1
            if not is_acknowledged:
                if self.once:
                    return
                time.sleep(0.02)

    def wait_for(self, more):
        target = self.count + more
        until(f"{more} acknowledged pushes", lambda: self.count >= target)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def missing(cluster, pushers):
    """The users of whom the last acknowledged notification, or a later one, has not been delivered."""
    return [pusher.user for pusher in pushers if cluster.machines.greatest[pusher.user] < pusher.acknowledged]
