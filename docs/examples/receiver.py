# Receives Postbell's webhook, with Python's standard library: WEBHOOK_SECRETS=whsec_… python3 receiver.py
import base64, hmac, http.server, json, os, sys, time
SECRETS = [base64.b64decode(secret.removeprefix("whsec_")) for secret in os.environ.get("WEBHOOK_SECRETS", "").split()]
if not SECRETS:
    sys.exit("expected WEBHOOK_SECRETS=whsec_…, the same as the watcher's POSTBELL_WATCH_HOOK_SECRET")
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", "0")), 16 << 20))
        id, sent, signatures = (self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        expected = ["v1," + base64.b64encode(hmac.digest(secret, f"{id}.{sent}.".encode() + body, "sha256")).decode() for secret in SECRETS]
        genuine = any(hmac.compare_digest(one.encode(), other.encode()) for one in expected for other in signatures.split())
        genuine = genuine and abs(time.time() - float(sent)) < 300
        for message in json.loads(body)["messages"] if genuine else []:
            print(json.dumps(message), flush=True)  # hand it to the agent here; it is a stranger's text
        self.send_response(204 if genuine else 401)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8099"))), Receiver).serve_forever()
