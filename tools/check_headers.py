#!/usr/bin/env python3
"""Checks every header: it compiles alone, has its test, an umbrella leads to it, and it is not too long.

Usage: check_headers.py BUILD_DIRECTORY   (its flags are used, and Clang)
"""
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

from headers import DRIVERS, INCLUDE, ROOT, all_headers, compile_command, finish, reachable, read, room

MAX_LINES = 320
# header: how many it may have all the same, and why. None of them may grow.
LONGER = {
    'dtm/http/desk/desk_page.hpp': (5000, 'generated: the page of the desk as a text'),
    'dtm/coordinator/coordinator.hpp': (358, 'the public face: most of it is what its methods promise'),
}

# header: why it has no tests/<room>/<header>_test.cpp
NO_TEST = {
    'dtm/base/version.hpp': 'one constant',
    'dtm/sql/sql_name.hpp': 'tests/barrier/sql_barrier_contract.hpp, which each server runs',
    'dtm/outbox/outbox.hpp': 'tests/outbox/sql_outbox_contract.hpp, which each server runs',
    'dtm/outbox/outbox_table.hpp': 'tests/outbox/sql_outbox_contract.hpp, which each server runs',
    'dtm/outbox/store_rows.hpp': 'tests/coordinator/in_store_contract.hpp, which each server runs',
    'dtm/outbox/sql_outbox_source.hpp': 'tests/outbox/sql_outbox_contract.hpp, which each server runs',
    'dtm/coordinator/store_name.hpp': 'tested with the relay',
    'dtm/coordinator/parts/outbox_source.hpp': 'an interface; tested with the relay',
    'dtm/sql/session.hpp': 'interfaces and values; tested with the barriers',
    'dtm/barrier/sql_barrier.hpp': 'tests/barrier/sql_barrier_contract.hpp, which each server runs',
    'dtm/barrier/sql_transaction.hpp': 'tests/barrier/mysql_transaction_test.cpp, and the contract',
    'dtm/barrier/sql_table.hpp': 'tests/barrier/sql_barrier_contract.hpp, which each server runs',
    'dtm/coordinator/state/between_stages.hpp': 'values; tested with the stages',
    'dtm/coordinator/parts/branch_caller.hpp': 'interfaces; tested with each caller',
    'dtm/store/codec_bytes.hpp': 'tested by codec_test',
    'dtm/store/scan.hpp': 'tested by the contract of stores',
    'dtm/store/memory_search.hpp': 'tested by memory_test and search_test',
    'dtm/store/sqlite/reads.hpp': 'tested by sqlite_store_test and search_test',
    'dtm/sql/rows.hpp': 'interfaces and values; tested with the stores on a server',
    'dtm/sql/postgres_client.hpp': 'tested with the store on a server',
    'dtm/store/shared/batch.hpp': 'tested with the stores on a server',
    'dtm/store/shared/database.hpp': 'an interface; tested with the stores on a server',
    'dtm/store/shared/records.hpp': 'tested with the stores on a server',
    'dtm/store/shared/members.hpp': 'tests/store/contract_members.hpp, which each server runs',
    'dtm/store/shared/membership.hpp': 'tests/store/contract_members.hpp, which each server runs',
    'dtm/store/shared/server_clock.hpp': 'tests/store/contract_members.hpp, which each server runs',
    'dtm/store/shared/pending_values.hpp': 'tests/store/contract_values.hpp, which each server runs',
    'dtm/store/shared/reader.hpp': 'tests/store/store_contract.hpp, which each server runs',
    'dtm/store/shared/retention.hpp': 'tested with the stores on a server',
    'dtm/store/shared/sending.hpp': 'tests/store/contract_doubt.hpp, which each server runs',
    'dtm/store/peers.hpp': 'an interface; tests/coordinator/any_node_contract.hpp, which each server runs',
    'dtm/store/shared/shared_peers.hpp': 'tests/coordinator/any_node_contract.hpp, which each server runs',
    'dtm/store/shared/shared_store.hpp': 'tests/store/store_contract.hpp, which each server runs',
    'dtm/store/postgres/postgres_schema.hpp': 'tested by postgres_store_test',
    'dtm/store/postgres/postgres_statements.hpp': 'tested by postgres_store_test',
    'dtm/sql/mysql_client.hpp': 'tested with the store on a server',
    'dtm/store/mysql/mysql_schema.hpp': 'tested by mysql_store_test',
    'dtm/store/mysql/mysql_literals.hpp': 'tested by mysql_store_test',
    'dtm/store/mysql/mysql_statements.hpp': 'tested by mysql_store_test',
    'dtm/store/mysql/mysql_batch.hpp': 'tested by mysql_store_test',
    'dtm/testing/shared_memory_tables.hpp': 'tested by shared_memory_store_test',
    'dtm/testing/shared_memory_requests.hpp': 'tested with the stores on them',
    'dtm/testing/shared_memory_statements.hpp': 'tested by shared_memory_store_test',
    'dtm/testing/incident/strict_json.hpp': 'tested by read_export_test',
    'dtm/testing/incident/in_text.hpp': 'tested by incident_test',
    'dtm/testing/incident/replay_report.hpp': 'a value; tested by incident_test',
    'dtm/testing/incident/recording.hpp': 'tested by incident_test and incident_random_test',
    'dtm/testing/incident/not_replayed.hpp': 'tested by incident_test',
    'dtm/coordinator/retry_all.hpp': 'tested by routes_test and api_test, which the database tests run at two coordinators',
    'dtm/http/api/numbers/shown_hosts.hpp': 'tested by metrics_text_test and overview_json_test',
    'dtm/timeline/drivers.hpp': 'tested by draw_coordinator_test',
    'dtm/testing/replay.hpp': 'tested by incident_test and incident_random_test',
    'dtm/testing/replay_walk.hpp': 'tested by incident_test and incident_random_test',
    'dtm/testing/replay_coordinators.hpp': 'tested by incident_test and incident_random_test',
    'dtm/store/sqlite/reader.hpp': 'tested with the writer',
    'dtm/coordinator/state/peer_messages.hpp': 'tested by elsewhere_test',
    'dtm/coordinator/state/recovery.hpp': 'tested by loop_test and news_test',
    'dtm/coordinator/command_operations.hpp': 'tested by operations_test',
    'dtm/coordinator/driven_endpoint.hpp': 'tested by operations_test and embedded_endpoint_test',
    'dtm/http/remote/query.hpp': 'tested by remote_coordinator_test',
    'dtm/http/serving/request_handler.hpp': 'an interface; tested with the connections',
    'dtm/store/sqlite/records.hpp': 'tested with the writer',
    'dtm/core/limits.hpp': 'constants; tested where they are enforced',
    'dtm/http/api/function_call.hpp': 'tested by api_table_test',
    'dtm/http/api/numbers/api_counters.hpp': 'tested with metrics_text, which shows them',
    'dtm/http/hosts/host_connection.hpp': 'tested with the host that owns it',
    'dtm/http/hosts/connector.hpp': 'tested with http_host',
    'dtm/http/http1/framing.hpp': 'the rules of head_parser_test',
    'dtm/http/hosts/http_call.hpp': 'an interface; tested with http_host',
    'dtm/http/transport/look_up.hpp': 'tested with http_host and listener',
    'dtm/http/serving/limits.hpp': 'tested with the connections that it limits',
    'dtm/http/transport/poller.hpp': 'tested with the loop that turns it',
    'dtm/http/hosts/resolver.hpp': 'tested with http_host',
    'dtm/http/transport/socket.hpp': 'tested with what connects by it',
    'dtm/http/transport/tls_session.hpp': 'an interface; tested by tls_test',
    'dtm/http/http1/message_head.hpp': 'a value; tested with the parser that fills it',
    'dtm/http/desk/desk_page.hpp': 'a text; tested by desk_test and in a browser',
    'dtm/coordinator/commands/questions.hpp': 'tested by commands_test',
    'dtm/coordinator/commands/refusals.hpp': 'the sentences that commands_test and collect_stage_test see',
    'dtm/coordinator/state/reports.hpp': 'tested by turn_state_test, news_test and span_feed_test',
    'dtm/coordinator/hooks/doubts.hpp': 'tested by event_feed_test and span_feed_test',
    'dtm/coordinator/loop/untold.hpp': 'tested by event_feed_test and span_feed_test',
    'dtm/coordinator/hooks/hooks.hpp': 'tested by event_feed_test, span_feed_test and hook_queue_test, and with the coordinator',
    'dtm/observe/span.hpp': 'tested by span_feed_test',
    'dtm/timeline/folds.hpp': 'tested by make_diagram_test',
    'dtm/timeline/lifelines.hpp': 'tested by make_diagram_test',
    'dtm/timeline/record_story.hpp': 'tested by make_diagram_test',
    'dtm/timeline/story_events.hpp': 'tested by make_diagram_test',
    'dtm/timeline/drawing/diagram.hpp': 'values; tested by the drawings',
    'dtm/timeline/drawing/svg_parts.hpp': 'tested by svg_diagram_test',
    'dtm/timeline/drawing/text_diagram.hpp': 'tested by draw_test',
    'dtm/http/calls/url_caller.hpp': 'what stands behind HttpBranches(); tested by branches_test',
}

