# Stands in for a language model in the recipes beside it: answers as OpenAI's chat completions do, and prints each request.
import http.server, json, os
class Model(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("application/json", json.dumps({"object": "list", "data": [{"id": "stub", "object": "model"}]}))
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print(json.dumps(request), flush=True)
        base = {"id": "1", "created": 0, "model": "stub"}
        choice = {"index": 0, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        text = {"role": "assistant", "content": "I have read the mail."}
        if request.get("stream"):
            parts = [{"choices": [choice | {"finish_reason": None, "delta": text}]}, {"choices": [choice | {"delta": {}}], "usage": usage}]
            lines = [json.dumps(base | {"object": "chat.completion.chunk"} | part) for part in parts] + ["[DONE]"]
            self.answer("text/event-stream", "".join(f"data: {line}\n\n" for line in lines))
        else:
            self.answer("application/json", json.dumps(base | {"object": "chat.completion", "choices": [choice | {"message": text}], "usage": usage}))
    def answer(self, kind, text):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Model).serve_forever()
