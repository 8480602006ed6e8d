"""A bot's gateway for deploy/test/proxies: PORT HOOKS. It writes each webhook call into the file HOOKS, and repeats what a WebSocket sends."""

import base64
import hashlib
import http.server
import pathlib
import sys

port, hooks = int(sys.argv[1]), pathlib.Path(sys.argv[2])
hooks.touch()


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("upgrade") == "websocket":
            return self.repeat_frames()
        self.answer(200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with hooks.open("ab") as file:
            file.write(body + b"\n")
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def repeat_frames(self):
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while (head := self.rfile.read(2)) and head[0] == 0x81:
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(head[1] & 0x7F)))
            self.wfile.write(bytes([0x81, len(text)]) + text)
            self.wfile.flush()
        self.close_connection = True


http.server.ThreadingHTTPServer(("127.0.0.1", port), Gateway).serve_forever()
