"""Send `accel-clf serve` four times the requests that it can answer, for a minute, and report how it copes.

python -m benchmarks.overload --model FOLDER [--queue 32] [--seconds 60] [--times 4]

Its capacity is measured first, by clients that wait for each response. Then requests are sent at a multiple of that
rate, whether or not they are answered, while its health and memory are polled every 0.2 s. At the end, single requests
are timed again.
"""

import argparse
import http.client
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.serving import (
    Server,
    free_port,
    make_texts,
    measure_load,
    request_body,
    running,
    send_request,
    train_classifier,
)

CLIENTS = 192  # enough that a request need not wait for a client that is still waiting for a response
CAPACITY_CLIENTS = 24
CAPACITY_SECONDS = 10
POLL_SECONDS = 0.2
RECOVERY_REQUESTS = 20
MEBIBYTE = 2**20  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the encoder: a folder or Hub id")
    parser.add_argument("--queue", type=int, default=32, help="maximum requests in flight (32)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=4.0, help="load as a multiple of the capacity (4)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, port = train_classifier(args.model, Path(folder)), free_port()
        command = [sys.executable, "-m", "accel_clf.cli", "serve", str(run), "--port", str(port)]
        server = Server("accel_clf", [*command, "--queue", str(args.queue)], port, "/predict", "inputs", False)
        with running(server) as process:
            measure_overload(server, psutil.Process(process.pid), args.seconds, args.times)


def measure_overload(server: Server, process: psutil.Process, seconds: float, times: float) -> None:
    """Measure a server's capacity, overload it, and print statuses, latencies, health and memory.

    Args:
        server: a running server.
        process: the server's process.
        seconds: the duration of the overload.
        times: the load as a multiple of the capacity.
    """
    bodies = [request_body(server, text) for text in make_texts("tweets")]
    capacity, _ = measure_load(server, make_texts("tweets"), CAPACITY_CLIENTS, CAPACITY_SECONDS)
    memory = [resident_memory(process)]
    latencies: dict[int, list[float]] = {200: [], 429: []}
    failures: Counter[str] = Counter()
    health: Counter[int] = Counter()
    lock, over = threading.Lock(), threading.Event()
    began = time.perf_counter()

    def run_client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        for turn in range(int(seconds * capacity * times / CLIENTS)):
            due = began + (turn * CLIENTS + number) / (capacity * times)
            time.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            try:
                connection.request(
                    "POST", server.path, bodies[turn % len(bodies)], {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                response.read()
                with lock:
                    if response.status in latencies and (response.status == 200 or response.headers["Retry-After"]):
                        latencies[response.status].append(time.perf_counter() - sent)
                    else:
                        failures[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with lock:
                    failures[type(error).__name__] += 1

    def poll() -> None:
        while not over.wait(POLL_SECONDS):
            memory.append(resident_memory(process))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", "/health/ready")
            health[connection.getresponse().status] += 1
            connection.close()

    threads = [threading.Thread(target=run_client, args=(number,)) for number in range(CLIENTS)]
    poller = threading.Thread(target=poll)
    for thread in (poller, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    duration = time.perf_counter() - began
    over.set()
    poller.join()
    recovery_began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    recovery = [time_request(connection, server, bodies[0]) for _ in range(RECOVERY_REQUESTS)]
    requests = sum(map(len, latencies.values())) + failures.total()
    print(f"capacity {capacity:.0f} requests/s; sent {requests / duration:.0f}/s for {duration:.0f} s")
    for status, outcome in ((200, "answered"), (429, "refused")):
        ordered = sorted(latencies[status])
        cuts = [f"{1000 * ordered[int(len(ordered) * share)]:.0f}" for share in (0.5, 0.95, 0.99)] if ordered else []
        print(f"{outcome:>9}: {len(ordered):6}  p50 / p95 / p99: {' / '.join(cuts)} ms")
    print(f"   others: {dict(failures) or 'none'}")
    print(f"   health: {dict(health)}")
    quarters = ", ".join(f"{memory[round((len(memory) - 1) * part / 4)] / MEBIBYTE:.0f}" for part in range(5))
    print(f"   memory: {quarters} MiB, from start to end")
    total = time.perf_counter() - recovery_began
    print(f"{RECOVERY_REQUESTS} requests afterwards: {1000 * max(recovery):.0f} ms at most, {total:.1f} s in total")


def resident_memory(process: psutil.Process) -> int:
    """Return the resident memory of the server and of its model process, in bytes."""
    return sum(member.memory_info().rss for member in (process, *process.children()))


def time_request(connection: http.client.HTTPConnection, server: Server, body: bytes) -> float:
    """Send a request that must succeed, and return its latency in seconds."""
    began = time.perf_counter()
    assert send_request(connection, server, body)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
