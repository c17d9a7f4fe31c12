#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Usage: pagetrace.py [--ops N] [--ask FRAMES --every OPS] OUT -- COMMAND...

Runs COMMAND and writes the page allocations that Linux made for it and its
children, as a trace for `klotski replay` (doc/TRACE.md): order, movable or not, and
when they were freed, by whomever.  Nothing else of the machine is in it.

Root, and a kernel with the events kmem:mm_page_alloc and kmem:mm_page_free in
/sys/kernel/tracing, as Debian's is.  The events go to a buffer of their own, which
is removed at the end.  Pages that are still allocated when the command has ended
(what it left in the page cache) stay live in the trace.

  --ops N        ends the trace after N operations
  --ask FRAMES   puts a request for that many frames, contiguous and aligned to
                 their number, after every OPS operations, and frees it at once
"""
import argparse
import heapq
import os
import re
import signal
import subprocess
import sys
import time

TRACING = "/sys/kernel/tracing"
ORDER = 9  # of a block
EVENT = re.compile(r"-(\d+)\s+\[\d+\].*?: (mm_page_alloc|mm_page_free|sched_process_fork): (.*)")
FIELD = re.compile(r"(\w+)=(\S+)")


class Buffer:
    """A trace buffer of our own."""

    def __init__(self):
        self.path = f"{TRACING}/instances/klotski-{os.getpid()}"
        os.mkdir(self.path)

    def write(self, name, text):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def start(self):
        self.write("trace_clock", "global")
        self.write("buffer_size_kb", "32768")
        for event in ("kmem/mm_page_alloc", "kmem/mm_page_free", "sched/sched_process_fork"):
            self.write(f"events/{event}/enable", "1")
        self.write("tracing_on", "1")

    def stop(self):
        """The lines, and how many events were lost."""
        self.write("tracing_on", "0")
        lost = 0
        for cpu in os.listdir(f"{self.path}/per_cpu"):
            with open(f"{self.path}/per_cpu/{cpu}/stats", encoding="ascii") as file:
                lost += int(re.search(r"overrun: (\d+)", file.read()).group(1))
        with open(f"{self.path}/trace", encoding="utf-8", errors="replace") as file:
            return file.readlines(), lost

    def remove(self):
        os.rmdir(self.path)


class Trace:
    """Operations, with ids that are used again."""

    def __init__(self, options):
        self.options = options
        self.ops = []
        self.live = {}  # pfn: (id, frames)
        self.free_ids = []
        self.ids = 0
        self.used = self.peak = 0

    def new_id(self):
        if self.free_ids:
            return heapq.heappop(self.free_ids)
        self.ids += 1
        return self.ids - 1

    def full(self):
        return self.options.ops and len(self.ops) >= self.options.ops

    def alloc(self, pfn, order, movable):
        if order > ORDER or pfn in self.live or self.full():
            return
        number = self.new_id()
        self.live[pfn] = (number, 1 << order)
        self.used += 1 << order
        self.peak = max(self.peak, self.used)
        self.add(f"alloc {number} {order} {'m' if movable else 'u'}")

    def free(self, pfn):
        if pfn not in self.live or self.full():
            return
        number, frames = self.live.pop(pfn)
        self.used -= frames
        heapq.heappush(self.free_ids, number)
        self.add(f"free {number}")

    def add(self, op):
        self.ops.append(op)
        if self.options.ask and len(self.ops) % self.options.every == 0:
            number = self.new_id()
            self.ops.append(f"contig {number} {self.options.ask} {self.options.ask}")
            self.ops.append(f"free {number}")
            heapq.heappush(self.free_ids, number)

    def write(self, out):
        frames = max(self.peak * 10 // 9 + (self.options.ask or 0), 2 << ORDER)
        blocks = (frames + (1 << ORDER) - 1) >> ORDER
        kernel = os.uname().release.split("-")[0]
        out.write(f"klotski-trace 1 frame=4096 block-order={ORDER} blocks={blocks}\n")
        out.write(f"# recorded: {' '.join(self.options.command)} (Linux {kernel})\n")
        for op in self.ops:
            out.write(op + "\n")
        out.write("end\n")


def convert(lines, first, trace):
    """Only what the first process and its descendants allocate; frees by anybody."""
    family = {first}
    for line in lines:
        match = EVENT.search(line)
        if not match:
            continue
        pid, event, rest = int(match.group(1)), match.group(2), dict(FIELD.findall(match.group(3)))
        if event == "sched_process_fork":
            if int(rest["pid"]) in family:
                family.add(int(rest["child_pid"]))
        elif event == "mm_page_free":
            trace.free(rest["pfn"])
        elif pid in family and int(rest["pfn"], 16) != 0:
            trace.alloc(rest["pfn"], int(rest["order"]), rest["migratetype"] == "1")


def run(command):
    """Starts it stopped, so that nothing of it is missed."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"pagetrace: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)
    os.waitpid(child, os.WUNTRACED)
    return child


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ops", type=int, default=0)
    parser.add_argument("--ask", type=int, default=0)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("out")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.ask < 0 or options.ask & (options.ask - 1) or options.every < 1 or options.ops < 0:
        parser.error("--ask is a power of two, --every and --ops are positive")
    return options


def record(buffer, options):
    buffer.start()
    child = run(options.command)
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    time.sleep(0.5)  # what the kernel frees a moment later
    lines, lost = buffer.stop()
    if lost:
        sys.exit(f"pagetrace: {lost} events were lost; the buffer is too small for this command")
    return lines, child, os.waitstatus_to_exitcode(status)


def main():
    options = parse()
    if not os.path.isdir(f"{TRACING}/events/kmem"):
        subprocess.run(["mount", "-t", "tracefs", "nodev", TRACING], check=False)
    try:
        buffer = Buffer()
    except OSError as error:
        sys.exit(f"pagetrace: {TRACING}: {error.strerror} (needs root and tracefs)")
    try:
        lines, child, status = record(buffer, options)
    finally:
        buffer.remove()
    trace = Trace(options)
    convert(lines, child, trace)
    with open(options.out, "w", encoding="ascii", errors="replace") as out:
        trace.write(out)
    print(f"{len(trace.ops)} operations, {trace.peak} frames at most; status {status}")
    return status


if __name__ == "__main__":
    sys.exit(main())
