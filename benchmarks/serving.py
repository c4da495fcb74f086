"""Compare `accel-clf serve` with the alternatives, Flask with a pipeline and infinity, under the same load.

python -m benchmarks.serving --model FOLDER [--infinity PYTHON] [--clients 1 8 32 128] [--seconds 4] [--rounds 5]
    [--precision auto]

Each client sends one text, waits for its label, and sends the next, on a connection that stays open where the server
allows it. Texts are as long as tweets (15 words on average) or reviews (180). All servers run all the time, but only
one is under load; they take turns, and rates and ratios are medians over rounds, because a machine's speed drifts.
infinity, if requested, comes from a separate environment, selected by its Python (pip install
'infinity-emb[server,torch]').
"""

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

WORD_COUNTS = {"tweets": (4, 26), "reviews": (40, 320)}  # words per text, uniformly distributed
START_TIMEOUT = 180  # seconds
WARM_UP_REQUESTS = 3
PERCENTILES = (50, 95, 99)

LoadResult = tuple[float, list[float]]  # requests per second, and the latency of each request in seconds


@dataclass(frozen=True)
class Server:
    """How to start a server, and the requests that it accepts.

    Attributes:
        name: the column's heading.
        command: the command that starts it.
        port: the port that it listens on.
        path: the endpoint's path.
        input_key: the key of the text in a request's JSON.
        takes_list: whether the input must be a list.
    """

    name: str
    command: list[str]
    port: int
    path: str
    input_key: str
    takes_list: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the encoder: a folder or Hub id")
    parser.add_argument("--infinity", metavar="PYTHON", help="the Python of an environment with infinity_emb")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", help="of accel_clf: auto, fp32, bf16")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = list(list_servers(train_classifier(args.model, Path(folder)), args.infinity, args.precision))
        for server in servers:
            stack.enter_context(running(server))
        for text_type in WORD_COUNTS:
            texts = make_texts(text_type)
            print(f"\n{text_type}, requests/s (p50 / p95 / p99 in ms)")
            print(f"{'clients':>8}" + "".join(f"{server.name:>34}" for server in servers), flush=True)
            ratios = []
            for clients in args.clients:
                results: list[list[LoadResult]] = [[] for _ in servers]
                for round_number in range(args.rounds):
                    for turn in range(round_number, round_number + len(servers)):
                        index = turn % len(servers)
                        results[index].append(measure_load(servers[index], texts, clients, args.seconds))
                print(f"{clients:8}" + "".join(f"{format_results(rounds):>34}" for rounds in results), flush=True)
                ratios.append([rate_ratio(results[0], rounds) for rounds in results[1:]])
            for server, server_ratios in zip(servers[1:], zip(*ratios, strict=True), strict=True):
                formatted = ", ".join(f"{ratio:.2f}" for ratio in server_ratios)
                print(f"accel_clf / {server.name}: {formatted}", flush=True)


def train_classifier(model: str, folder: Path) -> Path:
    """Train a run with three labels (infinity needs at least three) and return it; its predictions do not matter."""
    from accel_clf.config.load import load
    from accel_clf.data.demo_corpus import reviews
    from accel_clf.training.run import train

    rows = [f"{json.dumps(text)[1:-1]}\t{number % 3}" for number, (text, _) in enumerate(reviews(48))]
    (folder / "rows.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    train(load(None, {
        "model": {"name": model}, "data": {"train": str(folder / "rows.tsv"), "validation": None, "max_length": 512},
        "output": str(folder / "run"),
    }))  # fmt: skip
    return folder / "run"


