#!/usr/bin/env python3
"""Prints the result lines of the benchmarks as tables for people.

Usage: table.py FILE   (JSON lines, one result each)
"""
import json
import sys


def number(value):
    if value is None:
        return ''
    if value >= 100 or value == int(value):
        return f'{value:,.0f}'
    return f'{value:.1f}' if value >= 10 else f'{value:.2f}'


def percent(part, whole):
    return f'{100 * (part / whole - 1):+.0f} %' if part and whole else ''


def print_table(title, heads, rows):
    if not rows:
        return
    print(f'\n{title}')
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    for line in lines:
        print('  ' + '  '.join(cell.rjust(width) for cell, width in zip(line, widths)))


def in_process(results):
    bare = {result['in_flight']: result for result in results if result['bench'] == 'bare_store'}
    rows = []
    for result in results:
        if result['bench'] != 'in_process':
            continue
        store = bare.get(result['in_flight'], {})
        speed, cpu = store.get('sagas_per_s'), store.get('cpu_us_per_saga')
        rows.append([number(result['in_flight']), number(result['sagas_per_s']), number(speed),
                     percent(speed, result['sagas_per_s']), number(result['cpu_us_per_saga']), number(cpu),
                     percent(result['cpu_us_per_saga'], cpu), number(result['p50_ms']), number(result['p99_ms']),
                     number(result['changes_per_commit'])])
    print_table('in_process: sagas of two functions, every step durable, beside the bare store doing the same writes'
                ' (engine on top: goal <= 35 %)',
                ['in flight', 'sagas/s', 'bare store/s', 'engine on top', 'CPU us', 'bare CPU us', 'CPU on top', 'p50 ms',
                 'p99 ms', 'changes/commit'], rows)


def history(results):
    rows = [[number(result['in_flight']), number(result['sagas_per_s']), number(result['without']), percent(result['ratio'], 1),
             number(result['cpu_us_per_saga']), number(result['cpu_us_without']), f"{result['commits_per_saga']:.3f}",
             f"{result['commits_without']:.3f}", number(result['bytes_per_attempt'])]
            for result in results if result['bench'] == 'in_process_history']
    print_table('in_process with the default history, in turns with none (goal >= -10 %; <= 250 bytes an attempt)',
                ['in flight', 'sagas/s', 'without', 'difference', 'CPU us', 'without', 'commits/saga', 'without',
                 'bytes/attempt'], rows)


def large_file(results):
    rows = [[number(result['in_flight']), f"{result['finished_before']:,.0f}", number(result['sagas_per_s']),
             number(result['cpu_us_per_saga']), number(result['p50_ms']), number(result['p99_ms']),
             number(result['times_slower'])] for result in results if result['bench'] == 'large_file']
    print_table('large_file: the same sagas with random gids (times slower: goal <= 2.5)',
                ['in flight', 'finished in file', 'sagas/s', 'CPU us', 'p50 ms', 'p99 ms', 'times slower'], rows)


def stores(results):
    idle = {result['store']: result['statements_per_s'] for result in results if result['bench'] == 'stores_idle'}
    rows = [[result['store'], number(result['in_flight']), number(result['sagas_per_s']), number(result['cpu_us_per_saga']),
             number(result['server_cpu_us_per_saga']), number(result['p50_ms']), number(result['p99_ms']),
             number(idle.get(result['store']))] for result in results if result['bench'] == 'stores']
    print_table('stores: sagas of two functions on a store that coordinators share, every step durable'
                ' (goals: 10,000/s on PostgreSQL and 6,000/s on MariaDB at 256, its server <= 75 us, 4 statements/s when idle)',
                ['store', 'in flight', 'sagas/s', 'CPU us', 'server CPU us', 'p50 ms', 'p99 ms', 'idle: statements/s'], rows)


def lists(results):
    rows = [[result['store'], result['filter'], number(result['first_page_ms']), number(result.get('slowest_page_ms')), number(result.get('pages')),
             number(result['found'])] for result in results if result['bench'] == 'lists']
    print_table('lists: a page of 100, in ms (goal <= 100)', ['store', 'filter', 'first', 'slowest', 'pages', 'found'], rows)


def start_up(results):
    held = {result['max_in_memory']: result for result in results if result['bench'] == 'start_up_held'}
    rows = [[number(result['unfinished']), number(result['max_in_memory']), number(result['open_s']),
             number(result['first_call_s']), number(result['all_finished_s']), number(result['sagas_per_s']),
             number(result['memory_mb']), number(held.get(result['max_in_memory'], {}).get('memory_mb'))]
            for result in results if result['bench'] == 'start_up']
    print_table('start_up: a file with unfinished sagas (first call: goal <= 1 s)',
                ['unfinished', 'max_in_memory', 'open s', 'first call s', 'all finished s', 'sagas/s', 'memory MB',
                 'while functions hold'], rows)


def barrier(results):
    rows = [[result['what'], number(result['calls']), number(result['cpu_us_per_call']), number(result['cpu_us_on_top'])]
            for result in results if result['bench'] == 'barrier']
    print_table('barrier: a call of a branch service on SQLite, beside the bare transaction with the same business'
                ' (action on top: goal <= 10 us)',
                ['what', 'calls', 'CPU us', 'on top us'], rows)


