"""Google's own Python clients against the sandbox.

The sandbox is started by the command in POSTBELL_SANDBOX_COMMAND, which prints one line of JSON and serves until it is told
to stop.
"""

import json
import os
import queue
import shlex
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

COMMAND = os.environ.get("POSTBELL_SANDBOX_COMMAND", "cargo run -q -p postbell -- sandbox --json")
PROJECT = "sandbox-project"
GMAIL = "serviceAccount:gmail-api-push@system.gserviceaccount.com"


class Sandbox:
    def __init__(self, url):
        self.url = url
        self.made = 0

    def post(self, path, **arguments):
        answer = requests.post(self.url + path, timeout=30, **arguments)
        assert answer.ok, (path, answer.status_code, answer.text)
        return answer

    def name(self, kind):
        """A name that no other test uses."""
        self.made += 1
        return f"{kind}-{self.made}"

    def deliver(self, email, mail):
        return self.post(f"/sandbox/mailboxes/{email}/mails", data=mail).json()

    def credentials(self, email, **of):
        """Credentials for a mailbox, of the client of a project, or of that of the sandbox."""
        granted = self.post(f"/sandbox/mailboxes/{email}/grant", params=of).json()
        assert granted.pop("type") == "authorized_user"
        return Credentials(token=None, token_uri=self.url + "/token", **granted)

    def client(self, name, email, version="v1"):
        return self.client_of(name, self.credentials(email), version)

    def client_of(self, name, credentials, version="v1"):
        return build(
            name,
            version,
            credentials=credentials,
            static_discovery=True,
            client_options={"api_endpoint": self.url},
        )

    def topic(self, pubsub, publishers=(GMAIL,), project=PROJECT):
        """A new topic, to which Gmail may publish unless told otherwise."""
        topic = f"projects/{project}/topics/{self.name('topic')}"
        pubsub.projects().topics().create(name=topic, body={}).execute()
        binding = {"role": "roles/pubsub.publisher", "members": list(publishers)}
        body = {"policy": {"bindings": [binding]}}
        pubsub.projects().topics().setIamPolicy(resource=topic, body=body).execute()
        return topic


@pytest.fixture(scope="session")
def sandbox():
    process = subprocess.Popen(shlex.split(COMMAND), stdout=subprocess.PIPE, text=True)
    try:
        yield Sandbox(json.loads(process.stdout.readline())["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.fixture(autouse=True)
def no_faults(sandbox):
    yield
    requests.delete(sandbox.url + "/sandbox/faults", timeout=30)
    sandbox.post("/sandbox/lag", json={})
    sandbox.post("/sandbox/permissions", json={"denied": []})


@pytest.fixture
def email(sandbox):
    return f"{sandbox.name('user')}@example.com"


@pytest.fixture
def gmail(sandbox, email):
    return sandbox.client("gmail", email).users()


@pytest.fixture
def pubsub(sandbox, email):
    return sandbox.client("pubsub", email)


class Endpoint:
    """Takes pushes, and answers as it is told: 204 unless something else is queued."""

    def __init__(self):
        self.pushes = queue.Queue()
        self.answers = queue.Queue()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = 204 if endpoint.answers.empty() else endpoint.answers.get()
                self.send_response(answer)
                self.send_header("content-length", "0")
                self.end_headers()
                endpoint.pushes.put((self.headers, json.loads(body)))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/push"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        return self.pushes.get(timeout=30)


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
