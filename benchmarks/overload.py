"""Four times as many requests as `accel-clf serve` can answer, for a minute: what it refuses, answers, and weighs.

python -m benchmarks.overload --model FOLDER [--queue 32] [--seconds 60] [--times 4]

First its capacity is measured, by clients that wait for each answer. Then requests come at so many times that rate,
whether answered or not, while its health is asked for every 0.2 s. At the end single requests are timed again.
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

from benchmarks.serving import Server, ask, body, free_port, loaded, started, texts, trained

CLIENTS = 192  # enough that the next request need not wait for an answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the encoder: a folder or Hub id")
    parser.add_argument("--queue", type=int, default=32, help="requests that may be in work (32)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=4.0, help="of its capacity (4)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, port = trained(given.model, Path(folder)), free_port()
        command = [sys.executable, "-m", "accel_clf.cli", "serve", str(run), "--port", str(port)]
        server = Server("accel_clf", [*command, "--queue", str(given.queue)], port, "/predict", "inputs", False)
        with started(server) as process:
            overload(server, psutil.Process(process.pid), given.seconds, given.times)


def overload(server: Server, process: psutil.Process, seconds: float, times: float) -> None:
    contents = [body(server, text) for text in texts("tweets")]
    capacity, _ = loaded(server, texts("tweets"), 24, 10)
    weights = [memory(process)]
    took: dict[int, list[float]] = {200: [], 429: []}
    others: Counter[str] = Counter()
    healthy: Counter[int] = Counter()
    lock, over = threading.Lock(), threading.Event()
    began = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        for turn in range(int(seconds * capacity * times / CLIENTS)):
            due = began + (turn * CLIENTS + number) / (capacity * times)
            time.sleep(max(0.0, due - time.perf_counter()))
            asked = time.perf_counter()
            try:
                connection.request(
                    "POST", server.path, contents[turn % len(contents)], {"Content-Type": "application/json"}
                )
                reply = connection.getresponse()
                reply.read()
                with lock:
                    if reply.status in took and (reply.status == 200 or reply.headers["Retry-After"]):
                        took[reply.status].append(time.perf_counter() - asked)
                    else:
                        others[str(reply.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with lock:
                    others[type(error).__name__] += 1

    def watch() -> None:
        while not over.wait(0.2):
            weights.append(memory(process))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", "/health/ready")
            healthy[connection.getresponse().status] += 1
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.perf_counter() - began
    over.set()
    watcher.join()
    after = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    single = [cache_lock(connection, server, contents[0]) for _ in range(20)]
    sent = sum(map(len, took.values())) + others.total()
    print(f"capacity {capacity:.0f} requests/s; sent {sent / lasted:.0f} a second for {lasted:.0f} s")
    for status, name in ((200, "answered"), (429, "refused")):
        found = sorted(took[status])
        cuts = [f"{1000 * found[int(len(found) * share)]:.0f}" for share in (0.5, 0.95, 0.99)] if found else []
        print(f"{name:>9}: {len(found):6}  p50 / p95 / p99: {' / '.join(cuts)} ms")
    print(f"   others: {dict(others) or 'none'}")
    print(f"   health: {dict(healthy)}")
    told = ", ".join(f"{weights[round((len(weights) - 1) * part / 4)] / 2**20:.0f}" for part in range(5))
    print(f"   memory: {told} MiB, from the first moment to the last")
    print(f"20 requests after it: {1000 * max(single):.0f} ms at most, all within {time.perf_counter() - after:.1f} s")


def memory(process: psutil.Process) -> int:
    """Resident, of the server and the process that has its model."""
    return sum(each.memory_info().rss for each in (process, *process.children()))


def cache_lock(connection: http.client.HTTPConnection, server: Server, content: bytes) -> float:
    began = time.perf_counter()
    assert ask(connection, server, content)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
