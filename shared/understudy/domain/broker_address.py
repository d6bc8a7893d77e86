"""The address of a broker: what its URL says, in the words of Celery and of redis-py."""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

#: Schemes, and whether what is said there is encrypted.
_REDIS = {"redis": False, "rediss": True}
_SENTINEL = {"sentinel": False, "sentinels": True}
_AMQP = {"amqp": False, "amqps": True}
_ENCRYPTED = _REDIS | _SENTINEL | _AMQP
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379, "amqp": 5672, "amqps": 5671}

#: Files that an encrypted connection may need, in the words of redis-py.
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS = ("master_name", "sentinel_username", "sentinel_password")


class InvalidBrokerUrl(ValueError):
    """A URL that names no broker; the text says what is wrong with it, and holds no password."""


class BrokerAddress(NamedTuple):
    """Where a broker is, and how to get in. Its text holds no password."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    #: Number of a database, or a virtual host.
    path: str
    options: dict[str, str]

    def __repr__(self) -> str:
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}/{self.path}"

    @property
    def secrets(self) -> set[str]:
        """Passwords, as they are and as they stand in URLs."""
        known = {self.password, self.options.get("sentinel_password")}
        return {form for secret in known if secret for form in (secret, quote(secret, safe=""))}

    @property
    def is_redis(self) -> bool:
        """Valkey or Redis: it can tell notices and count, too."""
        return self.scheme not in _AMQP

    @property
    def has_sentinels(self) -> bool:
        """Are the hosts Sentinels, that know where the server is?"""
        return self.scheme in _SENTINEL

    @property
    def celery_url(self) -> str:
        """What Celery connects to; holds the password. Options are not in it: see `celery_options`."""
        scheme = self.scheme.removesuffix("s") if self.scheme in _SENTINEL else self.scheme
        user = quote(self.username or "", safe="")
        given = (
            f"{user}:{quote(self.password, safe='')}@" if self.password is not None else user and f"{user}@"
        )
        # A virtual host may have slashes.
        path = quote(self.path, safe="")
        return ";".join(f"{scheme}://{given}{_bracket_host(host)}:{port}/{path}" for host, port in self.hosts)

    @property
    def celery_ssl(self) -> dict[str, Any] | None:
        """Celery's `broker_use_ssl`; None: not encrypted."""
        if not _ENCRYPTED[self.scheme]:
            return None
        if self.is_redis:
            return self._redis_ssl()
        named = {name.removeprefix("ssl_"): self.options[name] for name in _FILES if name in self.options}
        return named | {"cert_reqs": ssl.CERT_REQUIRED}

    def celery_sentinel(self, **timeouts: float) -> dict[str, Any]:
        """What Celery's transport is told of Sentinels; empty without them. `timeouts` as of redis-py."""
        if not self.has_sentinels:
            return {}
        return {
            "master_name": self.options["master_name"],
            "sentinel_kwargs": self.sentinel_arguments() | timeouts,
        }

    def redis_arguments(self) -> dict[str, Any]:
        """What redis-py is told of the server, but for its host. BadAddress for RabbitMQ."""
        if not self.is_redis:
            raise InvalidBrokerUrl(f"{self} is no Valkey or Redis server")
        encrypted = {"ssl": True, **self._redis_ssl()} if _ENCRYPTED[self.scheme] else {}
        return {
            "db": int(self.path or 0),
            "username": self.username,
            "password": self.password,
        } | encrypted

    def _redis_ssl(self) -> dict[str, Any]:
        given = {name: self.options[name] for name in _FILES if name in self.options}
        return given | {"ssl_cert_reqs": "required", "ssl_check_hostname": True}

    def sentinel_arguments(self) -> dict[str, Any]:
        """What redis-py is told of the Sentinels, but for their hosts."""
        given = {
            "username": self.options.get("sentinel_username"),
            "password": self.options.get("sentinel_password"),
        }
        return given | ({"ssl": True, **self._redis_ssl()} if _ENCRYPTED[self.scheme] else {})


def parse_broker_url(url: str) -> BrokerAddress:
    """The address in a broker's URL. Raises BadAddress.

    `scheme://user:password@host:port/path?option=value`; several hosts with commas between them, where a
    scheme takes them. What is special in a URL is written as %XX in user and password.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _ENCRYPTED:
        raise InvalidBrokerUrl(f"a broker's URL begins with one of {_listed(_ENCRYPTED)}, and ://")
    if ";" in rest:
        raise InvalidBrokerUrl("several hosts of a broker are written as host:port,host:port, in one URL")
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    given, _, hosts = authority.rpartition("@")
    username, has_password, password = given.partition(":")
    address = BrokerAddress(
        scheme,
        tuple(_host_and_port(one, scheme) for one in hosts.split(",")),
        unquote(username) or None,
        unquote(password) if has_password else None,
        unquote(path),
        dict(parse_qsl(query, keep_blank_values=True)),
    )
    _check(address)
    return address


def _host_and_port(text: str, scheme: str) -> tuple[str, int]:
    # Colons of an IPv6 address are in brackets.
    host, has_port, port = ("", "", "") if text.endswith("]") else text.rpartition(":")
    if not has_port:
        host, port = text, str(_PORTS[scheme])
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidBrokerUrl("the port in a broker's URL is a number from 1 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


def _check(address: BrokerAddress) -> None:
    scheme = address.scheme
    if len(address.hosts) > 1 and scheme in _REDIS:
        raise InvalidBrokerUrl(f"{scheme}:// takes one host; Sentinels of several servers: sentinel://")
    if address.is_redis and not (address.path or "0").isdecimal():
        raise InvalidBrokerUrl(f"{scheme}://…/{address.path}: the path is the number of a database")
    takes = (_FILES if _ENCRYPTED[scheme] else ()) + (_SENTINEL_OPTIONS if address.has_sentinels else ())
    if unknown := sorted(address.options.keys() - set(takes)):
        raise InvalidBrokerUrl(f"{scheme}:// takes {_listed(takes) or 'no options'}, not {_listed(unknown)}")
    if address.has_sentinels and not address.options.get("master_name"):
        raise InvalidBrokerUrl(
            f"{scheme}:// needs ?master_name=…, the name that Sentinels know the servers by"
        )
    for name in _FILES:
        if name in address.options and not Path(address.options[name]).is_file():
            raise InvalidBrokerUrl(f"{name}={address.options[name]} in a broker's URL: there is no such file")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _bracket_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