def barrier_servers(results):
    def times(result, what):
        theirs = result.get(f'go_{what}')
        return f'{result[what] / theirs:.2f} x' if theirs and theirs > 0 else ''
    rows = [[result['database'], result['what'], number(result['calls']), number(result['bare_cpu_us']),
             number(result['cpu_us_on_top']), number(result.get('go_cpu_us_on_top')), times(result, 'cpu_us_on_top'),
             number(result['wall_us_on_top']), number(result.get('go_wall_us_on_top')), times(result, 'wall_us_on_top')]
            for result in results if result['bench'] == 'barrier_servers']
    print_table('barrier_servers: a call on top of the bare transaction, CPU of client and server, and time, beside the Go client'
                ' (goal <= 1.0 x, aim 0.5 x)',
                ['database', 'what', 'calls', 'bare CPU us', 'on top us', 'Go us', 'of Go', 'time on top us', 'Go us', 'of Go'], rows)


def url_calls(results):
    rows = [[number(result['in_flight']), number(result['answer_ms']) if result['answer_ms'] else 'at once',
             number(result['calls_per_s']), number(result['cpu_us_per_call']), number(result['memory_mb']),
             number(result.get('threads'))]
            for result in results if result['bench'] == 'url_calls']
    print_table('url_calls: branches by URL (slow ones: goal >= 9,000/s of 10,000 possible, <= 40 MB, <= 4 threads)',
                ['in flight', 'answer after ms', 'calls/s', 'CPU us', 'memory MB', 'threads'], rows)
    rows = [[result['host'], number(result['p99_ms_alone']), number(result['p99_ms']), number(result['times'])]
            for result in results if result['bench'] == 'url_calls_beside']
    print_table('url_calls_beside: 64 fast ones beside 2,000 to a host that never answers (goal <= 1.2 times)',
                ['host', 'p99 ms alone', 'p99 ms', 'times'], rows)


def in_transaction(results):
    rows = [[number(result['in_flight']), number(result['sagas_per_s']), number(result['cpu_us_per_saga']),
             number(result['p50_ms']), number(result['p99_ms'])] for result in results if result['bench'] == 'in_transaction']
    print_table('in_transaction: sagas of two branches inside one commit (goal >= 3,500 / 25,000 / 50,000)',
                ['in flight', 'sagas/s', 'CPU us', 'p50 ms', 'p99 ms'], rows)


def http(results):
    for bench, what in (('http', 'sagas'), ('http_msg', 'messages'), ('http_tcc', 'tccs')):
        http_of(results, bench, what)
    rows = [[f"{result['server']} ({result['store']})", number(result['first_answer_ms']),
             number(result['idle_memory_mb']), number(result['stripped_mb'])]
            for result in results if result['bench'] == 'http_idle']
    print_table('http_idle: the server without load, from its start', ['server', 'first answer ms', 'memory MB', 'stripped MB'], rows)

    rows = [[f"{result['server']} ({result['store']})", number(result['idle_connections']), number(result['submit_p99_ms_alone']),
             number(result['submit_p99_ms']), number(result['times']), number(result['memory_mb_more'])]
            for result in results if result['bench'] == 'http_beside_idle']
    print_table('http_beside_idle: 16 connections that submit beside idle ones, and alone (goal <= 2 times, <= 12 MB more)',
                ['server', 'idle connections', 'submit p99 ms alone', 'p99 ms', 'times', 'memory MB more'], rows)


def http_of(results, bench, what):
    runs = [result for result in results if result['bench'] == bench]
    speeds = {(run['server'], run['store'], run['connections']): run['sagas_per_s'] for run in runs}

    def times(run, store):
        other = speeds.get(('go', store, run['connections']))
        return f"{run['sagas_per_s'] / other:.1f} x" if other and run['server'] != 'go' else ''

    def problems(run):
        counts = {name: run[name] for name in ('missing', 'duplicates', 'out_of_order', 'unexpected', 'not_succeeded', 'refused')}
        return ', '.join(f'{count:,.0f} {name}' for name, count in counts.items() if count) or 'none'

    rows = [[f"{run['server']} ({run['store']})", number(run['connections']), number(run['sagas_per_s']),
             times(run, 'boltdb'), times(run, 'redis'), times(run, run['store']), number(run.get('cpu_us_per_saga')),
             number(run.get('store_cpu_us_per_saga')), number(run['loadgen_cpu_us_per_saga']),
             number(run['submit_p50_ms']), number(run['submit_p99_ms']), number(run['end_to_end_p50_ms']),
             number(run['end_to_end_p99_ms']), number(run.get('memory_mb')), f"{max(0, run['other_cores']):.2f}",
             problems(run)] for run in runs]
    print_table(f'{bench}: {what} of two HTTP branches through the HTTP API (other cores: busy with something else, should be < 0.15)',
                ['server', 'connections', f'{what}/s', 'of Go boltdb', 'of Go redis', 'of Go there', 'CPU us', 'store us', 'load us',
                 'submit p50 ms', 'p99', 'end p50 ms', 'p99', 'memory MB', 'other cores', 'problems'], rows)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding='utf-8') as file:
        results = [json.loads(line) for line in file if line.strip()]
    for table in (barrier, barrier_servers, in_process, history, in_transaction, large_file, lists, start_up, stores, url_calls, http):
        table(results)


main()