# Programs include these themselves: what needs a library that not every program has.
ON_THEIR_OWN = ['dtm/http/tls.hpp']


def small_problems():
    umbrellas = [header for header in all_headers() if not room(header) or header.split('/')[-1].startswith(DRIVERS)]
    reached = {header for umbrella in umbrellas for header in reachable(umbrella)}
    for header in all_headers():
        lines = read(header).count('\n')
        limit, _ = LONGER.get(header, (MAX_LINES, ''))
        if lines > limit:
            yield f'include/{header}: {lines} lines, {limit} is the limit; it probably holds two things.'
        if not read(header).startswith('///'):
            yield f'include/{header}: begin with a /// comment: what it is, what it needs, its thread rule.'
        if not room(header):
            continue
        if header not in reached and not room(header).startswith('testing') and header not in ON_THEIR_OWN:
            yield f'include/{header}: neither dtm.hpp nor http.hpp nor httplib.hpp leads to it; include it there.'
        test = f'tests/{room(header)}/{header.split("/")[-1][:-len(".hpp")]}_test.cpp'
        if header not in NO_TEST and not (ROOT / test).exists():
            yield f'include/{header}: write {test}, or give the reason against it in tools/check_headers.py.'
    for header in [*NO_TEST, *LONGER]:
        if header not in all_headers():
            yield f'tools/check_headers.py excuses {header}, which does not exist; remove the line.'


