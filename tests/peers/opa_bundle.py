"""Builds a bundle as OPA documents it, with Python's tarfile, and signs it with PyJWT when a key is given.

    opa_bundle.py FOLDER OUT [--key PEM --algorithm ES256 [--kid ID] [--scope SCOPE]] [--skip NAME]...

A second implementation of the format beside Keepgate's own: the two share no line. `--skip` leaves a file out of the
signature, which makes it a wrong one.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pathlib
import tarfile

import jwt
import yaml

STRUCTURED = {"data.json", "data.yaml", ".manifest"}


def content(path: pathlib.Path) -> bytes:
    """What is hashed: the canonical form of structured files, the bytes of all others."""
    raw = path.read_bytes()
    if path.name not in STRUCTURED:
        return raw
    value = yaml.safe_load(raw) if path.suffix == ".yaml" else json.loads(raw)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path)
    parser.add_argument("--algorithm", default="RS256")
    parser.add_argument("--kid")
    parser.add_argument("--scope")
    parser.add_argument("--hash", default="SHA-256")
    parser.add_argument("--skip", action="append", default=[])
    wish = parser.parse_args()

    names = sorted(path.relative_to(wish.folder).as_posix() for path in wish.folder.rglob("*") if path.is_file())
    digest = wish.hash.replace("-", "").lower()
    files = [
        {"name": name, "hash": hashlib.new(digest, content(wish.folder / name)).hexdigest(), "algorithm": wish.hash}
        for name in names
        if name not in wish.skip
    ]
    new = wish.out.with_suffix(".new")
    with tarfile.open(new, "w:gz") as tar:
        for name in names:
            tar.add(wish.folder / name, arcname=f"./{name}")
        if wish.key:
            payload = {"files": files}
            if wish.scope:
                payload["scope"] = wish.scope
            key = wish.key.read_bytes()
            key = key.rstrip(b"\n") if wish.algorithm.startswith("HS") else key
            headers = {"kid": wish.kid} if wish.kid else {}
            token = jwt.encode(payload, key, wish.algorithm, headers=headers)
            signatures = json.dumps({"signatures": [token]}).encode()
            # OPA writes a slash before its names, tar a point and a slash.
            info = tarfile.TarInfo("/.signatures.json")
            info.size = len(signatures)
            tar.addfile(info, io.BytesIO(signatures))
    new.rename(wish.out)


main()
