"""All settings, read from `UNDERSTUDY_…` variables. Entry points build them and pass them down."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from understudy.domain.addresses import AllowedAddresses
from understudy.domain.broker_address import parse_broker_url
from understudy.domain.holds import STANDARD_LIMITS, DefaultLimits
from understudy.domain.leases import MAX_LEASE_TTL_S
from understudy.domain.network_lists import parse_allowed, parse_networks
from understudy.domain.receiver_networks import ReceiverNetworks, parse_receiver_networks
from understudy.domain.time_limits import MAX_RUN_TIMEOUT_S, MAX_STEP_TIMEOUT_S
from understudy.domain.web_origins import parse_origins
from understudy.domain.workspace_settings import MAX_RETENTION_DAYS
from understudy.faults import parse


class Settings(BaseSettings):
    """Settings of all components. Durations are in seconds; names of sizes end in their unit."""

    model_config = SettingsConfigDict(
        env_prefix="UNDERSTUDY_",
        extra="forbid",
        frozen=True,
        # URLs contain passwords.
        hide_input_in_errors=True,
    )

    #: Folder of `up` for the store, the broker's file, tokens and logs; the CLI reads its token there.
    data_dir: Path = Path(".understudy")
    #: SQLAlchemy URL of the store; empty: SQLite in `data_dir`.
    database_url: str = ""
    #: URL of the broker: Valkey or Redis, with or without Sentinels, or RabbitMQ (see docs/brokers.md).
    broker_url: str = "redis://127.0.0.1:6379/0"
    #: Valkey or Redis for notifications and language model quotas; empty: the broker if it is one of these.
    notices_url: str = ""

    heartbeat_interval_s: float = Field(3, gt=0)
    #: At most 300: a lease that ends later shows that the store's clock was set back.
    lease_ttl_s: float = Field(9, gt=0, le=MAX_LEASE_TTL_S)
    sweep_interval_s: float = Field(1, gt=0)
    #: The sweeper republishes a run message that is older than this and no longer in its queue.
    republish_after_s: float = Field(3, gt=0)
    #: The sweeper records the stop of a cancelled run after this long without a record from its worker.
    stop_grace_s: float = Field(30, gt=0)
    #: Grace period of a drain: after it, a worker aborts its steps in flight.
    drain_grace_s: float = Field(5, ge=0)
    #: Losses since the last committed interaction at which a participant fails. It resumes after the first
    #: loss, runs on the quarantine queue after the second, and fails at the third or later.
    max_attempts: int = Field(3, ge=3)
    #: A step that blocks the event loop for this long fails, and its process exits to be restarted.
    loop_stall_s: float = Field(10, gt=0)
    #: A worker that uses more memory drains and exits to be restarted; 0: no limit.
    max_memory_mb: int = Field(1024, ge=0)

    #: Maximum `additional_steps` of one extend.
    max_additional_steps: int = Field(100, ge=1)
    max_wait_s: float = Field(3600, gt=0)
    max_participants_per_run: int = Field(10_000, ge=1)
    #: Participants of a workspace that may visit the same public site at once; more of them wait.
    max_running_per_site: int = Field(STANDARD_LIMITS.per_site, ge=1)
    #: Maximum open event streams of an API process.
    max_event_streams: int = Field(250, ge=1)
    #: Maximum open connections of an API process; a further one takes the place of an idle one.
    max_connections: int = Field(20_000, ge=1)
    #: Maximum seconds for which a client may be silent within a header or a body, or read nothing of its answer.
    client_timeout_s: float = Field(30, gt=0)
    #: Maximum `step_timeout` and `run_timeout` of an iteration or ask.
    max_step_timeout_s: float = Field(MAX_STEP_TIMEOUT_S, gt=0, le=MAX_STEP_TIMEOUT_S)
    max_run_timeout_s: float = Field(MAX_RUN_TIMEOUT_S, gt=0, le=MAX_RUN_TIMEOUT_S)
    #: Defaults of the limits and quotas of a workspace; 0: no limit. `understudy workspace set` sets others for one.
    workspace_requests_per_minute: int = Field(60_000, ge=0)
    workspace_event_streams: int = Field(100, ge=0)
    workspace_waits: int = Field(10_000, ge=0)
    workspace_weight: float = Field(1, gt=0, le=1_000)
    workspace_max_running: int = Field(0, ge=0)
    workspace_participants_per_day: int = Field(1_000_000, ge=0)
    workspace_model_tokens_per_day: int = Field(0, ge=0)
    workspace_stored_bytes: int = Field(0, ge=0)
    workspace_retention_days: int = Field(0, ge=0, le=MAX_RETENTION_DAYS)
    #: Comma-separated web origins that may call `/mcp`, in addition to those of this machine.
    allowed_origins: str = ""
    #: Comma-separated exact origins whose pages may call `/v1` and `/mcp` from a browser (CORS). `*` is refused.
    cors_origins: str = ""
    #: Port of a worker's or sweeper's metrics; 0: a free port, logged at start. The API serves its own at
    #: `/metrics`. Each process of a machine needs its own port.
    metrics_port: int | None = Field(None, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    #: `json`, or `text` for people; `auto`: `text` on a terminal, else `json`.
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: OTLP/HTTP endpoint for traces, like `http://collector:4318`. Empty: OpenTelemetry's variables, such as
    #: `OTEL_EXPORTER_OTLP_ENDPOINT`, else no traces. Needs `understudy[traces]`.
    traces_endpoint: str = ""
    #: Armed fault points, for tests only: see `shared/understudy/faults.py`.
    faults: str = ""
    #: File with the secrets that workers may send to chatbots (see docs/guides/chatbots.md); empty: none.
    secrets_file: str = ""
    #: Comma-separated networks in which receivers of webhooks may be: `public`, `private`, `loopback`, or
    #: networks such as 10.1.0.0/16. Link-local and metadata addresses never.
    webhook_networks: str = "public"
    #: Seconds for which a failed delivery of a webhook is retried.
    webhook_retry_s: float = Field(3 * 86_400, gt=0)
    #: Longest pause after the first failed attempt; it triples with each further one, up to six hours.
    webhook_backoff_s: float = Field(5, gt=0)
    #: Whether participants may visit loopback and private addresses: `true`, `false`, or a comma-separated list of
    #: those that they may visit: `private`, `loopback`, or networks such as 10.1.0.0/16.
    allow_private_hosts: str = "false"
    #: Comma-separated networks that neither participants nor webhooks reach, although another setting allows them.
    deny_networks: str = ""

    @property
    def store_url(self) -> str:
        """Returns `database_url`, or the SQLite file in `data_dir`."""
        # The name of a folder may contain characters that have a meaning in a URL.
        return self.database_url or URL.create("sqlite", database=str(self.database_file)).render_as_string()

    @property
    def database_file(self) -> Path:
        """Returns the file of the embedded store."""
        return self.data_dir.absolute() / "understudy.db"

    @property
    def notifications_url(self) -> str:
        """Returns the URL for notifications and quotas; empty if there is none."""
        broker = self.notices_url or self.broker_url
        return broker if broker and parse_broker_url(broker).is_redis else ""

    @property
    def default_limits(self) -> DefaultLimits:
        """Returns the limits of workspaces that have none of their own."""
        return DefaultLimits(self.max_running_per_site, self.workspace_max_running, self.workspace_weight)

    @property
    def allowed_addresses(self) -> AllowedAddresses:
        """Returns the addresses that participants may visit."""
        return parse_allowed(self.allow_private_hosts, self.deny_networks)

    @property
    def receiver_networks(self) -> ReceiverNetworks:
        """Returns the networks of the receivers of webhooks."""
        return parse_receiver_networks(self.webhook_networks, self.deny_networks)

    def value_in_force(self, workspace: object, name: str) -> Any:
        """Returns the value in a workspace's row, or the default of the installation; 0: no limit."""
        own = getattr(workspace, name)
        return getattr(self, f"workspace_{name}") if own is None else own

    @field_validator("broker_url", "notices_url")
    @classmethod
    def _validate_broker_urls(cls, url: str, info: ValidationInfo) -> str:
        if url and not parse_broker_url(url).is_redis and info.field_name == "notices_url":
            raise ValueError("notices_url must be a Valkey or Redis URL, or empty")
        return url

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _empty_is_unset(cls, port: object) -> object:
        return None if port == "" else port

    @field_validator("cors_origins")
    @classmethod
    def _validate_origins(cls, origins: str) -> str:
        parse_origins(origins)
        return origins

    @field_validator("webhook_networks")
    @classmethod
    def _validate_receivers(cls, networks: str) -> str:
        parse_receiver_networks(networks)
        return networks

    @field_validator("allow_private_hosts", mode="before")
    @classmethod
    def _bool_is_a_word(cls, allowed: object) -> object:
        return str(allowed).lower() if isinstance(allowed, bool) else allowed

    @field_validator("allow_private_hosts")
    @classmethod
    def _validate_allowed(cls, allowed: str) -> str:
        parse_allowed(allowed, "")
        return allowed

    @field_validator("deny_networks")
    @classmethod
    def _validate_denied(cls, networks: str) -> str:
        parse_networks(networks)
        return networks

    @field_validator("faults")
    @classmethod
    def _validate_faults(cls, faults: str) -> str:
        parse(faults)
        return faults

    @model_validator(mode="after")
    def _validate_lease_ttl(self) -> Self:
        # Tolerates float rounding: 3 * 0.4 is slightly more than 1.2.
        if self.heartbeat_interval_s * 3 > self.lease_ttl_s * (1 + 1e-9):
            raise ValueError(
                f"heartbeat_interval_s ({self.heartbeat_interval_s}) times 3 must not exceed lease_ttl_s "
                f"({self.lease_ttl_s}): one late heartbeat would lose every run of a worker"
            )
        return self
