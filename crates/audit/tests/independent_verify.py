#!/usr/bin/env python3
"""Verifies a log from the texts of the specifications alone: RFC 6962 for the tree, C2SP tlog-tiles for the files, C2SP
tlog-checkpoint and signed-note for the tree head. Shares nothing with Keepgate.

    independent_verify.py <directory> <file with the public key>

Needs Python 3.9. The signature is checked with the `cryptography` package if that is installed, and with the arithmetic of
RFC 8032 below if not. Exit code: 0 verified, 1 not.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys


class Wrong(Exception):
    pass


def sha256(data):
    return hashlib.sha256(data).digest()


def tree_hash(leaves):
    """RFC 6962 section 2.1, over hashes of leaves."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:]))


def index_path(number):
    parts = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        parts.insert(0, f"x{number % 1000:03}")
    return "/".join(parts)


def read_tile(directory, kind, number, width):
    name = f"tile/{kind}/{index_path(number)}"
    if width < 256:
        name += f".p/{width}"
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise Wrong(f"{name}: {error.strerror}") from error


def ed25519_verify(public, message, signature):
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return rfc8032_verify(public, message, signature), "RFC 8032 arithmetic"
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True, "cryptography"
    except InvalidSignature:
        return False, "cryptography"


PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME


def point_add(first, second):
    a = (first[1] - first[0]) * (second[1] - second[0]) % PRIME
    b = (first[1] + first[0]) * (second[1] + second[0]) % PRIME
    c = 2 * first[3] * second[3] * CURVE_D % PRIME
    d = 2 * first[2] * second[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME)


def point_multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def point_decode(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if (x * x - square) % PRIME or y >= PRIME:
        return None
    if x & 1 != sign:
        x = PRIME - x
    return (x, y, 1, x * y % PRIME)


def rfc8032_verify(public, message, signature):
    base = point_decode(bytes([0x58]) + bytes([0x66] * 31))
    key, commitment = point_decode(public), point_decode(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left = point_multiply(scalar, base)
    right = point_add(commitment, point_multiply(challenge, key))
    same_x = (left[0] * right[2] - right[0] * left[2]) % PRIME == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % PRIME == 0


def open_checkpoint(note, vkey):
    name, key_id, key = vkey.strip().split("+", 2)
    key = base64.b64decode(key, validate=True)
    if key[:1] != b"\x01" or len(key) != 33:
        raise Wrong("the public key is not Ed25519")
    expected_id = sha256(name.encode() + b"\n" + key)[:4]
    if expected_id.hex() != key_id:
        raise Wrong("the public key's id is not its own")
    text, separator, signatures = note.partition(b"\n\n")
    if not separator:
        raise Wrong("checkpoint: not a signed note")
    text += b"\n"
    for line in signatures.decode("utf-8", "replace").splitlines():
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        if dash != "\u2014" or signer != name:
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise Wrong("checkpoint: the signature is not base64") from error
        if signature[:4] != expected_id:
            continue
        good, how = ed25519_verify(key[1:], text, signature[4:])
        if not good:
            raise Wrong("checkpoint: the signature is wrong")
        lines = text.decode().split("\n")
        if lines[0] != name:
            raise Wrong("checkpoint: of another log")
        return int(lines[1]), base64.b64decode(lines[2], validate=True), how
    raise Wrong("checkpoint: not signed by this key")


def read_leaves(directory, size):
    leaves, announced = [], set()
    for bundle in range((size + 255) // 256):
        width = min(256, size - bundle * 256)
        data = read_tile(directory, "entries", bundle, width)
        for _ in range(width):
            if len(data) < 2:
                raise Wrong(f"record {len(leaves)}: missing")
            (length,) = struct.unpack(">H", data[:2])
            record, data = data[2:2 + length], data[2 + length:]
            check_record(len(leaves), record, announced)
            leaves.append(sha256(b"\x00" + record))
        if data:
            raise Wrong(f"bundle {bundle}: bytes too many")
    return leaves


def check_record(index, record, announced):
    try:
        value = json.loads(record)
    except ValueError as error:
        raise Wrong(f"record {index}: not JSON") from error
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if canonical != record:
        raise Wrong(f"record {index}: not canonical")
    if value["seq"] != index:
        raise Wrong(f"record {index}: numbered {value['seq']}")
    if value["kind"] == "call.intent":
        announced.add(value["decision_id"])
    if value["kind"] in ("call.open", "call.outcome") and value["decision_id"] not in announced:
        raise Wrong(f"record {index}: no intent")


def check_tiles(directory, leaves):
    hashes, level = leaves, 0
    while hashes:
        for tile in range((len(hashes) + 255) // 256):
            part = hashes[tile * 256:(tile + 1) * 256]
            if read_tile(directory, level, tile, len(part)) != b"".join(part):
                raise Wrong(f"tile {level}/{tile}: not what the records give")
        full = len(hashes) // 256
        hashes = [tree_hash(hashes[tile * 256:(tile + 1) * 256]) for tile in range(full)]
        level += 1
    return level


def main(directory, key_file):
    directory = pathlib.Path(directory)
    note = (directory / "checkpoint").read_bytes()
    size, root, how = open_checkpoint(note, pathlib.Path(key_file).read_text())
    leaves = read_leaves(directory, size)
    if tree_hash(leaves) != root:
        raise Wrong("checkpoint: the records give another root")
    levels = check_tiles(directory, leaves)
    print(f"verified {size} records, {levels} levels of tiles, signature by {how}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except (Wrong, OSError, KeyError, UnicodeDecodeError, ValueError) as error:
        print(f"NOT verified: {error}")
        sys.exit(1)
