"""The installed plug-ins, as a worker logs them when it starts."""

from importlib.metadata import EntryPoint

import pytest

from understudy.plugins import registry


def test_plugins_are_described_in_one_line_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [
        EntryPoint("web", "nowhere:Web", "understudy.environments.interactive"),
        EntryPoint("app", "nowhere:App", "understudy.environments.interactive"),
        EntryPoint("chat", "nowhere:Chat", "understudy.environments.chat"),
        EntryPoint("llm", "nowhere:Llm", "understudy.profiled_minds"),
        EntryPoint("guess", "nowhere:Guess", "understudy.minds"),
        EntryPoint("other", "nowhere:Other", "somebody.elses"),
    ]

    class Everything:
        groups = frozenset(point.group for point in installed)

    def entry_points(group: str | None = None) -> object:
        return [one for one in installed if one.group == group] if group else Everything

    monkeypatch.setattr(registry, "entry_points", entry_points)
    for cached in (registry.environments, registry.minds, registry.profiled_minds):
        monkeypatch.setattr(registry, cached.__name__, cached.__wrapped__)
    assert registry.describe_plugins() == "chat: chat; interactive: app, web; minds: guess, llm"