def list_servers(run: Path, infinity: str | None, precision: str) -> Iterator[Server]:
    model, ports = str(run / "model"), [free_port() for _ in range(3)]
    serve = ["serve", str(run), "--precision", precision, "--port", str(ports[0])]
    accel_clf = [sys.executable, "-m", "accel_clf.cli", *serve]
    yield Server("accel_clf", accel_clf, ports[0], "/predict", "inputs", False)
    plain_flask = [sys.executable, "-m", "benchmarks.plain_flask", model, str(ports[1])]
    yield Server("Flask + pipeline", plain_flask, ports[1], "/predict", "inputs", False)
    if infinity:
        command = [str(Path(infinity).with_name("infinity_emb")), "v2", "--model-id", model, "--served-model-name", "m"]
        options = ["--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", str(ports[2])]
        yield Server("infinity", [*command, *options], ports[2], "/classify", "input", True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(server: Server) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a server, wait until it responds, and stop it at the end.

    Raises:
        SystemExit: it does not start; the message has its output.
    """
    with tempfile.TemporaryFile("w+") as output:
        environment = {**os.environ, "DO_NOT_TRACK": "1"}
        process = subprocess.Popen(server.command, stdout=output, stderr=output, env=environment)
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not is_responding(server):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise SystemExit(f"{server.name} does not start:\n{output.read()[-3000:]}")
                time.sleep(0.5)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def request_body(server: Server, text: str) -> bytes:
    body: dict[str, object] = {server.input_key: [text] if server.takes_list else text}
    return json.dumps({**body, "model": "m"} if server.takes_list else body).encode()


def is_responding(server: Server) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        return send_request(connection, server, request_body(server, "a film"))
    except OSError:
        return False


def send_request(connection: http.client.HTTPConnection, server: Server, body: bytes) -> bool:
    """Send a request and return whether its status is 200."""
    connection.request("POST", server.path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status == 200


def make_texts(text_type: str) -> list[str]:
    """Return 2000 texts, the same each time.

    Args:
        text_type: a key of WORD_COUNTS.
    """
    from accel_clf.data.demo_corpus import reviews

    rng = random.Random(0)
    words = [word for text, _ in reviews(4000) for word in text.split()]
    lengths = (rng.randint(*WORD_COUNTS[text_type]) for _ in range(2000))
    return [
        " ".join(words[start : start + length]) for length in lengths for start in [rng.randrange(len(words) - 400)]
    ]


def measure_load(server: Server, texts: list[str], clients: int, seconds: float) -> LoadResult:
    """Put a server under load and return its rate and latencies.

    Args:
        server: a running server.
        texts: the texts to send, in turn.
        clients: number of concurrent clients.
        seconds: the duration of the load.
    """
    bodies = [request_body(server, text) for text in texts]
    latencies: list[list[float]] = [[] for _ in range(clients)]
    start = threading.Barrier(clients + 1)
    end_times = [0.0] * clients

    def run_client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        connection.connect()
        start.wait()
        deadline, index = time.perf_counter() + seconds, number * 31
        while (began := time.perf_counter()) < deadline:
            if not send_request(connection, server, bodies[index % len(bodies)]):
                raise SystemExit(f"{server.name} has refused a request")
            latencies[number].append(time.perf_counter() - began)
            index += clients
        end_times[number] = time.perf_counter()

    threads = [threading.Thread(target=run_client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for _ in range(WARM_UP_REQUESTS):
        is_responding(server)
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    all_latencies = sorted(latency for client_latencies in latencies for latency in client_latencies)
    return len(all_latencies) / (max(end_times) - began), all_latencies


def rate_ratio(results: Sequence[LoadResult], baseline: Sequence[LoadResult]) -> float:
    """Return the median over rounds of a server's rate divided by the baseline's."""
    return statistics.median(
        rate / baseline_rate for (rate, _), (baseline_rate, _) in zip(results, baseline, strict=True)
    )


def format_results(rounds: Sequence[LoadResult]) -> str:
    """Return the median rate, and the latency percentiles of all rounds together."""
    latencies = sorted(latency for _, round_latencies in rounds for latency in round_latencies)
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    rate = statistics.median(rate for rate, _ in rounds)
    return f"{rate:.1f} ({' / '.join(f'{1000 * cuts[percentile - 1]:.0f}' for percentile in PERCENTILES)})"


if __name__ == "__main__":
    main()
