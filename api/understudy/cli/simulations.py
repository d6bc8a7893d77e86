"""The commands that run, cancel, extend and wait for simulations."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from understudy.cli.chats import ChatModel, ChatReply, ChatRequest, ChatSecret, ChatUrl, parse_target
from understudy.cli.console import CommandContext
from understudy.cli.failures import ExitZero, exit_if_failed, failed_ids, read_reasons
from understudy.cli.filters import Age, Country, Language, Search, Trait, parse_people_filter
from understudy.cli.numbers import positive_number, seconds
from understudy.cli.objects import kind_of
from understudy.cli.operation_options import fields_of
from understudy.cli.options import DEFAULT_TIMEOUT_S, MAX_PAGE, Timeout, Wait
from understudy.cli.render import cancel_view, plain, run_view, shown_participants
from understudy.cli.success_conditions import (
    SuccessElement,
    SuccessText,
    SuccessTextAbsent,
    SuccessUrl,
    SuccessUrlMatches,
    parse_success,
)
from understudy.cli.watch import watch_study
from understudy.domain.errors import ERROR_RULES, AuthFailed, ServiceUnavailable, UnderstudyError, ValidationError
from understudy.domain.ids import Kind, parse_ref

if TYPE_CHECKING:
    from understudy.envelopes.simulations import CancelEnvelope, RunFailure, RunSuccess

_RUN_CONTINUES = "Ctrl-C stops waiting; the run continues."


def run(
    session: CommandContext,
    *,
    task: Annotated[str | None, typer.Option(metavar="TEXT", help="Task for the participants.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Start page. Give either --url or --chat.", show_default=False)
    ] = None,
    chat: ChatUrl = None,
    chat_model: ChatModel = None,
    chat_request: ChatRequest = None,
    chat_reply: ChatReply = None,
    chat_secret: ChatSecret = None,
    study: Annotated[
        str | None, typer.Option(metavar="S", help="Run the latest iteration of this study, instead of a new one.")
    ] = None,
    number: Annotated[
        int, typer.Option("--people", parser=positive_number, metavar="N", help="Number of people to sample.")
    ] = 5,
    age: Age = None,
    country: Country = None,
    language: Language = None,
    trait: Trait = None,
    search: Search = None,
    success_url: SuccessUrl = None,
    success_url_matches: SuccessUrlMatches = None,
    success_text: SuccessText = None,
    success_text_absent: SuccessTextAbsent = None,
    success_element: SuccessElement = None,
    wait: Wait = False,
    watch: Annotated[
        bool, typer.Option("--watch", metavar="", help="Watch live until all participants have finished.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="Stop waiting or watching after SECONDS; the run continues.",
            show_default="600 with --wait",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Name of the study.", show_default="the task")
    ] = None,
    exit_zero: ExitZero = False,
    options: dict[str, Any],
) -> None:
    """Send people to a website or a chatbot: create a study and run it.

    Without a success condition, participants stop when they consider the task
    done, or at their cap. If you give several conditions, all must hold.
    Ctrl-C stops waiting or watching and cancels nothing. With --wait or
    --watch, the exit code is 1 if a participant failed.
    """
    if wait and watch:
        raise ValidationError("--wait and --watch exclude each other: give one of them")
    if watch and session.as_json:
        raise ValidationError("--watch cannot print JSON: use --wait with --json")
    if timeout is not None and not (wait or watch):
        raise ValidationError("--timeout requires --wait or --watch")
    # With --json the output is the envelope of one call. A person needs the new id before Ctrl-C.
    waits = {"wait": True, "timeout": timeout or DEFAULT_TIMEOUT_S} if wait and session.as_json else {}
    where = parse_people_filter(age, country, language, trait, search)
    people = {"sample": number, "where": where or None, **fields_of("study_run", options), **waits}
    key = options["idempotency_key"]
    described = {"--task": task, "--name": name, "--success-url": success_url, "--success-text": success_text}
    described |= {"--success-url-matches": success_url_matches, "--success-element": success_element}
    described |= {"--success-text-absent": success_text_absent}
    if study is not None:
        targets: dict[str, object] = {
            "--url": url,
            "--chat": chat,
            "--chat-model": chat_model,
            "--chat-request": chat_request,
        }
        targets |= {"--chat-reply": chat_reply, "--chat-secret": chat_secret or None}
        of_iteration = fields_of("study_add_iteration", options).keys() - fields_of("study_run", options).keys()
        targets |= {f"--{name.replace('_', '-')}": True for name in sorted(of_iteration)}
        if given := [flag for flag, value in {**described, **targets}.items() if value is not None]:
            raise ValidationError(f"--study runs the study as it is: omit {' and '.join(given)}")
        response = session.client.study_run(study, **people, idempotency_key=key)
        heading, ref = f"Study {study}", study
    else:
        if task is None:
            raise ValidationError("give --task, or --study to run a study that exists")
        target = parse_target(url, chat, chat_model, chat_request, chat_reply, chat_secret)
        success = parse_success(success_url, success_url_matches, success_text, success_text_absent, success_element)
        iteration = {"content": target.content, **fields_of("study_add_iteration", options)}
        iteration.pop("max_interactions", None)
        created = session.client.study_create(
            name or " ".join(task.split())[:80] or "Run",
            assignment={"task": task, **({"success": success} if success else {})},
            modality=target.modality,
            iteration=iteration,
            run={field: value for field, value in people.items() if value is not None},
            idempotency_key=key,
        )
        assert created.run is not None
        response, heading, ref = created.run, f"Study {created.alias}: {created.name}", created.alias
        session.keep_part("run")
    session.resume_command = f"understudy watch {ref}"
    if wait and response.ok and response.next_action and not session.as_json:
        with session.waiting(f"Waiting until all {number} have finished. {_RUN_CONTINUES}"):
            response = session.client.simulation_wait(
                response.dispatch.participant_ids, timeout=timeout or DEFAULT_TIMEOUT_S
            )
    if watch and response.ok:
        session.out.print(plain(heading, "bold"))
        watch_study(session, ref, timeout, run=response.dispatch.participant_ids, exit_zero=exit_zero)
        return
    dispatched = response.ok or response.error_code == "wait_timeout"
    heading += f"\nResults: understudy get {ref}"
    _show_run(session, response, heading if dispatched else "", exit_zero=exit_zero or not wait)


def _show_run(
    session: CommandContext, response: "RunSuccess | RunFailure", heading: str = "", *, exit_zero: bool
) -> None:
    """Shows a run with the reasons of its failures; exits with 1 if participants failed, unless `exit_zero`."""
    failed = failed_ids(response)
    if session.as_json:
        session.show_run(response)
    else:
        session.show_run(response, run_view(response, heading, read_reasons(session, failed)))
    exit_if_failed(len(failed), exit_zero=exit_zero)


def wait(
    session: CommandContext,
    ids: Annotated[
        list[str], typer.Argument(metavar="T…|S|A", help="Participants, or one study or ask: aliases or UUIDs.")
    ],
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    *,
    exit_zero: ExitZero = False,
) -> None:
    """Wait until participants finish. Exit code 5 on timeout, 1 if one failed.

    Of a study or an ask it waits for all participants that exist now.
    """
    session.resume_command = f"understudy wait {shlex.join(ids)}"
    participants = _participants_of(session, ids)
    with session.waiting(f"Waiting for {', '.join(ids)}. {_RUN_CONTINUES}"):
        response = session.client.simulation_wait(participants, timeout=timeout)
    _show_run(session, response, exit_zero=exit_zero)


def _participants_of(session: CommandContext, ids: list[str]) -> list[str]:
    """Returns the participants that the ids name: themselves, or all of one study or ask."""
    kind = kind_of(ids[0])
    if kind not in {Kind.STUDY, Kind.ASK}:
        return ids
    if len(ids) > 1:
        raise ValidationError("wait takes participants, or one study or ask")
    study, ask = (ids[0], None) if kind is Kind.STUDY else (None, ids[0])
    found = session.client.participant_list_all(study_id=study, ask_id=ask, limit=MAX_PAGE)
    if participants := [str(participant.id) for participant in found]:
        return participants
    raise ValidationError(f"{ids[0]} has no participants to wait for")


def extend(
    session: CommandContext,
    participant: Annotated[str, typer.Argument(metavar="T", help="Finished participant: alias (t-1f3) or UUID.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", metavar="", help="Wait until the new one ends.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help="With --wait: stop waiting after SECONDS; the run continues.",
            show_default="600",
        ),
    ] = None,
    exit_zero: ExitZero = False,
    options: dict[str, Any],
) -> None:
    """Continue from a finished participant as a new participant.

    The finished one does not change. The new one starts on the same page with
    the same cookies, form values and memory. Each call creates another one:
    to wait again, use `understudy wait`. With --wait, the exit code is 1 if
    the new one failed.
    """
    if timeout is not None and not wait:
        raise ValidationError("--timeout requires --wait")
    timeout = timeout or DEFAULT_TIMEOUT_S
    # With --json the output is the envelope of one call. A person needs the new id before Ctrl-C.
    waits: dict[str, Any] = {"wait": True, "timeout": timeout} if wait and session.as_json else {}
    fields = fields_of("simulation_extend", options)
    response = session.client.simulation_extend(
        participant, **fields, **waits, idempotency_key=options["idempotency_key"]
    )
    heading = ""
    if response.ok and not session.as_json:
        new = (response.dispatch.aliases or response.dispatch.participant_ids)[0]
        heading = f"{new} continues from {participant}.\nJourney: understudy get {new}"
        if wait:
            session.resume_command = f"understudy wait {new}"
            with session.waiting(f"Waiting for {new}. {_RUN_CONTINUES}"):
                response = session.client.simulation_wait([str(new)], timeout=timeout)
    _show_run(session, response, heading, exit_zero=exit_zero or not wait)


def cancel(
    session: CommandContext,
    participants: Annotated[
        list[str] | None, typer.Argument(metavar="T…", help="Participants: aliases (t-1f3) or UUIDs.")
    ] = None,
    *,
    study: Annotated[str | None, typer.Option(metavar="S", help="Cancel all of this study.")] = None,
    iteration: Annotated[str | None, typer.Option(metavar="I", help="Cancel all of this iteration.")] = None,
    ask: Annotated[str | None, typer.Option(metavar="A", help="Cancel all of this ask.")] = None,
    round_: Annotated[
        int | None, typer.Option("--round", parser=positive_number, metavar="N", help="With --ask: only this round.")
    ] = None,
) -> None:
    """Cancel participants immediately: named ones, or all of a study, iteration or ask.

    The cancel is final when the command returns. Interactions are kept, and
    `extend` continues from a cancelled participant. Finished participants are
    skipped. You can repeat the command safely.
    """
    scopes = {"study_id": study, "iteration_id": iteration, "ask_id": ask}
    if bool(participants) + sum(scope is not None for scope in scopes.values()) != 1:
        raise ValidationError("give exactly one of: participants, --study, --iteration, --ask")
    if round_ is not None and ask is None:
        raise ValidationError("--round requires --ask")
    if participants and len(participants) > 1:
        _cancel_each(session, list(dict.fromkeys(participants)))
        return
    participant = participants[0] if participants else None
    envelope = session.client.simulation_cancel(participant_id=participant, **scopes, round=round_)
    session.show(*([] if session.as_json else [cancel_view(envelope, _aliases(session, envelope))]))
    _exit_if_failed(envelope, [])


def _aliases(session: CommandContext, envelope: "CancelEnvelope") -> dict[UUID, str]:
    """Returns the aliases of the participants that the view names, as far as the server answers."""
    aliases = {}
    for id_ in shown_participants(envelope):
        try:
            aliases[id_] = session.client.participant_get(id_).alias
        except UnderstudyError:
            # The view has the UUID instead; the cancel itself has succeeded.
            break
    return aliases


def _cancel_each(session: CommandContext, participants: Sequence[str]) -> None:
    """Makes one call per participant and prints one merged envelope. Prints errors and continues."""
    from understudy.envelopes.simulations import CancelEnvelope  # noqa: PLC0415

    for participant in participants:
        parse_ref(Kind.PARTICIPANT, participant, "participant_id")
    answers: list[dict[str, Any]] = []
    errors: list[UnderstudyError] = []
    for participant in participants:
        try:
            session.client.simulation_cancel(participant_id=participant)
        except UnderstudyError as error:
            session.print_error(error)
            errors.append(error)
            if isinstance(error, AuthFailed | ServiceUnavailable):
                break  # The other calls would fail too.
        else:
            answers.append(session.answer)
    merged = merge_cancels(answers)
    envelope = CancelEnvelope.model_validate(merged)
    if answers:
        view = [] if session.as_json else [cancel_view(envelope, _aliases(session, envelope))]
        session.show_data(merged, *view)
    _exit_if_failed(envelope, errors)


def merge_cancels(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the envelope that one call for all of them would return."""
    cancelled = [item for answer in answers for item in answer["cancelled"]]
    skipped = [item for answer in answers for item in answer["skipped"]]
    succeeded = sum(bool(item["success"]) for item in cancelled)
    failed = {"failed_count": len(cancelled) - succeeded} if succeeded < len(cancelled) else {}
    return {
        "cancelled": cancelled,
        "skipped": skipped,
        "summary": {
            "total": len(cancelled) + len(skipped),
            "cancelled_count": succeeded,
            "skipped_count": len(skipped),
            **failed,
        },
    }


def _exit_if_failed(envelope: "CancelEnvelope", errors: Sequence[UnderstudyError]) -> None:
    if errors:
        raise typer.Exit(errors[0].rule.exit_code)
    for item in envelope.cancelled:
        if not item.success:
            code = item.status.partition("]")[0].removeprefix("[")
            raise typer.Exit(ERROR_RULES[code].exit_code if code in ERROR_RULES else 1)
