"""The URL of a broker: its parts, and the errors of a wrong one."""

import ssl
from pathlib import Path
from typing import Any

import pydantic
import pytest

from understudy.domain.broker_address import InvalidBrokerUrl, parse_broker_url
from understudy.queue.celery.app import create_celery
from understudy.queue.redis_clients import connect
from understudy.settings import Settings


@pytest.mark.parametrize(
    ("url", "hosts", "celery_url"),
    [
        ("redis://:a%2Fb@valkey/3", [("valkey", 6379)], "redis://:a%2Fb@valkey:6379/3"),
        ("rediss://user:pw@[::1]:6380/0", [("::1", 6380)], "rediss://user:pw@[::1]:6380/0"),
        ("amqps://user:pw@rabbit/", [("rabbit", 5671)], "amqps://user:pw@rabbit:5671/"),
        (
            "amqp://u:p@a,b:5673//team/one",
            [("a", 5672), ("b", 5673)],
            "amqp://u:p@a:5672/%2Fteam%2Fone;amqp://u:p@b:5673/%2Fteam%2Fone",
        ),
    ],
)
def test_a_url_names_hosts_and_becomes_a_url_of_celery(url: str, hosts: list[Any], celery_url: str) -> None:
    address = parse_broker_url(url)
    assert (list(address.hosts), address.celery_url) == (hosts, celery_url)


def test_parts_of_an_address_are_unquoted_and_shown_without_the_password() -> None:
    address = parse_broker_url("redis://me:pass%2Fword@x/3")
    assert (address.password, address.path, address.is_redis, address.celery_ssl) == ("pass/word", "3", True, None)
    assert str(address) == "redis://x:6379/3"


def test_tls_always_checks_the_server(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    checks = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert parse_broker_url(f"rediss://x/0?ssl_ca_certs={ca}").celery_ssl == checks | {"ssl_ca_certs": str(ca)}
    rabbit = parse_broker_url(f"amqps://x/?ssl_ca_certs={ca}")
    assert rabbit.celery_ssl == {"ca_certs": str(ca), "cert_reqs": ssl.CERT_REQUIRED}


def test_sentinels_are_options_of_celery_and_of_the_redis_client() -> None:
    url = "sentinel://:pw@one:26379,two/0?master_name=understudy&sentinel_password=other"
    address = parse_broker_url(url)
    assert address.celery_url == "sentinel://:pw@one:26379/0;sentinel://:pw@two:26379/0"
    options = create_celery(url).conf.broker_transport_options
    assert (options["master_name"], options["sentinel_kwargs"]["password"]) == ("understudy", "other")
    with connect(url) as client:
        assert [one.connection_pool.connection_kwargs["host"] for one in client.sentinels] == ["one", "two"]  # type: ignore[attr-defined]


def test_queues_of_rabbitmq_are_quorum_queues() -> None:
    queue = create_celery("amqp://u:p@a/").amqp.queues["simulations"]
    assert queue.queue_arguments["x-queue-type"] == "quorum"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("valkey:secret@x", "begins with one of redis, rediss"),
        ("kafka://:secret@x", "begins with one of redis, rediss"),
        ("redis://:secret@x:seven/0", "a number from 1 to 65535"),
        ("redis://:secret@x:70000/0", "a number from 1 to 65535"),
        ("redis://:secret@x/first", "the number of a database"),
        ("redis://:secret@x,y/0", "takes one host"),
        ("redis://:secret@x/0?ssl_ca_certs=/ca.pem", "redis:// takes no options, not ssl_ca_certs"),
        ("rediss://:secret@x/0?ca=/ca.pem", "takes ssl_ca_certs, ssl_certfile, ssl_keyfile, not ca"),
        ("rediss://:secret@x/0?ssl_ca_certs=/nowhere/ca.pem", "there is no such file"),
        ("sentinel://:secret@x/0", "needs ?master_name="),
        ("sentinel://:secret@x;sentinel://y/0", "in one URL"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, error: str) -> None:
    with pytest.raises(InvalidBrokerUrl) as refused:
        parse_broker_url(url)
    with pytest.raises(pydantic.ValidationError) as refused_setting:
        Settings(broker_url=url)
    messages = str(refused.value), str(refused_setting.value)
    assert [error in message and "secret" not in message for message in messages] == [True, True], messages


def test_notifications_need_redis_as_the_broker_or_beside_it() -> None:
    assert Settings(broker_url="redis://x/0").notifications_url == "redis://x/0"
    assert Settings(broker_url="amqp://x").notifications_url == ""
    assert Settings(broker_url="amqp://x", notices_url="redis://y/0").notifications_url == "redis://y/0"
    with pytest.raises(pydantic.ValidationError, match="Valkey or Redis URL"):
        Settings(notices_url="amqp://x")