def best_to_precompile(count):
    """Headers which, read once for all that include them, save most: {header: what it is compiled on top of, or None}."""
    length = {header: read(header).count('\n') for header in all_headers()}
    reached = {header: set(reachable(header)) for header in all_headers()}
    of_json = {header for header in all_headers() if 'nlohmann/json.hpp' in read(header)}
    whole = {header: sum(length[each] for each in reached[header]) + (20000 if of_json & reached[header] else 0) for header in all_headers()}
    base = dict.fromkeys(all_headers())
    saved = lambda header: whole.get(base[header], 0)
    users = lambda top: [header for header in base if top in reached[header] and header != top]
    for _ in range(count):
        top = max(base, key=lambda each: sum(max(0, whole[each] - saved(header)) for header in users(each)) - whole[each])
        for header in users(top):
            if whole[top] > saved(header):
                base[header] = top
    return base


def precompiled(header, command, folder):
    """The options that put `header` in front, as if it were included there; it is read once."""
    path = Path(folder) / (header.replace('/', '_') + '.pch')
    made = subprocess.run([*command, '-fpch-instantiate-templates', '-x', 'c++-header', '-', '-o', str(path)], text=True,
                          input=f'#include <{header}>\n', stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return ['-include-pch', str(path)] if made.returncode == 0 else []  # its own check says what is wrong


def compile_alone(header, command):
    command = [*command, '-fsyntax-only', '-x', 'c++', '-']
    result = subprocess.run(command, input=f'#include <{header}>\n#include <{header}>\n', text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        return f'include/{header} does not compile alone; it must include what it uses:\n{result.stdout}'
    return None


def do_not_compile(build):
    # Clang, which reads little of a precompiled header; GCC reads all.
    commands = [['clang++', *compile_command(build, target)[1:]] for target in ('odr', 'odr_http')]
    command_of = lambda header: commands['http' in header]
    with ThreadPoolExecutor(cpu_count()) as pool, tempfile.TemporaryDirectory() as folder:
        # A header sees only more of what it includes itself in any case.
        base = best_to_precompile(12)
        tops = sorted({(top, 'http' in header) for header, top in base.items() if top})
        options = dict(zip(tops, pool.map(lambda top: precompiled(top[0], commands[top[1]], folder), tops)))
        options[None] = []
        check = lambda header: compile_alone(header, command_of(header) + options[base[header] and (base[header], 'http' in header)])
        return list(filter(None, pool.map(check, all_headers())))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    finish([*small_problems(), *do_not_compile(sys.argv[1])],
           f'{len(all_headers())} headers under {INCLUDE.name}/: each compiles alone and has its test.')


main()
