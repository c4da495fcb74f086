"""`accel-clf serve` beside what one would use instead: Flask with a pipeline, and infinity, under the same load.

python -m benchmarks.serving --model FOLDER [--infinity PYTHON] [--clients 1 8 32 128] [--seconds 4] [--rounds 5]
    [--precision auto]

Each client asks for one text, waits for its label, and asks for the next, on a connection that stays where the server
lets it. Texts have lengths like tweets' (15 words in the mean) or like reviews' (180). All servers are there, and one
at a time has the load; they take turns, and rates and ratios are medians of rounds: a machine's speed drifts. infinity,
if wanted, comes from an environment of its own, named by its Python (pip install 'infinity-emb[server,torch]').
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

WORDS = {"tweets": (4, 26), "reviews": (40, 320)}  # drawn evenly between


Load = tuple[float, list[float]]  # requests a second, and what each took in seconds


@dataclass(frozen=True)
class Server:
    """How to start one, what it is asked, and where."""

    name: str
    command: list[str]
    port: int
    path: str
    key: str
    many: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the encoder: a folder or Hub id")
    parser.add_argument("--infinity", metavar="PYTHON", help="the Python of an environment that has infinity_emb")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=4.0, help="of load, each time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", help="ours: auto, fp32, bf16")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        contestants = list(servers(trained(given.model, Path(folder)), given.infinity, given.precision))
        for server in contestants:
            running.enter_context(started(server))
        for kind in WORDS:
            asked = texts(kind)
            print(f"\n{kind}, requests/s (p50 / p95 / p99 in ms)")
            print(f"{'clients':>8}" + "".join(f"{server.name:>34}" for server in contestants), flush=True)
            ratios = []
            for clients in given.clients:
                rounds: list[list[Load]] = [[] for _ in contestants]
                for number in range(given.rounds):
                    for place in range(number, number + len(contestants)):
                        turn = place % len(contestants)
                        rounds[turn].append(loaded(contestants[turn], asked, clients, given.seconds))
                print(f"{clients:8}" + "".join(f"{as_line(each):>34}" for each in rounds), flush=True)
                ratios.append([ratio(rounds[0], each) for each in rounds[1:]])
            for server, found in zip(contestants[1:], zip(*ratios, strict=True), strict=True):
                print(f"accel_clf / {server.name}: " + ", ".join(f"{each:.2f}" for each in found), flush=True)


def trained(model: str, folder: Path) -> Path:
    """A run with three labels (infinity has no classifier with fewer); what it says does not matter here."""
    from accel_clf.config.load import load
    from accel_clf.data.demo_corpus import reviews
    from accel_clf.training.trainer import train

    rows = [f"{json.dumps(text)[1:-1]}\t{place % 3}" for place, (text, _) in enumerate(reviews(48))]
    (folder / "rows.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    train(load(None, {
        "model": {"name": model}, "data": {"train": str(folder / "rows.tsv"), "validation": None, "max_length": 512},
        "output": str(folder / "run"),
    }))  # fmt: skip
    return folder / "run"


def servers(run: Path, infinity: str | None, precision: str) -> Iterator[Server]:
    model, port = str(run / "model"), [free_port() for _ in range(3)]
    ours = [sys.executable, "-m", "accel_clf.cli", "serve", str(run), "--precision", precision, "--port", str(port[0])]
    yield Server("accel_clf", ours, port[0], "/predict", "inputs", False)
    plain = [sys.executable, "-m", "benchmarks.plain_flask", model, str(port[1])]
    yield Server("Flask + pipeline", plain, port[1], "/predict", "inputs", False)
    if infinity:
        command = [str(Path(infinity).with_name("infinity_emb")), "v2", "--model-id", model, "--served-model-name", "m"]
        options = ["--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port[2])]
        yield Server("infinity", [*command, *options], port[2], "/classify", "input", True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def started(server: Server) -> Iterator["subprocess.Popen[bytes]"]:
    with tempfile.TemporaryFile("w+") as said:
        environment = {**os.environ, "DO_NOT_TRACK": "1"}
        process = subprocess.Popen(server.command, stdout=said, stderr=said, env=environment)
        try:
            until = time.monotonic() + 180
            while not answers(server):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    raise SystemExit(f"{server.name} does not start:\n{said.read()[-3000:]}")
                time.sleep(0.5)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def body(server: Server, text: str) -> bytes:
    asked: dict[str, object] = {server.key: [text] if server.many else text}
    return json.dumps({**asked, "model": "m"} if server.many else asked).encode()


def answers(server: Server) -> bool:
    try:
        return ask(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30), server, body(server, "a film"))
    except OSError:
        return False


def ask(connection: http.client.HTTPConnection, server: Server, content: bytes) -> bool:
    connection.request("POST", server.path, content, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    reply.read()
    return reply.status == 200


def texts(kind: str) -> list[str]:
    from accel_clf.data.demo_corpus import reviews

    draw = random.Random(0)
    words = [word for text, _ in reviews(4000) for word in text.split()]
    lengths = (draw.randint(*WORDS[kind]) for _ in range(2000))
    return [
        " ".join(words[start : start + length]) for length in lengths for start in [draw.randrange(len(words) - 400)]
    ]


def loaded(server: Server, texts: list[str], clients: int, seconds: float) -> Load:
    """What a server did under the load of so many clients."""
    contents = [body(server, text) for text in texts]
    took: list[list[float]] = [[] for _ in range(clients)]
    begin = threading.Barrier(clients + 1)
    ended = [0.0] * clients

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        connection.connect()
        begin.wait()
        until, place = time.perf_counter() + seconds, number * 31
        while (now := time.perf_counter()) < until:
            if not ask(connection, server, contents[place % len(contents)]):
                raise SystemExit(f"{server.name} has refused a request")
            took[number].append(time.perf_counter() - now)
            place += clients
        ended[number] = time.perf_counter()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        answers(server)  # warm
    begin.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    times = sorted(one for own in took for one in own)
    return len(times) / (max(ended) - began), times


def ratio(ours: Sequence[Load], theirs: Sequence[Load]) -> float:
    return statistics.median(one / other for (one, _), (other, _) in zip(ours, theirs, strict=True))


def as_line(rounds: Sequence[Load]) -> str:
    took = sorted(one for _, times in rounds for one in times)
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else took * 99
    requests = statistics.median(rate for rate, _ in rounds)
    return f"{requests:.1f} ({' / '.join(f'{1000 * cuts[place - 1]:.0f}' for place in (50, 95, 99))})"


if __name__ == "__main__":
    main()
