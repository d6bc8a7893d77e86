"""Every setting, in one place: built in entry points, passed down, read from `UNDERSTUDY_…` variables."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from understudy.domain.broker_address import parse_broker_url
from understudy.faults import parse


class Settings(BaseSettings):
    """Settings of all parts. Durations are in seconds, sizes in the unit their name says."""

    model_config = SettingsConfigDict(
        env_prefix="UNDERSTUDY_",
        extra="forbid",
        frozen=True,
        # URLs hold passwords.
        hide_input_in_errors=True,
    )

    #: Where `up` keeps the store, the broker's file, tokens and logs; where the CLI looks for its token.
    data_dir: Path = Path(".understudy")
    #: SQLAlchemy URL of the store. Empty: SQLite in `data_dir`.
    database_url: str = ""
    #: Where messages go: Valkey or Redis, with or without Sentinels, or RabbitMQ (see docs/brokers.md).
    broker_url: str = "redis://127.0.0.1:6379/0"
    #: Valkey or Redis for notices and for the caps on language models. Empty: the broker, if it is one.
    notices_url: str = ""

    heartbeat_interval_s: float = Field(3, gt=0)
    lease_ttl_s: float = Field(9, gt=0)
    sweep_interval_s: float = Field(1, gt=0)
    #: A run message this old that is not in its queue any more is taken for lost and published again.
    republish_after_s: float = Field(3, gt=0)
    #: After this long without word from the worker, the sweeper records that a cancelled run stopped.
    stop_grace_s: float = Field(30, gt=0)
    #: How long steps in flight may go on when a worker is told to go.
    drain_grace_s: float = Field(5, ge=0)
    #: Losses in a row, without an interaction in between, after which a participant fails: it is taken up
    #: again after the first, runs alone after the second, and fails at the third or later.
    max_attempts: int = Field(3, ge=3)
    #: A step that keeps its whole process busy for so long fails, and the process is started anew.
    loop_stall_s: float = Field(10, gt=0)
    #: A worker that has grown beyond this gives its participants back and is started anew; 0: no limit.
    max_memory_mb: int = Field(1024, ge=0)

    #: Most `additional_steps` of one extend.
    max_additional_steps: int = Field(100, ge=1)
    max_wait_s: float = Field(3600, gt=0)
    max_participants_per_run: int = Field(10_000, ge=1)
    #: Streams of events that an API process keeps open at a time.
    max_event_streams: int = Field(250, ge=1)
    #: Origins of web pages that may talk to `/mcp` besides those of this machine, with commas between them.
    allowed_origins: str = ""
    #: Where a worker or sweeper shows its metrics; 0: a free port, told in its log. The API shows its own at
    #: `/metrics`. Several processes of one machine need a port each.
    metrics_port: int | None = Field(None, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    #: Lines of JSON, or readable ones; `auto`: readable on a terminal only.
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: Where traces are sent, by OTLP over HTTP: `http://collector:4318`. Empty: what the variables of
    #: OpenTelemetry say (`OTEL_EXPORTER_OTLP_ENDPOINT`), else nowhere. Needs `understudy[traces]`.
    traces_endpoint: str = ""
    #: For tests of mishaps: see `shared/understudy/faults.py`.
    faults: str = ""
    #: File of what workers may send to chatbots, by name (see docs/guides/chatbots.md); empty: nothing.
    secrets_file: str = ""
    #: May participants visit loopback and private addresses?
    allow_private_hosts: bool = False

    @property
    def store_url(self) -> str:
        """`database_url`, or the SQLite file of `data_dir`."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'understudy.db'}"

    @property
    def notifications_url(self) -> str:
        """Where notices are told and caps are counted; empty: nowhere."""
        broker = self.notices_url or self.broker_url
        return broker if broker and parse_broker_url(broker).is_redis else ""

    @field_validator("broker_url", "notices_url")
    @classmethod
    def _validate_broker_urls(cls, url: str, info: ValidationInfo) -> str:
        # Empty: none of its own.
        if url and not parse_broker_url(url).is_redis and info.field_name == "notices_url":
            raise ValueError("notices are told by Valkey or Redis only; leave it empty to go without")
        return url

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _empty_is_unset(cls, port: object) -> object:
        return None if port == "" else port

    @field_validator("faults")
    @classmethod
    def _validate_faults(cls, faults: str) -> str:
        parse(faults)
        return faults

    @model_validator(mode="after")
    def _validate_lease_ttl(self) -> Self:
        # 3 * 0.4 is a little more than 1.2 to a computer, and to nobody else.
        if self.heartbeat_interval_s * 3 > self.lease_ttl_s * (1 + 1e-9):
            raise ValueError(
                f"heartbeat_interval_s ({self.heartbeat_interval_s}) times 3 must not exceed lease_ttl_s "
                f"({self.lease_ttl_s}): one late heartbeat would lose every run of a worker"
            )
        return self
