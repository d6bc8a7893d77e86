"""Removes each guard in turn, in a copy, and shows which test fails: `python -m tests.guard_mutations`.

Exits 1 if the removal of a guard makes no test fail.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
#: The portions of the namespace package.
PARTS = ("shared", "api", "worker", "deploy")


class Guard(NamedTuple):
    name: str
    file: str
    #: This text stands once in the file…
    text: str
    #: …and becomes this.
    without: str
    #: Tests that must fail then.
    tests: str


LIFECYCLE = "shared/understudy/store/lifecycle.py"
STORE_GUARDS = "shared/understudy/store/guards.py"
STORE_ENGINE = "shared/understudy/store/engine.py"
STOPS = "shared/understudy/store/stops.py"
DISPATCH = "shared/understudy/store/dispatch.py"
LIFECYCLE_TESTS = "tests/integration/test_store_lifecycle.py"
DISPATCH_TESTS = "tests/integration/test_store_dispatch.py"
PUBLISHER_TESTS = "tests/integration/test_publisher.py"
WORKER_TESTS = "tests/integration/test_worker.py"
ORDERS_TESTS = "tests/integration/test_operator_commands.py"
SWEEPER = "worker/understudy/worker/sweeper.py"
RACES = "tests/integration/test_races.py"
WINDOW = "shared/understudy/store/window.py"
WINDOW_TESTS = "tests/integration/test_window.py"
EVENT_TESTS = "tests/integration/test_store_events.py"
LANE_TESTS = "tests/integration/test_page_lanes.py"
ISOLATION_TESTS = "tests/integration/test_store_isolation.py"
DELIVERIES = "shared/understudy/store/deliveries.py"
WEBHOOK_TESTS = "tests/integration/test_webhooks.py"
BROWSER_TESTS = "tests/contract/test_browsers.py"

#: File, tests -> name, text and replacement of each guard.
_GUARDS = {
    ("shared/understudy/store/engine.py", "tests/integration/test_data_folder.py"): [
        (
            "a new SQLite file is private",
            "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600",
            "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666",
        ),
    ],
    ("deploy/understudy/deploy/owner_only_files.py", "tests/integration/test_data_folder.py"): [
        ("an open data folder is narrowed", "        path.chmod(kept)\n", "        pass\n"),
    ],
    ("api/understudy/service/credentials.py", "tests/contract/test_revocation.py"): [
        ("a wait ends with its token", "            watched.when_over(working.cancel)\n", ""),
        ("a wait ends with its role", "role.may(self.role)", "True"),
    ],
    ("api/understudy/mcp/app.py", "tests/contract/test_revocation.py"): [
        ("a stream of MCP ends with its token", "                watched.when_over(stream.cancel)\n", ""),
    ],
    ("api/understudy/cli/terminal.py", "tests/unit/test_terminal_output.py"): [
        (
            "a view shows control characters as escapes",
            "segment._replace(text=escape_text(segment.text))",
            "segment",
        ),
        (
            "an answer on a terminal has escapes",
            "    if sys.stdout.isatty():\n        text = line",
            "    if False:\n        text = line",
        ),
    ],
    ("api/understudy/service/panels.py", "tests/unit/test_formula_guard.py"): [
        ("no cell of an export is a formula", "lines.append(_line(map(guard, cells)))", "lines.append(_line(cells))"),
        ("an import takes the guard off", "zip(columns, map(unguard, cells)", "zip(columns, map(str.strip, cells)"),
    ],
    ("worker/understudy/worker/run.py", WORKER_TESTS): [
        (
            "only a value fails a run",
            "            if not is_value_error(error):\n                raise\n",
            "",
        ),
        ("a run that ends is not cancelled again", "if not self._cancel_requested:", "if True:"),
    ],
    ("worker/understudy/worker/claims.py", WORKER_TESTS): [
        (
            "a claim by an earlier message overtakes nothing",
            "            if row.dispatch_no != run.dispatch_no:\n",
            "            if False:\n",
        ),
        (
            "a forged message starts no participant that waits for its own",
            "quarantine=context.quarantine, has_number=has_number)",
            "quarantine=context.quarantine, has_number=False)",
        ),
        (
            "a process without a lease rejects messages (P6)",
            "RunResult.DROPPED if leases.is_live(connection, worker_id) else RunResult.REFUSED",
            "RunResult.DROPPED",
        ),
    ],
    ("worker/understudy/worker/tasks.py", "tests/e2e/test_forged_messages.py"): [
        (
            "a forged stop task revokes nothing",
            "if state is None or state.status is not Status.CANCELLED:",
            "if False:",
        ),
    ],
    ("worker/understudy/worker/steps.py", WORKER_TESTS): [
        (
            "a mind's memory can be stored",
            "self.memory, _ = storable(decision.memory, ",
            "self.memory, _ = (decision.memory, ",
        ),
        (
            "an environment's snapshot can be stored",
            'storable(self._environment.snapshot(), "the environment\'s snapshot")',
            "(self._environment.snapshot(), 0)",
        ),
    ],
    ("worker/understudy/worker/simulator_errors.py", WORKER_TESTS): [
        ("a run's message has no SQL", "    if isinstance(error, DBAPIError):\n", "    if False:\n"),
    ],
    ("worker/understudy/worker/heartbeat.py", WORKER_TESTS): [
        ("a claim in progress is not released", " if claim.participant_id not in claiming", ""),
    ],
    ("worker/understudy/environments/guarded_transport.py", "tests/integration/test_own_failures.py"): [
        ("no answer of a name server is not the site's fault", "if error.errno == socket.EAI_AGAIN:", "if False:"),
        ("no free descriptor is not the site's fault", "if ours := _own_error(error):", "if ours := False:"),
    ],
    ("worker/understudy/environments/page_lanes.py", LANE_TESTS): [
        (
            "a page that is not small is read in a child (P10)",
            "if len(body) <= _SMALL_BYTES and tags <= _SMALL_TAGS:",
            "if True:",
        ),
    ],
    ("worker/understudy/environments/html_sanitizer.py", "tests/unit/test_web_suite.py"): [
        ("a control belongs to the open form", "        self._open = self._forms\n", "        self._open = None\n"),
    ],
    ("worker/understudy/environments/forms.py", "tests/unit/test_page.py"): [
        ("a form is never sent in part", "if form.cut:", "if False:"),
    ],
    ("worker/understudy/environments/validity.py", "tests/unit/test_web_suite.py"): [
        ("a pattern is checked", "return expression.fullmatch(value, timeout=_PATTERN_S) is not None", "return True"),
    ],
    ("worker/understudy/environments/html_sanitizer.py", LANE_TESTS): [
        ("a select has a limit of options (P10)", "if self._options > _MAX_OPTIONS:", "if False:"),
    ],
    ("worker/understudy/isolation/child.py", LANE_TESTS): [
        ("a call ends after its processor time (P10)", "signal.setitimer(signal.ITIMER_PROF, cpu_s)", "pass"),
    ],
    ("worker/understudy/isolation/lane.py", LANE_TESTS): [
        ("a child gets no secrets", "if name.startswith(_PASSED_VARIABLES)", ""),
        (
            "who has used least goes first (P10)",
            "(used_s, next(self._numbers), turn)",
            "(0, next(self._numbers), turn)",
        ),
    ],
    ("worker/understudy/isolation/step_loop.py", "tests/unit/test_step_loop.py"): [
        ("a step has no shared threads (P10)", "if executor is not None:", "if True:"),
    ],
    ("worker/understudy/isolation/json_bounds.py", "tests/integration/test_chat_environment.py"): [
        ("JSON of outsiders is counted first (P10)", "> MAX_VALUES:", "< 0:"),
    ],
    ("shared/understudy/plugins/secrets.py", "tests/unit/test_secrets.py"): [
        ("a secret is for its workspaces", "if not self.workspaces.allow(workspace):", "if False:"),
        ("a secret is for its header", "if header.lower() != self.header:", "if False:"),
        ("a secret is for its origins", "if target.origin not in self.origins:", "if False:"),
        ("a secret is for its path", 'return "" if target.is_below(self.path_prefix) else', 'return "" if True else'),
        (
            "other headers do not reroute a secret",
            "if any(_REROUTING.fullmatch(",
            "if False and any(_REROUTING.fullmatch(",
        ),
        ("others cannot read the secrets file", "content = None if mode & 0o077 else", "mode = 0; content ="),
        ("a secret that was taken back is not sent", "if stamp != self._stamp:", "if False:"),
        (
            "only sent secrets are redacted",
            "Redactor(self._sent)",
            "Redactor(s.value for s in self._secrets._secrets.values())",
        ),
    ],
    ("shared/understudy/plugins/secret_target.py", "tests/unit/test_secrets.py"): [
        ("an address with a secret is plain", " or not is_same or not is_plain(path)", ""),
        ("a path prefix ends at a segment", 'prefix if prefix.endswith("/") else f"{prefix}/"', "prefix"),
    ],
    ("worker/understudy/environments/chatbot_client.py", "tests/integration/test_chat_environment.py"): [
        (
            "errors of a bot with a secret quote no body",
            '"" if self._secrets.were_sent else tidy(',
            "tidy(",
        ),
        (
            "errors of a bot with a secret quote no location",
            '"elsewhere" if self._secrets.were_sent else f',
            "f",
        ),
    ],
    ("worker/understudy/models/profiles.py", "tests/integration/test_profiles.py"): [
        (
            "a model is for its workspaces",
            "if not AllowedWorkspaces(profile.workspaces).allow(workspace):",
            "if False:",
        ),
    ],
    ("deploy/understudy/deploy/child.py", "tests/unit/test_supervisor.py"): [
        (
            "only workers get the keys of models",
            "dict(env) if calls_models else without_model_settings(env)",
            "dict(env)",
        ),
    ],
    ("worker/understudy/environments/cookies.py", "tests/unit/test_cookies.py"): [
        ("cookies are bounded in bytes", " and size + cost <= _JAR_BYTES", ""),
        ("a cookie that no answer may set is dropped", "_FORBIDDEN.search(text)", "False"),
        ("a cookie for TLS stays with TLS", "(Origin.of(url).is_trustworthy or not cookie.secure)", "True"),
        ("an answer without TLS hides no secure cookie", " or self._hides_secure(cookie, url)", ""),
    ],
    (STORE_ENGINE, "tests/integration/test_store_engine.py"): [
        (
            "lost races end as an unavailable store",
            "                    if tries_left > 1:\n",
            "                    if True:\n",
        ),
    ],
    ("shared/understudy/store/failures.py", "tests/integration/test_store_engine.py"): [
        (
            "an error of the schema is no outage",
            'getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_UNAVAILABLE',
            "isinstance(error, OperationalError)",
        ),
    ],
    ("shared/understudy/store/deletion.py", "tests/contract/test_deletion.py"): [
        ("nothing active is deleted", "if connection.scalar(select(literal(1)).where(~active)) is None:", "if False:"),
        ("a person with participants stays", ", ~has_participants)", ")"),
    ],
    ("shared/understudy/store/removal.py", "tests/contract/test_deletion.py"): [
        ("deleted events keep their positions", ".values(last_position=newest)", ".values(name=_workspace.c.name)"),
    ],
    ("shared/understudy/store/deletion.py", "tests/integration/test_retention.py"): [
        ("a deletion takes children before their sources", "        removable -= kept\n", "        break\n"),
    ],
    ("shared/understudy/store/removal.py", "tests/integration/test_retention.py"): [
        ("a deletion keeps sums of usage", "    usage.keep_sums(connection, ids)\n", ""),
    ],
    ("shared/understudy/store/asks.py", "tests/integration/test_retention.py"): [
        ("half a panel is not asked", "_panel(ask_id).where(is_kept)", "_panel(ask_id)"),
    ],
    ("worker/understudy/worker/retention.py", "tests/integration/test_retention.py"): [
        ("a longer retention ends the deletion under way", "if days.get(one.workspace_id) != one.days]:", "if False]:"),
    ],
    ("shared/understudy/store/failures.py", "tests/contract/test_deletion.py"): [
        (
            "a start in what was deleted meanwhile is repeated",
            'if getattr(error.orig, "sqlstate", None) == _DELETED_MEANWHILE:',
            "if False:",
        ),
    ],
    ("api/understudy/service/starts.py", "tests/contract/test_deletion.py"): [
        (
            "a key of something deleted is a conflict (P11)",
            "    except NotFound as error:\n",
            "    except ZeroDivisionError as error:\n",
        ),
    ],
    ("api/understudy/admission/performing.py", "tests/contract/test_roles.py"): [
        ("a role limits a token", "    check_role(call.role, operation.role, operation.name)\n", ""),
    ],
    (STORE_GUARDS, LIFECYCLE_TESTS): [
        (
            "epoch of a run's writes (P3)",
            "and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)",
            "_p.c.id == claim.participant_id",
        ),
        ("status of every move (P1)", ".where(_p.c.status.in_([str(status) for status in sorted(sources)]))", ""),
    ],
    (LIFECYCLE, LIFECYCLE_TESTS): [
        (
            "status of a commit (P2)",
            "            _p.c.status == str(Status.RUNNING),\n            _p.c.interaction_count ==",
            "            _p.c.interaction_count ==",
        ),
        (
            "epoch of a commit (P3)",
            "            _p.c.epoch == rows.c.epoch,\n            _p.c.status ==",
            "            _p.c.status ==",
        ),
        (
            "epoch of a run's last commit (P3)",
            "            _p.c.epoch == rows.c.epoch,\n            _p.c.interaction_count ==",
            "            _p.c.interaction_count ==",
        ),
        (
            "index of a commit (P3)",
            "RUNNING),\n            _p.c.interaction_count == rows.c.interaction_count,\n",
            "RUNNING),\n",
        ),
        (
            "index of a run's last commit (P3)",
            "epoch,\n            _p.c.interaction_count == rows.c.interaction_count,\n",
            "epoch,\n",
        ),
        ("lease of a claim (P7)", '.where(lease_is_live(bindparam("worker")), *admitted)', ".where(*admitted)"),
        (
            "a suspect is claimed in quarantine only (P7)",
            'lease_is_live(bindparam("worker")), *admitted)',
            "lease_is_live(bindparam('worker')))",
        ),
        (
            "a released suspect stays in quarantine (P7)",
            "queue=queue_of(_p.c.attempt, case((_p.c.yields, str(Queue.RESUME)), else_=str(Queue.RECOVERED))),",
            "queue=case((_p.c.yields, str(Queue.RESUME)), else_=str(Queue.RECOVERED)),",
        ),
    ],
    ("shared/understudy/store/recovery.py", "tests/integration/test_races.py tests/integration/test_lease_races.py"): [
        (
            "lease of a recovery (P7)",
            "ended = leases.end_expired(connection, (row.worker_id for row in rows))",
            "ended = [row.worker_id for row in rows]",
        ),
    ],
    ("shared/understudy/store/recovery.py", LIFECYCLE_TESTS): [
        (
            "epoch of a loss that a worker reports (P3)",
            "is_mine, claimed = epoch_fence(claim),",
            "is_mine, claimed = _p.c.id == claim.participant_id,",
        ),
    ],
    ("shared/understudy/store/leases.py", LIFECYCLE_TESTS): [
        (
            "an expired lease is not renewed (P7)",
            (
                "        .where(_lease.c.id == worker_id, _lease.c.expires_at > store_clock())\n"
                "        .values(expires_at=store_clock(ttl_s))"
            ),
            "        .where(_lease.c.id == worker_id)\n        .values(expires_at=store_clock(ttl_s))",
        ),
    ],
    ("shared/understudy/store/leases.py", "tests/integration/test_races.py tests/integration/test_lease_races.py"): [
        (
            "a renewal that waits for a recovery fails (P7)",
            "list(connection.scalars(end.values(expires_at=_lease.c.expires_at).returning(_lease.c.id)))",
            "list(locked)",
        ),
    ],
    (STOPS, "tests/integration/test_races.py tests/integration/test_lease_races.py"): [
        (
            "no stop of a run whose lease is being renewed (P1)",
            "ended = leases.end_expired(connection, (row.worker_id for row in rows if row.worker_id))",
            "ended = [row.worker_id for row in rows if row.worker_id]",
        ),
    ],
    (STOPS, LIFECYCLE_TESTS): [
        ("stop recorded once (P1)", "_p.c.stopped_at.is_(None), which)", "which)"),
        (
            "stop of cancelled ones only (P1)",
            ".where(_p.c.status == str(Status.CANCELLED), _p.c.stopped_at.is_(None), which)",
            ".where(_p.c.stopped_at.is_(None), which)",
        ),
    ],
    (DISPATCH, DISPATCH_TESTS): [
        ("a reservation skips locked rows", ".with_for_update(skip_locked=True)", ".with_for_update()"),
        (
            "terminal source of an extend (P4)",
            "        _p.c.status.in_([str(status) for status in sorted(TERMINAL)]),\n",
            "",
        ),
        (
            "a message of a suspect goes to quarantine (P7)",
            "            queue=queue_of(_p.c.attempt, _p.c.queue),\n",
            "",
        ),
        (
            "only messages of pending participants are sent again",
            "    lost = and_(_p.c.status == str(Status.PENDING), func.coalesce(_p.c.dispatched_at, null()) < before)\n",
            "    lost = func.coalesce(_p.c.dispatched_at, null()) < before\n",
        ),
        (
            "a message is sent again only if it is older",
            "    lost = and_(_p.c.status == str(Status.PENDING), func.coalesce(_p.c.dispatched_at, null()) < before)\n",
            "    lost = _p.c.status == str(Status.PENDING)\n",
        ),
    ],
    (WINDOW, WINDOW_TESTS): [
        ("one refill at a time", '    if connection.dialect.name == "postgresql":\n', "    if False:\n"),
        ("a recovered run delays no other workspace (P9)", "(is_contested or row.queue == Queue.RESUME)", "False"),
        (
            "a paused participant is not published",
            "        if found.pause_of(group) is not None:\n            continue\n",
            "",
        ),
        ("limits hold back", "or found.limit_of(group) is not None:", "or False:"),
        (
            "none gives up its slot twice in a row",
            ".order_by(_p.c.preempted_at.is_not(None), _p.c.preempted_at, _p.c.started_at.desc(), _p.c.id)",
            ".order_by(_p.c.started_at.desc(), _p.c.id)",
        ),
    ],
    ("shared/understudy/domain/fair_shares.py", "tests/unit/test_fair_shares.py"): [
        ("rows below their share go ahead (P9)", "    if len(busy) > 1:\n", "    if False:\n"),
        (
            "slots that are being freed count",
            "        kept = load.running - load.yielding\n",
            "        kept = load.running\n",
        ),
        ("late messages move ahead", "loads[key].late + loads[key].unsent, limit", "loads[key].unsent, limit"),
        (
            "a first run needs no whole slot",
            "    if missing <= 0 and not load.holds",
            "    if False and not load.holds",
        ),
    ],
    ("shared/understudy/store/pauses.py", WINDOW_TESTS): [
        ("a pause withdraws messages", "else_=null())", "else_=_p.c.dispatched_at)"),
        ("a pause takes slots", ".values(yields=_is_running, ", ".values(yields=false(), "),
        (
            "a pause of its own workspace only",
            "_set_paused(connection, _study, and_(_study.c.id == study_id, _study.c.workspace_id == workspace_id))",
            "_set_paused(connection, _study, _study.c.id == study_id)",
        ),
        ("another pause keeps its slots", ", _p.c.yields == true(), ~is_paused_otherwise)", ", _p.c.yields == true())"),
    ],
    (STORE_GUARDS, WINDOW_TESTS): [
        (
            "an earlier message claims nothing",
            "or_(_p.c.dispatched_at.is_not(None), _p.c.dispatch_no == 0)",
            "or_(_p.c.dispatched_at.is_not(None), _p.c.dispatched_at.is_(None))",
        ),
    ],
    (LIFECYCLE, WINDOW_TESTS): [
        (
            "a run that yields does not take its slot right back",
            "(_p.c.yields, str(Queue.RESUME))",
            "(_p.c.yields, str(Queue.RECOVERED))",
        ),
        (
            "a released run yields no more",
            "            yields=false(),\n            pending_since",
            "            pending_since",
        ),
    ],
    ("api/understudy/service/starts.py", "tests/contract/test_idempotency.py"): [
        (
            "a start is done once per key",
            "    if stored is not None:\n        return _kept(connection, call, stored)\n",
            "",
        ),
        (
            "keys of the previous version count",
            "    if previous is not None:\n        return _kept(connection, call, previous)\n",
            "",
        ),
    ],
    (STORE_GUARDS, RACES): [
        (
            "epoch of a run's writes, in a race (P3)",
            "and_(_p.c.id == claim.participant_id, _p.c.epoch == claim.epoch)",
            "_p.c.id == claim.participant_id",
        ),
        (
            "status of every move, in a race (P1)",
            ".where(_p.c.status.in_([str(status) for status in sorted(sources)]))",
            "",
        ),
    ],
    ("shared/understudy/store/recovery.py", RACES): [
        ("recovery skips locked rows", ".with_for_update(skip_locked=True)", ""),
    ],
    (STOPS, RACES): [
        ("the sweeper's stops skip locked rows", "skip_locked=True, or_assumed", "skip_locked=False, or_assumed"),
    ],
    ("shared/understudy/store/prune.py", RACES): [
        ("a prune skips locked rows", ".with_for_update(skip_locked=True)", ""),
    ],
    ("shared/understudy/store/asks.py", RACES): [
        (
            "an ask has a maximum number of rounds",
            ".where(_ask.c.id == ask_id, _ask.c.round_count < MAX_ROUNDS)",
            ".where(_ask.c.id == ask_id)",
        ),
    ],
    ("shared/understudy/store/events.py", EVENT_TESTS): [
        (
            "one process at a time assigns positions",
            "    if not lock_sequencer(connection, wait=wait_for_lock):\n        return 0\n",
            "",
        ),
        (
            "positions follow the order of seq",
            ".where(_event.c.position.is_(None)).order_by(*by_seq).limit(limit)",
            ".where(_event.c.position.is_(None)).order_by(_event.c.seq.desc()).limit(limit)",
        ),
        (
            "a participant's events stay in order",
            "        flush_outbox(connection, ids)\n",
            "        pass\n",
        ),
        (
            "only copied events leave the outbox",
            "connection.execute(statements.remove, locked)",
            "connection.execute(delete(_outbox).where(_outbox.c.participant_id.in_(ids)))",
        ),
        ("an event is moved once", ".order_by(*key).with_for_update()", ".order_by(*key)"),
    ],
    (LIFECYCLE, EVENT_TESTS): [
        (
            "a participant's events stay in order at a claim",
            "    flush_outbox(connection, [row.id for row in rows])\n",
            "",
        ),
    ],
    ("shared/understudy/store/lineage.py", DISPATCH_TESTS): [
        (
            "a part of a lineage reads each ancestor that has it",
            "chain.c.branched_at > first",
            "chain.c.branched_at < first",
        ),
    ],
    (SWEEPER, PUBLISHER_TESTS): [
        (
            "a lease too far ahead is shortened (P7)",
            "    return leases.shorten_leases(connection, ttl_s)\n",
            "    return 0 * ttl_s\n",
        ),
        ("recovery pauses once (P7)", " and self._recover_from is None:\n", ":\n"),
        ("a message is lost only after the reorder margin", "followed_at - REORDER_MARGIN", "followed_at"),
        ("a message is lost only when its queue is empty", "if self._publisher.queue_depth(queue) == 0:", "if True:"),
    ],
    ("worker/understudy/worker/committer.py", WORKER_TESTS): [
        (
            "rows are locked in id order for every write",
            "        guards.lock_in_id_order(connection, [write.participant_id for write in writes])\n",
            "        pass\n",
        ),
        ("rows are locked in id order", "sorted(writes, key=lambda write: write.participant_id)", "writes"),
    ],
    ("worker/understudy/worker/watchdog.py", WORKER_TESTS): [
        ("a lapsed lease aborts the steps (P7)", "        if lapsed and not self._lapsed:\n", "        if False:\n"),
    ],
    ("worker/understudy/worker/watchdog.py", "tests/e2e/test_watchdog.py"): [
        ("the run that grew is found (P10)", "self._runner.lose_largest(self._max_memory_mb // GROWTH_PART)", "None"),
        (
            "a loop that is stuck ends its process (P7)",
            "        if stalled_s > self._loop_stall_s:\n",
            "        if False:\n",
        ),
    ],
    ("worker/understudy/worker/operator_commands.py", ORDERS_TESTS): [
        ("an operator's revoke aborts the run", "        self._abort(ids)\n", ""),
    ],
    ("shared/understudy/queue/celery/control_commands.py", ORDERS_TESTS): [
        ("a stop task's revoke cancels no participant", "        if not cancelled_already:\n", "        if True:\n"),
    ],
    (LIFECYCLE, " ".join((ISOLATION_TESTS, LIFECYCLE_TESTS))): [
        (
            "a cancel is of one workspace (P8)",
            '() if any_workspace else (_p.c.workspace_id == bindparam("workspace"),)',
            '() if any_workspace else (_p.c.id != bindparam("workspace"),)',
        ),
    ],
    ("shared/understudy/store/call_limits.py", "tests/integration/test_call_limits.py"): [
        (
            "requests stay within the rate",
            "        where=began + duration_s <= now + BURST_S + 1e-6,\n",
            "",
        ),
        ("places stay within the limit", ".where(held + places <= limit)", ".where(held + places > -1)"),
        (
            "processes take places one after the other",
            "    connection.execute(select(_use.c.workspace_id).where(_is_of(_use, workspace_id)).with_for_update())\n",
            "",
        ),
        (
            "places of a process that ended are free",
            ", _place.c.expires_at > store_clock()),\n",
            ", _place.c.expires_at > store_clock(-60)),\n",
        ),
    ],
    ("shared/understudy/store/quotas.py", "tests/integration/test_quotas.py"): [
        (
            "participants stay within the quota",
            '        where=total <= bindparam("limit", type_=BigInteger) if is_limited else None,\n',
            "",
        ),
        (
            "events are measured once",
            "select(_use.c.measured_position).where(_is_of(workspace_id)).with_for_update()",
            "select(_use.c.measured_position).where(_is_of(workspace_id))",
        ),
    ],
    ("shared/understudy/store/removal.py", "tests/integration/test_quotas.py"): [
        (
            "a deletion gives stored bytes back",
            "    quotas.release_bytes(connection, workspace_id, measured, params)\n",
            "",
        ),
    ],
    ("api/understudy/admission/performing.py", "tests/contract/test_limits.py"): [
        (
            "a wait too many dispatches nothing",
            '    async with call.service.limits.hold(call.workspace_id, "waits"):\n',
            "    if True:\n",
        ),
    ],
    ("api/understudy/admission/middleware.py", "tests/contract/test_limits.py"): [
        ("no limit refuses a cancel", ' and not _is_never_refused(scope["method"], path)', ""),
    ],
    ("api/understudy/mcp/message_check.py", "tests/contract/test_limits.py"): [
        ("no limit refuses a cancel over MCP", "is_limited=name not in _NEVER_REFUSED_TOOLS", "is_limited=True"),
    ],
    ("api/understudy/service/dispatching.py", "tests/contract/test_limits.py"): [
        ("a run is charged", "    quotas.charge(call, connection, len(selected), mind=iteration.mind)\n", ""),
        (
            "an extend is charged",
            "        quotas.charge(call, connection, 1, iteration_id=source.iteration_id, ask_id=source.ask_id)\n",
            "",
        ),
    ],
    ("api/understudy/api/strict_requests.py", "tests/integration/test_connections.py"): [
        (
            "a request has one framing",
            '    if {b"content-length", b"transfer-encoding"} <= names:\n',
            "    if False:\n",
        ),
        (
            "an old version has no chunks",
            '    if b"transfer-encoding" in names and request.http_version == b"1.0":\n',
            "    if False:\n",
        ),
        ("a field has one line", "is_folded=_FOLDED.search(head) is not None", "is_folded=False"),
        ("only known versions of HTTP", "    if request.http_version not in _VERSIONS:\n", "    if False:\n"),
    ],
    ("api/understudy/admission/middleware.py", "tests/contract/test_bad_input.py"): [
        (
            "a length over the limit is refused at once",
            '    if int(request.headers.get("content-length", 0)) > max_bytes:\n',
            "    if False:\n",
        ),
    ],
    ("shared/understudy/domain/webhooks.py", "tests/unit/test_receiver_networks.py"): [
        ("no percent sign hides an address", '    if "%" in parts.hostname:\n', "    if False:\n"),
    ],
    ("api/understudy/api/connections.py", "tests/integration/test_connections.py"): [
        ("a silent client loses its connection", "        else:\n            self.transport.abort()\n", ""),
        (
            "bytes of a header do not extend its time",
            "        if (self.conn.their_state, self.cycle) != before:\n",
            "        if True:\n",
        ),
    ],
    (DELIVERIES, WEBHOOK_TESTS): [
        (
            "one process makes deliveries of a batch",
            "_cursor.c.workspace_id == batch.workspace_id, _cursor.c.position == batch.start)",
            "_cursor.c.workspace_id == batch.workspace_id)",
        ),
        (
            "an event becomes one delivery",
            "dialect.insert(_delivery).on_conflict_do_nothing()",
            "dialect.insert(_delivery)",
        ),
        (
            "a run ends with its last participant",
            "_p.c.status.in_(active)).limit(1)) is not None:",
            "_p.c.status.in_(active)).limit(1)) is ...:",
        ),
        (
            "a run ends with its last event",
            "return any(connection.scalar(statement",
            "return False and any(connection.scalar(statement",
        ),
        ("a claim keeps others off", "_delivery.c.due_at <= now, free)", "_delivery.c.due_at <= now)"),
        ("a claim has its limit", "_delivery.c.id.in_(select(selected.c.id)), _is_due()", "_is_due()"),
        ("an earlier event of a participant comes first", "_is_due(), ~earlier)", "_is_due())"),
        ("the result belongs to the latest claim", "        _delivery.c.claim_no == attempt.claim_no,\n", ""),
        ("a webhook gets no earlier events", " and source.position > receiver.since_position", ""),
    ],
    ("worker/understudy/webhooks/sender.py", WEBHOOK_TESTS): [
        ("a receiver is in the allow list", "if self._networks.permits(address)]", "if True]"),
    ],
    ("worker/understudy/webhooks/deliverer.py", WEBHOOK_TESTS): [
        (
            "a receiver that fails gets one at a time",
            "        if webhook_id not in self._failing:\n",
            "        if True:\n",
        ),
        (
            "an attempt stores its result",
            "                await self._settle(delivery, result)\n",
            "                pass\n",
        ),
    ],
    ("shared/understudy/domain/receiver_networks.py", "tests/unit/test_receiver_networks.py"): [
        ("metadata addresses are never receivers", "if is_in(ip, NEVER) or", "if"),
    ],
    ("shared/understudy/domain/addresses.py", "tests/unit/test_addresses.py"): [
        (
            "an embedded address counts",
            "return [inner for inner in embedded if inner is not None] or [ip]",
            "return [ip]",
        ),
    ],
    ("shared/understudy/domain/receiver_networks.py", "tests/unit/test_network_lists.py"): [
        ("no receiver is in a denied network", "not is_denied(address, self.denied) and all(", "all("),
    ],
    ("shared/understudy/domain/addresses.py", "tests/unit/test_network_lists.py"): [
        ("metadata addresses are never visited", "if is_forbidden(address) or is_denied", "if is_denied"),
        ("no participant visits a denied network", " or is_denied(address, self.denied)", ""),
        ("no site leads inside", "(not from_public and is_in(", "(is_in("),
        ("0.0.0.0 is this machine", "is_in(_destination(inner), denied)", "is_in(inner, denied)"),
    ],
    ("worker/understudy/environments/guarded_transport.py", "tests/integration/test_private_addresses.py"): [
        (
            "each connection is checked",
            "if self._allowed.permit(address, from_public=self.from_public)]",
            "]",
        ),
        ("the start page decides", "        if host != self._start_host:\n", "        if False:\n"),
        ("one public address makes a start public", "return has_public(found)", "return False"),
    ],
    ("worker/understudy/models/endpoint/endpoint.py", "tests/integration/test_private_addresses.py"): [
        ("redirects of a model server are not followed", "follow_redirects=False", "follow_redirects=True"),
    ],
    ("shared/understudy/domain/network_lists.py", "tests/unit/test_network_lists.py"): [
        (
            "a network that no address matches is refused",
            'and ("%" in name or network.subnet_of(_MAPPED))',
            "and False",
        ),
    ],
    ("deploy/understudy/deploy/stack.py", "tests/unit/test_up.py"): [
        ("others than this machine's users reach nothing inside", " and not is_loopback(plan.host)", " and False"),
    ],
    ("shared/understudy/operations/content.py", "tests/contract/test_objects.py"): [
        ("content has no user and password", ' and "@" not in parts.netloc', ""),
    ],
    ("api/understudy/service/studies.py", "tests/contract/test_objects.py"): [
        ("older content is shown without password", "content=shown_content(row.content)", "content=row.content"),
    ],
    ("api/understudy/service/receivers.py", "tests/unit/test_receiver_networks.py"): [
        ("callers learn no names inside", ", flags=socket.AI_NUMERICHOST", ""),
        ("a dot hides no address", "socket.getaddrinfo(name, None", "socket.getaddrinfo(host, None"),
    ],
    ("worker/understudy/environments/addresses.py", "tests/integration/test_userinfo.py"): [
        ("links have no user and password", "    return without_userinfo(url) if scheme", "    return url if scheme"),
    ],
    ("worker/understudy/environments/web.py", "tests/integration/test_private_addresses.py"): [
        ("a resumed visit knows its start", 'self._visitor.resume(snapshot.get("from_public"))', "pass"),
    ],
    ("worker/understudy/environments/chat.py", "tests/integration/test_private_addresses.py"): [
        ("a resumed chat knows its start", "self._client.resume(self._from_public)", "pass"),
    ],
    ("worker/understudy/environments/fetch.py", "tests/integration/test_userinfo.py"): [
        (
            "no URL is shown with user and password",
            "        visit = replace(visit, url=without_userinfo(visit.url))\n"
            "        navigation = Navigation(without_userinfo(referrer))\n",
            "        navigation = Navigation(referrer)\n",
        ),
        (
            "no redirect has user and password",
            "    url = without_userinfo(urljoin(visit.url, clean(location.strip())))\n",
            "    url = urljoin(visit.url, clean(location.strip()))\n",
        ),
        (
            "a password goes to its origin only",
            "self._login.get(_origin(request.url))",
            "next(iter(self._login.values()), None)",
        ),
    ],
    ("shared/understudy/store/webhooks.py", "tests/contract/test_webhooks.py"): [
        ("a workspace has at most so many webhooks", ">= MAX_WEBHOOKS:", ">= 10**9:"),
    ],
    ("shared/understudy/store/tickets.py", BROWSER_TESTS): [
        ("a ticket is signed", "not claims.is_signed_by(signature, row.hash)", "False"),
        ("a ticket ends in time", " or row.now >= claims.expires_at", ""),
        (
            "a ticket ends with its token",
            "_token.c.id == claims.token_id, _token.c.revoked_at.is_(None)",
            "_token.c.id == claims.token_id",
        ),
    ],
    ("api/understudy/admission/tickets.py", BROWSER_TESTS): [
        (
            "a ticket opens event streams only",
            '    opens = scope["path"] == PATH and scope["method"] == "GET"\n',
            "    opens = True\n",
        ),
        ("a ticket is taken out of the address", "if name != _PARAMETER] + [", "] + ["),
    ],
    ("api/understudy/rest/events.py", BROWSER_TESTS): [
        ("a ticket opens its own scope", "if opened is not None and (scope.kind", "if False and (scope.kind"),
    ],
    ("shared/understudy/domain/success.py", "tests/integration/test_typed_text.py"): [
        (
            "typed text is no success",
            "repeated = typed.repeated_by(seen) if seen.news is None else ()",
            "repeated = ()",
        ),
    ],
    ("shared/understudy/domain/typed_text.py", "tests/unit/test_typed_text.py"): [
        ("a form's answer repeats what it carried", "(*self.answered, *in_address)", "(*in_address,)"),
        ("an address repeats what it carries", "(*self.answered, *in_address)", "self.answered"),
        (
            "a page behind a link repeats nothing",
            "            answered: tuple[str, ...] = ()",
            "            answered = self.texts",
        ),
        ("a form carries its own fields", "if pressed is None or of == form)", "if pressed is None)"),
        ("typed text is bounded", "texts[sum(size > MAX_TYPED_CHARS for size in sizes) :]", "texts"),
    ],
    ("worker/understudy/worker/steps.py", "tests/integration/test_typed_text.py"): [
        ("inherited steps typed too", "TypedText.from_json(stored)", "TypedText()"),
        ("older checkpoints typed too", "TypedText.of_history(self._history)", "TypedText()"),
    ],
    ("worker/understudy/models/written_objects.py", "tests/unit/test_answer_forms.py"): [
        ("an unclosed thought is no answer", "text[: unclosed.start()] if unclosed else text", "text"),
        ("the answer follows the last thought", "position = end.end()", "position = position or end.end()"),
        ("an unfinished object is no answer", "            raise UnfinishedObject\n", "            return\n"),
    ],
    ("worker/understudy/models/answer.py", "tests/unit/test_answer_forms.py"): [
        ("the last object is the answer", "return decisions[-1]", "return decisions[0]"),
    ],
    ("worker/understudy/models/endpoint/completion.py", "tests/unit/test_answer_forms.py"): [
        ("a thought that is cut is no answer", "is_answer = not self.is_cut and", "is_answer ="),
    ],
    ("worker/understudy/models/endpoint/endpoint.py", "tests/integration/test_llm_mind.py"): [
        (
            "no proxy for a model on loopback",
            "trust_env=not is_loopback(httpx.URL(self._profile.base_url).host)",
            "trust_env=True",
        ),
    ],
    ("worker/understudy/worker/shutdown.py", "tests/unit/test_shutdown_signal.py"): [
        ("a process that hangs at its end is killed", "            os._exit(EXIT_SHUTDOWN_TIMEOUT)\n", ""),
    ],
}
GUARDS = [Guard(name, file, *texts, tests) for (file, tests), guards in _GUARDS.items() for name, *texts in guards]

#: Every comparison with the caller's workspace in the store is a guard of its own (P8).
WORKSPACE_FILTER = re.compile(r"(\w+(?:\.c)?\.)?c\.workspace_id == workspace_id")
WORKSPACE_TESTS = " ".join((ISOLATION_TESTS, LIFECYCLE_TESTS, DISPATCH_TESTS))


def workspace_guards() -> list[Guard]:
    """One guard for each workspace filter, told apart by the text around it."""
    guards = []
    for path in sorted((ROOT / "shared/understudy/store").glob("*.py")):
        text = path.read_text()
        for found in WORKSPACE_FILTER.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            start, end = text.rfind("\ndef ", 0, found.start()), found.end()
            around = text[max(start, 0) : end]
            column = found.group(0).split(" ==")[0]
            guards.append(
                Guard(
                    f"workspace filter (P8), {path.name}:{line}",
                    str(path.relative_to(ROOT)),
                    around,
                    around.removesuffix(found.group(0)) + f"{column} == {column}",
                    WORKSPACE_TESTS,
                )
            )
    return guards


def failing_test(guard: Guard) -> str:
    """The first test that fails without `guard`; empty if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build"))
        file = copy / guard.file
        text = file.read_text()
        assert text.count(guard.text) == 1, f"{guard.name}: its text is not in {guard.file} exactly once"
        file.write_text(text.replace(guard.text, guard.without))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [*command, *guard.tests.split()],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(copy / part) for part in PARTS)},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    assert failed or ran.returncode == 0, ran.stdout + ran.stderr
    return failed[1] if failed else ""


def main() -> int:
    guards = [*GUARDS, *workspace_guards()]
    unnoticed = 0
    with ThreadPoolExecutor(max((os.cpu_count() or 1) // 2, 1)) as several:
        for guard, test in zip(guards, several.map(failing_test, guards), strict=True):
            unnoticed += not test
            print(f"{guard.name:55} {test or 'NOBODY NOTICED'}", flush=True)  # noqa: T201
    print(f"{len(guards)} guards, {unnoticed} of them unnoticed")  # noqa: T201
    return min(unnoticed, 1)


if __name__ == "__main__":
    sys.exit(main())
