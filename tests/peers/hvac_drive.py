"""Drives PyPI `hvac` against a vault: `hvac_drive.py ADDRESS everything NAMESPACE ROLE_ID SECRET_ID` or `.. read NAMESPACE`."""

from __future__ import annotations

import sys

import hvac


def everything(address: str, namespace: str, role: str, secret: str) -> None:
    """Each request the gateway makes, and those that put in what it reads."""
    client = hvac.Client(url=address, namespace=namespace or None)
    assert not client.sys.is_sealed()
    login = client.auth.approle.login(role_id=role, secret_id=secret)
    assert login["auth"]["renewable"] and login["auth"]["lease_duration"] >= 600
    assert client.is_authenticated()
    assert client.auth.token.renew_self()["auth"]["client_token"] == client.token

    first = client.secrets.kv.v2.create_or_update_secret("mcp/crm", secret={"token": "one"})["data"]["version"]
    client.secrets.kv.v2.create_or_update_secret("mcp/crm", secret={"token": "two"})
    read = client.secrets.kv.v2.read_secret_version("mcp/crm", raise_on_deleted_version=True)
    assert read["data"]["data"] == {"token": "two"} and read["data"]["metadata"]["version"] == first + 1
    client.secrets.kv.v1.create_or_update_secret("crm", secret={"token": "old"}, mount_point="kv")
    read = client.secrets.kv.v1.read_secret("crm", mount_point="kv")
    assert read["data"] == {"token": "old"} and read["lease_duration"] > 0
    try:
        client.secrets.kv.v2.read_secret_version("absent", raise_on_deleted_version=True)
        raise AssertionError("an absent secret was read")
    except hvac.exceptions.InvalidPath:
        pass

    issued = client.secrets.database.generate_credentials("crm")
    lease = issued["lease_id"]
    assert issued["data"]["password"] and issued["renewable"]
    assert client.sys.read_lease(lease)["data"]["ttl"] > 0
    assert client.sys.renew_lease(lease)["lease_id"] == lease
    client.sys.revoke_lease(lease)
    try:
        client.sys.read_lease(lease)
        raise AssertionError("a revoked lease was found")
    except hvac.exceptions.InvalidRequest:
        pass
    client.auth.token.revoke_self()
    try:
        stale = hvac.Client(url=address, namespace=namespace or None, token=login["auth"]["client_token"])
        stale.secrets.kv.v2.read_secret_version("mcp/crm", raise_on_deleted_version=True)
        raise AssertionError("a revoked token was taken")
    except hvac.exceptions.Forbidden:
        pass
    print("all as it should be")


def read(address: str, namespace: str) -> None:
    """One read; prints the exception."""
    client = hvac.Client(url=address, namespace=namespace or None, token="root-token")
    try:
        client.secrets.kv.v2.read_secret_version("mcp/crm", raise_on_deleted_version=True)
    except hvac.exceptions.VaultError as error:
        print(type(error).__name__)


{"everything": everything, "read": read}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
