"""From nothing to an explained answer: `make demo`.

Pulls and exports the model, starts Triton and the gateway on free loopback ports, stores 20 films,
asks a question that shares no word with the film it looks for, shows why that film was found, kills
the gateway and finds the film again, and stops everything it started.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from sparsegate import Client, Document
from sparsegate.cli.explanation import explanation_table
from sparsegate.cli.render import expansion_table, search_table
from sparsegate_server.errors import SparsegateError, TritonPreflightError
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
MOVIES = Path(__file__).with_name("movies.json")
MODEL = "splade-tiny"
QUESTION = "A movie about music"

console = Console()


def step(text: str) -> None:
    console.print(f"[bold cyan]▸[/] {text}", highlight=False)


def detail(text: str) -> None:
    console.print(f"  [dim]{text}[/]", highlight=False)


def films() -> list[Document]:
    return [
        Document(
            id=film["id"],
            text=film["movie_description"],
            payload={"film": film["movie_name"], "minutes": film["movie_watch_time_min"]},
        )
        for film in json.loads(MOVIES.read_text())
    ]


def start_triton(stack: ExitStack) -> dict[str, dict[str, Any]]:
    """The gateway's settings for inference: Triton, or in process where Triton cannot run here."""
    step("Starting NVIDIA Triton on loopback")
    try:
        triton = stack.enter_context(TritonServer(REPOSITORY, [MODEL], report=detail))
    except TritonPreflightError as error:
        console.print(f"  [yellow]Triton cannot run here: {error.message}[/]")
        console.print("  [yellow]Falling back to onnx: the same graph in the gateway's process[/]")
        return {"inference": {"backend": "onnx"}}
    detail(f"{MODEL} is served at {triton.url}")
    return {"inference": {"backend": "triton"}, "triton": {"urls": [triton.url]}}


def ask(client: Client) -> None:
    step(f"Asking: [bold]{QUESTION}[/]")
    result = client.search("movies", QUESTION, limit=5, with_payload=True, with_query=True)
    times = result.timings
    console.print(search_table(result, ["film", "minutes"], title="Films"))
    detail(
        f"tokenize {times.tokenize_ms:.1f} ms, queue {times.queue_ms:.1f}, infer "
        f"{times.infer_ms:.1f}, search {times.search_ms:.1f}, total {times.total_ms:.1f}; "
        f"{result.postings_scored} postings scored"
    )
    if result.query is not None:
        console.print(expansion_table(result.query, 12, title="What the question became"))
    best = result.hits[0]
    explanation = client.explain("movies", QUESTION, best.id)
    console.print(explanation_table(explanation, title=f"Why “{best.payload['film']}”"))


def lose_nothing(gateway: GatewayProcess) -> None:
    step("Killing the gateway (SIGKILL), starting it again, asking again")
    gateway.kill()
    gateway.start()
    with Client(gateway.address) as client:
        client.wait_ready()
        collection = client.get_collection("movies")
        result = client.search("movies", QUESTION, limit=1, with_payload=True)
    best = result.hits[0]
    detail(
        f"{collection.documents} films at write {collection.sequence}; the first is still "
        f"{best.payload['film']} with {best.score:.4f}"
    )


def run(inference: str) -> None:
    step(f"Model {MODEL}")
    export(pull(MODEL, detail), REPOSITORY, report=detail)
    with ExitStack() as stack:
        settings = (
            start_triton(stack) if inference == "triton" else {"inference": {"backend": inference}}
        )
        step(f"Starting the gateway, inference by {settings['inference']['backend']}")
        models = {"repository": REPOSITORY, "names": [MODEL]}
        gateway = stack.enter_context(GatewayProcess(models=models, **settings))
        detail(f"gRPC at {gateway.address}, metrics on port {gateway.metrics_port}")
        client = stack.enter_context(Client(gateway.address))
        step("Creating the collection [bold]movies[/] and storing 20 films")
        client.create_collection("movies", model=MODEL, shards=2)
        client.upsert("movies", films()).raise_for_errors()
        ask(client)
        lose_nothing(gateway)
        step("Stopping what was started")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inference", choices=("triton", "onnx"), default="triton")
    try:
        run(parser.parse_args().inference)
    except SparsegateError as error:
        sys.exit(f"demo: {error.message}")


if __name__ == "__main__":
    main()
