#!/usr/bin/env python3
"""Checks what #include <dtm/dtm.hpp> costs: CPU time against nlohmann/json.hpp, and no httplib.h.

Usage: check_compile_time.py BUILD_DIRECTORY   (its compiler and flags are used, without optimisation)
"""
import os
import resource
import subprocess
import sys

from headers import compile_command, finish

# Times the CPU seconds of json.hpp, so that the budget holds on slow machines too.
BUDGET = 7.0  # measured: 2.7 to 4.9, depending on what else the machine does; every operation with a callback added a fifth. To come down.
TRIES = 5


def run(command, source):
    return subprocess.run(command + ['-x', 'c++', '-'], input=source, text=True, stdout=subprocess.PIPE, check=True).stdout


def cpu_seconds(command, source):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command + ['-c', '-o', os.devnull], source)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    command = [word for word in compile_command(sys.argv[1], 'odr') if not word.startswith(('-O', '-g'))] + ['-O0']
    ours, reference = '#include <dtm/dtm.hpp>\n', '#include <nlohmann/json.hpp>\n'
    problems = []
    if 'httplib.h' in run(command + ['-M'], ours):
        problems.append('<dtm/dtm.hpp> leads to httplib.h, which costs seconds; only headers under dtm/http may include it.')
    # The minimum of several tries: what else the machine does matters least.
    json_seconds = dtm_seconds = float('inf')
    for _ in range(TRIES):
        json_seconds = min(json_seconds, cpu_seconds(command, reference))
        dtm_seconds = min(dtm_seconds, cpu_seconds(command, ours))
        if dtm_seconds <= BUDGET * json_seconds:
            break
    figures = f'<dtm/dtm.hpp> costs {dtm_seconds:.2f} s, {dtm_seconds / json_seconds:.2f} times json.hpp ({json_seconds:.2f} s)'
    if dtm_seconds > BUDGET * json_seconds:
        problems.append(f'{figures}; the budget is {BUDGET} times. Look for a new std header with -ftime-report or -H.')
    finish(problems, f'{figures}; the budget is {BUDGET} times.')


main()
