"""A receiver of OPA's decision logs, as the protocol has it: POST /logs, a gzipped JSON array.

Written against the protocol alone, with the standard library's gzip and json: what it can read, others can. Prints its port,
then one line for each event. The first message it gets is answered 503, as by a receiver that is just starting.
"""

import gzip
import http.server
import json
import sys

TOKEN = sys.argv[1]
refused = False


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global refused
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not refused:
            refused = True
            return self.answer(503)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(401)
        right = (
            self.path == "/opa/logs"
            and self.headers["Content-Encoding"] == "gzip"
            and self.headers["Content-Type"] == "application/json"
        )
        if not right:
            return self.answer(400)
        events = json.loads(gzip.decompress(body))
        assert isinstance(events, list)
        for event in events:
            print(json.dumps(event), flush=True)
        self.answer(200, b"{}")

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
