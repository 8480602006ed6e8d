"""The receivers that docs/bots.md shows, with requests that are signed here and with those of `postbell watch`.

$POSTBELL is the program.
"""

import base64
import hmac
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

HERE = Path(__file__).parent
POSTBELL = os.environ.get("POSTBELL", "postbell")
OLD, NEW, FOREIGN = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
MAIL = b'{"messages":[{"id":"1","subject":"hi"}]}'
RECEIVERS = {"receiver.py": ["python3"], "receiver.mjs": ["node"]}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Receiver:
    """A receiver that runs, and the mails that it has printed."""

    def __init__(self, name, secrets):
        port = free_port()
        variables = os.environ | {"PORT": str(port), "WEBHOOK_SECRETS": secrets}
        command = [*RECEIVERS[name], str(HERE / name)]
        self.process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = f"http://127.0.0.1:{port}"
        self.mails = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        until(lambda: self.post().status_code == 401)

    def read(self):
        for line in self.process.stdout:
            self.mails.put(json.loads(line))

    def post(self, body=b"{}", **headers):
        return requests.post(self.url, data=body, headers={f"webhook-{name}": text for name, text in headers.items()}, timeout=30)

    def stop(self):
        self.process.kill()
        self.process.wait()


def until(succeeds):
    """Waits until a call neither fails nor returns a false value; a test that waits for more than a minute has failed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if succeeds():
                return
        except (OSError, requests.RequestException):
            pass
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.02)


@pytest.fixture(params=RECEIVERS)
def start(request):
    started = []

    def starter(secrets):
        started.append(Receiver(request.param, secrets))
        return started[-1]

    yield starter
    for receiver in started:
        receiver.stop()


def signed(body, *secrets, age=0, id="msg_1"):
    """The headers with which Standard Webhooks signs a body, `age` seconds ago."""
    timestamp = str(int(time.time()) - age)
    text = f"{id}.{timestamp}.".encode() + body
    signatures = (hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), text, "sha256") for secret in secrets)
    signature = " ".join("v1," + base64.b64encode(one).decode() for one in signatures)
    return {"id": id, "timestamp": timestamp, "signature": signature}


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_receiver_without_secrets_says_what_it_expects(name):
    variables = {key: value for key, value in os.environ.items() if key != "WEBHOOK_SECRETS"}
    ended = subprocess.run([*RECEIVERS[name], str(HERE / name)], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("expected WEBHOOK_SECRETS=whsec_…") and ended.stderr.count("\n") == 1


def test_a_signed_request_is_accepted(start):
    receiver = start(NEW)
    assert receiver.post(MAIL, **signed(MAIL, NEW)).status_code == 204
    assert receiver.mails.get(timeout=60) == {"id": "1", "subject": "hi"}


def test_both_secrets_of_a_rotation_are_accepted(start):
    both = signed(MAIL, NEW, OLD)
    for secrets in (OLD, NEW, f"{NEW} {OLD}\n"):
        assert start(secrets).post(MAIL, **both).status_code == 204
    receiver = start(f"{NEW} {OLD}")
    for secret in (OLD, NEW):
        assert receiver.post(MAIL, **signed(MAIL, secret)).status_code == 204


def test_a_request_that_is_forged_or_old_is_refused_and_the_receiver_goes_on(start):
    receiver = start(NEW)
    good = signed(MAIL, NEW)
    forged = [
        {},
        signed(MAIL, FOREIGN),
        signed(MAIL, NEW, age=301),
        signed(MAIL, NEW, age=-301),
        good | {"id": "msg_2"},
        good | {"timestamp": str(int(good["timestamp"]) + 1)},
        good | {"timestamp": "9" * 400},
        good | {"timestamp": "now"},
        good | {"signature": good["signature"].removeprefix("v1,")},
        good | {"signature": good["signature"].replace("v1,", "v2,")},
        good | {"signature": good["signature"][:-2]},
        good | {"signature": "v1,ü".encode()},
        good | {"signature": "v1,"},
        {name: text for name, text in good.items() if name != "timestamp"},
    ]
    for headers in forged:
        assert receiver.post(MAIL, **headers).status_code == 401, headers
    assert receiver.post(MAIL.replace(b"hi", b"ho"), **good).status_code == 401
    with socket.create_connection(receiver.url.removeprefix("http://").split(":")) as broken:
        broken.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{}")
    assert receiver.mails.empty()
    assert receiver.post(MAIL, **good).status_code == 204


def test_an_empty_secret_signs_nothing(start):
    receiver = start(f"{NEW} ")
    assert receiver.post(MAIL, **signed(MAIL, "")).status_code == 401


def test_the_mail_of_a_watcher_is_accepted(start, sandbox):
    receiver = start(OLD)
    with sandbox.watcher(receiver.url, f"{NEW} {OLD}"):
        id = sandbox.deliver()
        mail = receiver.mails.get(timeout=60)
    assert mail["id"] == id and mail["subject"] == "Invoice 4711" and mail["body"].strip() == "Pay by Friday."


def test_the_doctor_signs_its_test(start, sandbox):
    receiver = start(NEW)
    assert sandbox.doctor(receiver.url, POSTBELL_WATCH_HOOK_SECRET=NEW)["state"] == "ok"
    assert receiver.mails.get(timeout=60)["subject"] == "Postbell test"
    assert sandbox.doctor(receiver.url)["state"] == "unknown"
    assert sandbox.doctor(receiver.url, POSTBELL_WATCH_HOOK_SECRET=FOREIGN)["state"] == "failed"


class Sandbox:
    """A stand-in for Gmail with a watched mailbox."""

    def __init__(self, folder):
        self.folder = folder
        self.variables = os.environ | {"HOME": str(folder)}
        config = folder / "postbell.toml"
        self.process = subprocess.Popen([POSTBELL, "sandbox"], stdout=config.open("w"), cwd=folder)
        until(lambda: "service_usage_url" in config.read_text())
        self.url = re.search('^gmail_url = "(.*)"', config.read_text(), re.MULTILINE)[1] + "/sandbox"
        (folder / "google.json").write_bytes(self.post("/mailboxes/you@example.com/grant"))
        self.post("/topics/gmail")
        self.watch("start", "--topic", "projects/sandbox-project/topics/gmail").wait(timeout=60)

    def post(self, path, body=b""):
        answer = requests.post(self.url + path, data=body, timeout=30)
        assert answer.ok, (path, answer.text)
        return answer.content

    def deliver(self):
        mail = b"From: Ann <ann@example.org>\nSubject: Invoice 4711\n\nPay by Friday."
        return json.loads(self.post("/mailboxes/you@example.com/mails", mail))["id"]

    def watch(self, command, *options, **variables):
        account = ["--account", "you@example.com", "--credentials", "google.json"]
        return subprocess.Popen([POSTBELL, "watch", command, *account, *options], env=self.variables | variables, cwd=self.folder)

    def doctor(self, hook_url, **variables):
        """What `postbell doctor` finds out about a webhook."""
        command = [POSTBELL, "doctor", "--json", "--hook-url", hook_url]
        done = subprocess.run(command, env=self.variables | variables, cwd=self.folder, stdout=subprocess.PIPE, text=True, timeout=60)
        return next(hop for hop in json.loads(done.stdout)["hops"] if hop["hop"] == "hook")

    def watcher(self, hook_url, secrets):
        subscription = "projects/sandbox-project/subscriptions/gmail-pull"
        options = ["--subscription", subscription, "--hook-url", hook_url, "--include-body"]
        return Stopped(self.watch("pull", *options, POSTBELL_WATCH_HOOK_SECRET=secrets))


class Stopped:
    """A process that is stopped at the end of a block."""

    def __init__(self, process):
        self.process = process

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
    with Stopped(sandbox.process):
        yield sandbox


@pytest.mark.parametrize(
    ("name", "page"),
    [(name, "bots.md") for name in RECEIVERS] + [("hermes.yaml", "hermes.md"), ("hermes-mail.py", "hermes.md")],
)
def test_the_document_shows_the_file_as_it_is(name, page):
    assert (HERE / name).read_text() in (HERE.parent / page).read_text()
