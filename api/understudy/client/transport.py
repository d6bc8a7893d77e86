"""Sends the requests of a client."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from understudy.client.exchange import Exchange, RawResponse
from understudy.client.prepared_call import PreparedCall, prepare
from understudy.client.retries import Retries
from understudy.domain.errors import UnderstudyError


class Transport:
    """Sends requests to one server. Thread-safe."""

    def __init__(self, exchange: Exchange, retries: Retries, transport: httpx.BaseTransport | None = None) -> None:
        self.exchange = exchange
        self._retries = retries
        self.http = httpx.Client(**exchange.http_options(), transport=transport)

    def perform(self, operation: str, arguments: Mapping[str, Any], key: str | None = None) -> Any:
        """Returns the answer of an operation as its model. Raises UnderstudyError."""
        call = prepare(operation, arguments, self._retries.key_for(operation, key))
        return self.exchange.read(call.answer, self.send(call))

    def send(self, call: PreparedCall) -> RawResponse:
        """Sends one request, again after a failure that a repetition may cure. Raises UnderstudyError."""
        request = self.exchange.request(self.http, call)
        failures = 0
        while True:
            try:
                with self.exchange.translated(call):
                    response = self.http.send(request)
                return self.exchange.response(call, response, may_retry=self._retries.remain(call, failures))
            except UnderstudyError as error:
                failures += 1
                pause_s = self._retries.pause_s(call, error, failures)
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    @contextmanager
    def stream(self, call: PreparedCall, headers: Mapping[str, str], timeout_s: float) -> Iterator[httpx.Response]:
        """Yields an event stream; `timeout_s` without data ends it with ServiceUnavailable.

        Raises the errors of `send`, also while the block reads the response.
        """
        request = self.exchange.stream_request(self.http, call, headers, timeout_s)
        with self.exchange.translated(call):
            response = self.http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                self.exchange.check_stream(response)
                yield response
            finally:
                response.close()
