"""max_memory_bytes holds: 1,500 submissions of 880 kB, and a restart with what they left, as a process takes it.

memory_test.py <memory_worker>
"""
import os
import subprocess
import sys
import tempfile

COUNT = 1500
AT_WORK = 3072  # KiB: the transactions that are read, written and called at this moment, each 880 kB


def run(worker, step, db, mib):
    # Without this glibc keeps large blocks that were freed; what an allocator keeps is not the coordinator's.
    environment = dict(os.environ, MALLOC_MMAP_THRESHOLD_='131072')
    done = subprocess.run([worker, step, db, str(mib), str(COUNT)], env=environment, stdout=subprocess.PIPE, text=True,
                          timeout=500, check=True)
    return [int(number) for number in done.stdout.split()]


def main():
    worker = sys.argv[1]
    problems = []

    def check(step, mib, grown):
        most = mib * 1024 * 4 // 3 + AT_WORK
        print(f'{step} with {mib} MiB: grew by {grown} KiB, {most} are allowed')
        if grown > most:
            problems.append(f'{step}: the process grew by {grown} KiB; with {mib} MiB {most} are allowed')

    with tempfile.TemporaryDirectory() as folder:
        db = os.path.join(folder, 'dtm.db')
        grown, accepted, _, refused = run(worker, 'submit', db, 32)
        check('submit', 32, grown)
        if accepted != COUNT or refused == 0:
            problems.append(f'{accepted} of {COUNT} were accepted, {refused} refused for the moment')
        grown, _, ended, _ = run(worker, 'finish', db, 8)
        check('finish', 8, grown)
        if ended != 4 * COUNT:
            problems.append(f'{ended} of {4 * COUNT} steps were done after the restart')
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
