"""Valkey and Redis as in production: with a password, TLS, a replica and a Sentinel."""

import contextlib
import datetime
import ipaddress
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import ROOT, free_port, wait_until
from understudy.deploy.broker import find_server

#: Unlike the server of the wheel, this one of Debian's packages has TLS.
_UNPACKED = ROOT / "build" / "redis"
WHY_NOT = "no server has TLS; on Debian, `make redis` downloads one"


def tls_can_be_had() -> bool:
    """Was a server with TLS downloaded?"""
    return (_UNPACKED / "usr/bin/redis-server").exists()


class Authority:
    """A certificate authority of one test, for 127.0.0.1 or another name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA {secrets.token_hex(4)}")])
        self.file = folder / f"ca-{secrets.token_hex(4)}.pem"
        certificate = self._certificate(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        signed = certificate.sign(self._key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Returns the files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        try:
            known: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            known = x509.DNSName(name)
        signed = (
            self._certificate(subject, key)
            .add_extension(x509.SubjectAlternativeName([known]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
        files = tuple(self._folder / f"{name}-{secrets.token_hex(4)}.{kind}" for kind in ("pem", "key"))
        files[0].write_bytes(signed.public_bytes(pem))
        files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted))
        return files[0], files[1]

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )


class ValkeyProcess:
    """A server with its own configuration on loopback; ends with the block."""

    def __init__(self, *lines: str, port: int = 0, tls: bool = False, sentinel: bool = False) -> None:
        """`lines` of its configuration, without its port."""
        self.port = port or free_port()
        self._lines = lines
        self._tls = tls
        self._sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="understudy-valkey-"))
        ports = ("port 0", f"tls-port {self.port}") if self._tls else (f"port {self.port}",)
        # A Sentinel writes to this file.
        configuration = self._folder / "server.conf"
        configuration.write_text("\n".join(("bind 127.0.0.1", *ports, 'logfile ""', *self._lines, "")))
        server = _UNPACKED / "usr/bin/redis-server" if self._tls else find_server()
        (libraries,) = _UNPACKED.glob("usr/lib/*-linux-gnu") if self._tls else (ROOT,)
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(server), str(configuration), *(("--sentinel",) if self._sentinel else ())],
                cwd=self._folder,
                env=os.environ | ({"LD_LIBRARY_PATH": str(libraries)} if self._tls else {}),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._accepts, 30, "the server accepts connections")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Ends it as a power failure does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _accepts(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "log").read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False


class SentinelSetup:
    """A server with a replica, and a Sentinel that promotes the replica when the server is lost."""

    def __init__(self, server: ValkeyProcess, replica: ValkeyProcess, sentinel: ValkeyProcess) -> None:
        self.server = server
        self.replica = replica
        self.sentinel = sentinel
        self.password = ""
        self.sentinel_password = ""

    @property
    def url(self) -> str:
        return (
            f"sentinel://:{self.password}@127.0.0.1:{self.sentinel.port}/0"
            f"?master_name=understudy&sentinel_password={self.sentinel_password}"
        )

    def named(self) -> int:
        """Returns the port of the server that the Sentinel names."""
        asked = redis.Redis(port=self.sentinel.port, password=self.sentinel_password, decode_responses=True)
        with asked:
            return int(asked.sentinel_get_master_addr_by_name("understudy")[1])


@contextlib.contextmanager
def sentinel_setup() -> Iterator[SentinelSetup]:
    """Yields all three once the Sentinel knows the replica."""
    password, other = secrets.token_hex(12), secrets.token_hex(12)
    known = (
        f"requirepass {password}",
        f"masterauth {password}",
        "appendonly yes",
        "repl-diskless-sync-delay 0",
    )
    with contextlib.ExitStack() as running:
        server = running.enter_context(ValkeyProcess(*known))
        replica = running.enter_context(ValkeyProcess(*known, f"replicaof 127.0.0.1 {server.port}"))
        sentinel = running.enter_context(
            ValkeyProcess(
                f"requirepass {other}",
                f"sentinel monitor understudy 127.0.0.1 {server.port} 1",
                f"sentinel auth-pass understudy {password}",
                "sentinel down-after-milliseconds understudy 1000",
                "sentinel failover-timeout understudy 6000",
                sentinel=True,
            )
        )
        made = SentinelSetup(server, replica, sentinel)
        made.password, made.sentinel_password = password, other
        with redis.Redis(port=sentinel.port, password=other, decode_responses=True) as asked:
            # Otherwise there is no replica to promote.
            wait_until(lambda: asked.sentinel_master("understudy")["num-slaves"] == 1, what="the replica is known")
            wait_until(
                lambda: asked.sentinel_slaves("understudy")[0]["master-link-status"] == "ok",
                what="the replica is in sync",
            )
        yield made
