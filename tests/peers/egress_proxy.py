"""A forward proxy (PyPI `proxy.py`) on a free port of this machine, which finds every name below `.test` here.

Prints `listening http://127.0.0.1:PORT`, then `connect HOST:PORT` for each tunnel it opens.
With LOGIN set to `user:password`, clients need it (407 without).
"""

from __future__ import annotations

import os

from proxy import Proxy, sleep_loop
from proxy.http.proxy import HttpProxyBasePlugin


class Names(HttpProxyBasePlugin):
    """Resolves names of the tests, and tells which were asked for."""

    def resolve_dns(self, host, port):
        print(f"connect {host}:{port}", flush=True)
        return ("127.0.0.1" if host.endswith(".test") else None), None


def main() -> None:
    words = ["--hostname", "127.0.0.1", "--port", "0", "--num-workers", "1", "--num-acceptors", "1", "--log-level", "e"]
    if login := os.environ.get("LOGIN"):
        words += ["--basic-auth", login]
    with Proxy(words, plugins=[Names]) as running:
        print(f"listening http://127.0.0.1:{running.flags.port}", flush=True)
        sleep_loop(running)


if __name__ == "__main__":
    main()
