"""What the URL of a broker says, and what is said of a wrong one."""

import ssl
from pathlib import Path

import pydantic
import pytest

from understudy.domain.broker_address import InvalidBrokerUrl, parse_broker_url
from understudy.queue.celery.app import create_celery
from understudy.queue.redis_clients import connect
from understudy.settings import Settings


def test_a_plain_server() -> None:
    address = parse_broker_url("redis://:pass%2Fword@valkey.internal/3")
    assert address.hosts == (("valkey.internal", 6379),)
    assert (address.password, address.path, address.is_redis) == ("pass/word", "3", True)
    assert address.celery_url == "redis://:pass%2Fword@valkey.internal:6379/3"
    assert address.celery_ssl is None


def test_an_encrypted_one_is_always_checked(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    address = parse_broker_url(f"rediss://user:pw@[::1]:6380/0?ssl_ca_certs={ca}")
    assert address.hosts == (("::1", 6380),)
    assert address.celery_url == "rediss://user:pw@[::1]:6380/0"
    assert address.celery_ssl == {
        "ssl_ca_certs": str(ca),
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    }
    rabbit = parse_broker_url(f"amqps://user:pw@rabbit.internal/?ssl_ca_certs={ca}")
    assert rabbit.hosts == (("rabbit.internal", 5671),)
    assert rabbit.celery_ssl == {"ca_certs": str(ca), "cert_reqs": ssl.CERT_REQUIRED}


def test_sentinels_stand_in_a_row() -> None:
    url = "sentinel://:pw@one:26379,two/0?master_name=understudy&sentinel_password=other"
    address = parse_broker_url(url)
    assert address.celery_url == "sentinel://:pw@one:26379/0;sentinel://:pw@two:26379/0"
    told = create_celery(url).conf.broker_transport_options
    assert told["master_name"] == "understudy"
    assert told["sentinel_kwargs"]["password"] == "other"
    with connect(url) as client:
        assert [one.connection_pool.connection_kwargs["host"] for one in client.sentinels] == ["one", "two"]  # type: ignore[attr-defined]


def test_a_cluster_of_rabbitmq_and_a_virtual_host_with_a_slash() -> None:
    address = parse_broker_url("amqp://u:p@a,b:5673//team/one")
    assert address.celery_url == "amqp://u:p@a:5672/%2Fteam%2Fone;amqp://u:p@b:5673/%2Fteam%2Fone"
    queue = create_celery("amqp://u:p@a/").amqp.queues["simulations"]
    assert queue.queue_arguments["x-queue-type"] == "quorum"


@pytest.mark.parametrize(
    ("url", "said"),
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
def test_a_wrong_one_is_told_what_would_be_right_and_no_password(url: str, said: str) -> None:
    with pytest.raises(InvalidBrokerUrl) as refused:
        parse_broker_url(url)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    with pytest.raises(pydantic.ValidationError) as told:
        Settings(broker_url=url)
    assert said in str(told.value)
    assert "secret" not in str(told.value)


def test_notices_are_told_by_the_broker_or_by_a_redis_beside_it() -> None:
    assert Settings(broker_url="redis://x/0").notifications_url == "redis://x/0"
    assert Settings(broker_url="amqp://x").notifications_url == ""
    assert Settings(broker_url="amqp://x", notices_url="redis://y/0").notifications_url == "redis://y/0"
    with pytest.raises(pydantic.ValidationError, match="Valkey or Redis URL"):
        Settings(notices_url="amqp://x")


def test_an_address_shows_no_password() -> None:
    assert str(parse_broker_url("redis://me:secret@x/0")) == "redis://x:6379/0"
