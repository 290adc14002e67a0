#!/usr/bin/env python3
"""Checks what our headers cost a file that includes them: CPU time against nlohmann/json.hpp, and no httplib.h.

Usage: check_compile_time.py BUILD_DIRECTORY   (its compiler and flags are used, without optimisation)
"""
import os
import resource
import subprocess
import sys

from headers import ROOT, compile_command, finish

COMPILED = f'-I{ROOT}/single_include/compiled'
# What is included, and how often the CPU time of json.hpp it may take. Times of that, measured beside it, since machines
# differ and do other things meanwhile; where json.hpp takes 1.5 s, half of it is 0.75 s.
BUDGETS = [
    ('dtm/dtm.hpp', [], 6.5),  # measured 3.1 to 5.4. To come down: it instantiates the templates of all that is defined inline
    ('dtm/dtm.hpp', [COMPILED], 1.7),
    ('dtm/http.hpp', [COMPILED], 2.2),
]
TRIES = 7


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
    command = [word for word in command if word != f'-I{ROOT}/include']
    problems, figures = [], []
    json_seconds = float('inf')
    for header, flags, budget in BUDGETS:
        flags = flags or [f'-I{ROOT}/include']
        name = f'<{header}>' + (' compiled once' if flags == [COMPILED] else '')
        if 'httplib.h' in run(command + flags + ['-M'], f'#include <{header}>\n'):
            problems.append(f'{name} leads to httplib.h, which costs a second.')
        # The minimum of several tries: what else the machine does matters least.
        seconds = float('inf')
        for _ in range(TRIES):
            json_seconds = min(json_seconds, cpu_seconds(command, '#include <nlohmann/json.hpp>\n'))
            seconds = min(seconds, cpu_seconds(command + flags, f'#include <{header}>\n'))
            if seconds <= budget * json_seconds:
                break
        figures.append(f'{name} costs {seconds:.2f} s, {seconds / json_seconds:.2f} times json.hpp ({json_seconds:.2f} s), '
                       f'of {budget}')
        if seconds > budget * json_seconds:
            problems.append(f'{figures[-1]} that it may. Look for a new std header or template with -ftime-report or -H.')
    finish(problems, '; '.join(figures) + '.')


main()
