"""A receiver of webhooks, with faults by path. Prints its port, then a line for each request.

The signature is verified as Standard Webhooks has it, with the standard library's hmac: what docs/approvals.md shows is what runs here.
"""

import base64
import hashlib
import hmac
import http.server
import json
import sys
import threading
import time

SECRET = sys.argv[1].encode()
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
seen = {}
printing = threading.Lock()


def is_genuine(headers, body, secret):
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    given = headers["webhook-signature"].split(" ")
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and any(hmac.compare_digest(expected, one) for one in given)


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = "webhook-signature" in self.headers
        seen[self.path] = seen.get(self.path, 0) + 1
        line = {
            "path": self.path,
            "number": seen[self.path],
            "genuine": signed and is_genuine(self.headers, body, SECRET),
            "altered": signed and is_genuine(self.headers, body + b" ", SECRET),
            "id": self.headers["webhook-id"],
            "type": self.headers["Content-Type"],
            "body": json.loads(body),
        }
        with printing:
            print(json.dumps(line), flush=True)
        if self.path.startswith("/hangs"):
            time.sleep(3600)
        elif self.path.startswith("/closes"):
            self.close_connection = True
        elif self.path.startswith("/down"):
            self.answer(500)
        elif self.path.startswith("/refuses"):
            self.answer(400)
        elif self.path.startswith("/redirects"):
            self.answer(307, {"Location": "/stolen"})
        elif self.path.startswith("/limits") and seen[self.path] == 1:
            self.answer(429, {"Retry-After": "1"})
        else:
            self.answer(200)

    def answer(self, status, headers={}):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Receiver)
server.daemon_threads = True
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
