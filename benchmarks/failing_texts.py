"""Send `accel-clf serve` texts of which some make the model fail, and check every answer, its processes and its memory.

python -m benchmarks.failing_texts [--model FOLDER] [--requests 10000] [--clients 32] [--share 0.01] [--kills 0]

A word is added to the tokenizer of a run whose id is beyond the model's embeddings: a text with it raises IndexError.
Each other text must get the answer that it gets alone, up to rounding, which goes by the batch's shape. With --kills
the model's process is killed so many times at random moments, and no answer may be lost either.
"""

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.serving import Server, free_port, make_texts, request_body, running, train_classifier

BAD = "zyzzyva"
TEXTS = 200
MOST_DIFFERENCE = 1e-5  # of scores
WARM_UP_SHARE = 0.2  # of the requests, after which memory is compared
MOST_GROWTH = 0.03  # of memory
TIMEOUT = 300  # seconds, of a request
MEBIBYTE = 2**20  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="the encoder: a folder or Hub id (the demo's)")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--share", type=float, default=0.01, help="of texts that the model fails on (0.01)")
    parser.add_argument("--kills", type=int, default=0, help="of the model's process (0)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, port = train_classifier(args.model, Path(folder)), free_port()
        add_bad_word(run / "model")
        command = [sys.executable, "-m", "accel_clf.cli", "serve", str(run), "--port", str(port), "--precision", "fp32"]
        # All requests wait while a process is replaced; none is refused, nor times out where that takes long.
        limits = ["--queue", str(2 * args.clients), "--timeout", str(TIMEOUT)]
        server = Server("accel_clf", [*command, *limits], port, "/predict", "inputs", False)
        with running(server) as process:
            sys.exit(not check(server, psutil.Process(process.pid), args))


def add_bad_word(model: Path) -> None:
    """Add a word without an embedding to the tokenizer in a model's folder."""
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    number = json.loads((model / "config.json").read_text())["vocab_size"]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"].append({"id": number, "content": BAD, **flags})
    path.write_text(json.dumps(tokenizer))


def check(server: Server, process: psutil.Process, args: argparse.Namespace) -> bool:
    """Send the requests, print what has come of them, and return whether all is as it should be."""
    texts = make_texts("tweets")[:TEXTS]
    expected = [dict(ask(http.client.HTTPConnection("127.0.0.1", server.port), server, text)[1]) for text in texts]
    rng = random.Random(0)
    is_bad = [rng.random() < args.share for _ in range(args.requests)]
    [model] = process.children()
    outcomes: Counter[str] = Counter()
    memory: list[int] = []
    lock = threading.Lock()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        for request in range(number, args.requests, args.clients):
            text, right = texts[request % len(texts)], expected[request % len(texts)]
            status, scores = ask(connection, server, f"{text} {BAD}" if is_bad[request] else text)
            if is_bad[request]:
                outcome = "failing, 422" if status == 422 else f"failing, but {status}"
            elif status != 200:
                outcome = f"lost: {status}"
            else:
                same = all(abs(score - right[label]) <= MOST_DIFFERENCE for label, score in scores)
                outcome = "right" if same else "changed"
            with lock:
                outcomes[outcome] += 1
                if outcomes.total() % (args.requests // 10) == 0:
                    memory.append(sum(member.memory_info().rss for member in (process, *process.children())))
        connection.close()

    began = time.monotonic()
    with ThreadPoolExecutor(args.clients) as clients:
        futures = [clients.submit(client, number) for number in range(args.clients)]
        for kill in range(args.kills):
            while outcomes.total() < (kill + rng.random()) * args.requests / args.kills:
                time.sleep(0.01)
            [member.kill() for member in process.children()]
        for future in futures:
            future.result()
    seconds = time.monotonic() - began
    growth = memory[-1] / memory[int(WARM_UP_SHARE * len(memory))] - 1
    same_process = args.kills > 0 or process.children() == [model]
    print(f"{args.requests} requests by {args.clients} clients in {seconds:.0f} s: {dict(outcomes)}")
    print(f"memory: {', '.join(f'{size / MEBIBYTE:.0f}' for size in memory)} MiB; {growth:+.1%} after the first fifth")
    if not args.kills:
        print(f"the model's process: {'the same' if same_process else 'another'}")
    print(metrics(server))
    all_right = outcomes == Counter({"right": args.requests - sum(is_bad), "failing, 422": sum(is_bad)})
    return all_right and same_process and process.is_running() and (args.kills > 0 or growth < MOST_GROWTH)


def ask(connection: http.client.HTTPConnection, server: Server, text: str) -> tuple[int, list[tuple[str, float]]]:
    """Send a text; return the status, and the labels with their scores if there are any."""
    connection.request("POST", server.path, request_body(server, text), {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = json.loads(response.read())
    return response.status, [(item["label"], item["score"]) for item in content[0]] if response.status == 200 else []


def metrics(server: Server) -> str:
    """Return the server's own counts of failures."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    names = ("accel_clf_failed_texts_total", "accel_clf_worker_restarts_total")
    return "\n".join(line for line in lines if line.startswith(names))


if __name__ == "__main__":
    main()
