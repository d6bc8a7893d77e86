"""The address of a broker: parses its URL into arguments of Celery and of redis-py."""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

#: Schemes, and whether their connections are encrypted.
_REDIS = {"redis": False, "rediss": True}
_SENTINEL = {"sentinel": False, "sentinels": True}
_AMQP = {"amqp": False, "amqps": True}
_ENCRYPTED = _REDIS | _SENTINEL | _AMQP
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379, "amqp": 5672, "amqps": 5671}

#: Options with files for encrypted connections, as redis-py names them.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS = ("master_name", "sentinel_username", "sentinel_password")


class InvalidBrokerUrl(ValueError):
    """The URL names no broker. The text says what is wrong, and contains no password."""


class BrokerAddress(NamedTuple):
    """Hosts, credentials and options of a broker. Its text contains no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    #: Database number, or virtual host.
    path: str
    options: dict[str, str]

    def __repr__(self) -> str:
        hosts = ",".join(f"{bracket_host(host)}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}/{self.path}"

    @property
    def secrets(self) -> set[str]:
        """Returns the passwords, plain and as written in URLs."""
        known = {self.password, self.options.get("sentinel_password")}
        return {form for secret in known if secret for form in (secret, quote(secret, safe=""))}

    @property
    def is_redis(self) -> bool:
        """Whether it is Valkey or Redis, which also carries notifications and counters."""
        return self.scheme not in _AMQP

    @property
    def has_sentinels(self) -> bool:
        """Whether the hosts are Sentinels, which know the server's address."""
        return self.scheme in _SENTINEL

    @property
    def celery_url(self) -> str:
        """Returns Celery's URL with the password, without options (see `celery_ssl`, `celery_sentinel`)."""
        scheme = self.scheme.removesuffix("s") if self.scheme in _SENTINEL else self.scheme
        user = quote(self.username or "", safe="")
        credentials = f"{user}:{quote(self.password, safe='')}@" if self.password is not None else user and f"{user}@"
        # A virtual host may have slashes.
        path = quote(self.path, safe="")
        return ";".join(f"{scheme}://{credentials}{bracket_host(host)}:{port}/{path}" for host, port in self.hosts)

    @property
    def celery_ssl(self) -> dict[str, Any] | None:
        """Returns Celery's `broker_use_ssl`; None: not encrypted."""
        if not _ENCRYPTED[self.scheme]:
            return None
        if self.is_redis:
            return self._redis_ssl()
        files = {name.removeprefix("ssl_"): self.options[name] for name in _FILES if name in self.options}
        return files | {"cert_reqs": ssl.CERT_REQUIRED}

    def celery_sentinel(self, **timeouts: float) -> dict[str, Any]:
        """Returns Celery's transport options for Sentinels; empty without them. `timeouts` as in redis-py."""
        if not self.has_sentinels:
            return {}
        return {
            "master_name": self.options["master_name"],
            "sentinel_kwargs": self.sentinel_arguments() | timeouts,
        }

    def redis_arguments(self) -> dict[str, Any]:
        """Returns redis-py's arguments except the host. Raises InvalidBrokerUrl for RabbitMQ."""
        if not self.is_redis:
            raise InvalidBrokerUrl(f"{self} is not a Valkey or Redis server")
        encrypted = {"ssl": True, **self._redis_ssl()} if _ENCRYPTED[self.scheme] else {}
        return {
            "db": int(self.path or 0),
            "username": self.username,
            "password": self.password,
        } | encrypted

    def _redis_ssl(self) -> dict[str, Any]:
        files = {name: self.options[name] for name in _FILES if name in self.options}
        return files | {"ssl_cert_reqs": "required", "ssl_check_hostname": True}

    def sentinel_arguments(self) -> dict[str, Any]:
        """Returns redis-py's arguments for the Sentinels, except their hosts."""
        credentials = {
            "username": self.options.get("sentinel_username"),
            "password": self.options.get("sentinel_password"),
        }
        return credentials | ({"ssl": True, **self._redis_ssl()} if _ENCRYPTED[self.scheme] else {})


def parse_broker_url(url: str) -> BrokerAddress:
    """Returns the address in a broker's URL. Raises InvalidBrokerUrl.

    Form: `scheme://user:password@host:port/path?option=value`. If the scheme supports several hosts, separate
    them with commas. Write special characters of user and password as %XX.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _ENCRYPTED:
        raise InvalidBrokerUrl(f"a broker's URL begins with one of {_join(_ENCRYPTED)}, then ://")
    if ";" in rest:
        raise InvalidBrokerUrl("write several hosts of a broker as host:port,host:port in one URL")
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    username, has_password, password = credentials.partition(":")
    address = BrokerAddress(
        scheme,
        tuple(_host_and_port(host, scheme) for host in hosts.split(",")),
        unquote(username) or None,
        unquote(password) if has_password else None,
        unquote(path),
        dict(parse_qsl(query, keep_blank_values=True)),
    )
    _check(address)
    return address


def _host_and_port(text: str, scheme: str) -> tuple[str, int]:
    # An IPv6 address has its colons in brackets.
    host, has_port, port = ("", "", "") if text.endswith("]") else text.rpartition(":")
    if not has_port:
        host, port = text, str(_PORTS[scheme])
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidBrokerUrl("the port in a broker's URL must be a number from 1 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


def _check(address: BrokerAddress) -> None:
    scheme = address.scheme
    if len(address.hosts) > 1 and scheme in _REDIS:
        raise InvalidBrokerUrl(f"{scheme}:// takes one host; for several Sentinels use sentinel://")
    if address.is_redis and not (address.path or "0").isdecimal():
        raise InvalidBrokerUrl(f"{scheme}://…/{address.path}: the path must be the number of a database")
    allowed = (_FILES if _ENCRYPTED[scheme] else ()) + (_SENTINEL_OPTIONS if address.has_sentinels else ())
    if unknown := sorted(address.options.keys() - set(allowed)):
        raise InvalidBrokerUrl(f"{scheme}:// takes {_join(allowed) or 'no options'}, not {_join(unknown)}")
    if address.has_sentinels and not address.options.get("master_name"):
        raise InvalidBrokerUrl(f"{scheme}:// needs ?master_name=…, the name of the servers for the Sentinels")
    for name in _FILES:
        if name in address.options and not Path(address.options[name]).is_file():
            raise InvalidBrokerUrl(f"{name}={address.options[name]} in a broker's URL: there is no such file")


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def bracket_host(host: str) -> str:
    """Returns `host` as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
