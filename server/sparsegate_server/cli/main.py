"""The entry point of `sparsegate-server`."""

from __future__ import annotations

import sys

import typer

from sparsegate_server.cli import index, model, serve, triton
from sparsegate_server.cli.console import fail
from sparsegate_server.errors import SparsegateError

app = typer.Typer(
    name="sparsegate-server",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""The Sparsegate gateway: neural sparse search over gRPC.

    From nothing to a running service:

      sparsegate-server model export splade-tiny   [dim]# fetch a model and write its graph[/dim]

      sparsegate-server serve                      [dim]# serve it, computing in this process[/dim]

    With NVIDIA's Triton doing the inference:

      sparsegate-server triton                     [dim]# in one terminal[/dim]

      sparsegate-server serve --inference triton   [dim]# in another[/dim]
    """,
)
app.add_typer(model.app, name="model")
app.add_typer(index.app, name="index")
app.command()(serve.serve)
app.command()(triton.triton)


def main() -> None:
    """Runs one command; a deliberate error ends it with one line and exit code 1, and so does a
    file that the system will not let it use."""
    try:
        app(prog_name="sparsegate-server")
    except SparsegateError as error:
        fail(error.message)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        fail(
            f"{error.filename}: {error.strerror}. Check that it is there, that this user may read "
            "it (or write it, where the command makes it), and that the disk has room"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
