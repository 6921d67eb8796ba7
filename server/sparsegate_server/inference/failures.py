"""What Triton's own errors mean for a caller: the one place that knows their texts."""

from __future__ import annotations

from sparsegate_server.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    ModelLoadFailed,
    ModelNotFound,
    Overloaded,
    SparsegateError,
)

RETRY_SECONDS = 1.0

_AWAY = frozenset({"UNAVAILABLE", "CANCELLED", "UNKNOWN", "ABORTED"})
"""Nothing answered, or a server that is going away did: the batch may go again."""

_OUT_OF_MEMORY = ("shared memory", "mapped region", "no space left on device")
_NO_ORDERS = "explicit model load / unload is not allowed"
_DEAD = "stub process"
_BROKEN_STREAM = "rst_stream"


class OutOfSharedMemory(InferenceUnavailable):
    """A python model could not hand its batch over. Others, or the same a little later, may fit, so
    that the server is not set aside for it."""


class ModelDied(InferenceUnavailable):
    """The process of a python model has died. Triton starts no other until the model is loaded
    anew, and still says that the model is ready."""


class Unloaded(InferenceUnavailable):
    """A model that the server had by order is gone there, and is ordered again."""


class TakesNoOrders(ModelLoadFailed):
    """The server loads what it chooses itself, at its start."""


def translate(url: str, model: str, status: str, text: str) -> SparsegateError:
    """An error of our tree for one of Triton's or of the connection to it.

    Args:
        url: of the server.
        model: that was asked for.
        status: name of the gRPC status, "" when there is none.
        text: of the error, as Triton or gRPC words it.

    Returns:
        InferenceUnavailable where the same batch may go again; every other kind is final.
    """
    words = text.lower()
    match status:
        case "UNAVAILABLE" if "exceeds maximum queue size" in words:
            return Overloaded(
                f"Triton at {url} has a full queue: retry later or send less",
                retry_after=RETRY_SECONDS,
            )
        case _ if status == "DEADLINE_EXCEEDED" or "request timeout expired" in words:
            return late(url)
        case "NOT_FOUND":
            return ModelNotFound(
                f"Triton at {url} does not serve model {model!r}: export the model to its "
                "repository and load it there, or do not serve it here (models.names)",
                metadata={"model": model},
            )
        case _ if _DEAD in words:
            return ModelDied(
                f"a process of model {model!r} on Triton at {url} has died ({text}): retry; the "
                "gateway loads it anew where Triton has --model-control-mode=explicit, else "
                "restart Triton",
                retry_after=RETRY_SECONDS,
            )
        case _ if status in _AWAY or _BROKEN_STREAM in words:
            return away(url, text)
        case _:
            return _failed(url, model, text)


def translate_load(url: str, model: str, status: str, text: str) -> SparsegateError:
    """An error of our tree for one that a server gave when it was told to load a model. Arguments
    as for `translate`."""
    if _NO_ORDERS in text.lower():
        return TakesNoOrders(
            f"Triton at {url} does not have model {model!r} and takes no orders to load it: start "
            "it with --model-control-mode=explicit, or have it load the model by itself",
            metadata={"model": model},
        )
    if status in _AWAY or status == "DEADLINE_EXCEEDED":
        return away(url, text)
    cause = text.strip().partition("\n")[0]
    return ModelLoadFailed(
        f"Triton at {url} did not load model {model!r} ({cause}): export it to the repository that "
        "this Triton reads (--model-repository); its own log says more",
        metadata={"model": model},
    )


def _failed(url: str, model: str, text: str) -> SparsegateError:
    if any(part in text.lower() for part in _OUT_OF_MEMORY):
        return OutOfSharedMemory(
            f"Triton at {url} is out of shared memory: give its container more (--shm-size=1g), "
            f"or send smaller batches ({text})",
            retry_after=RETRY_SECONDS,
        )
    return InferenceFailed(
        f"Triton at {url} failed on model {model!r}: {text}; its own log says more",
        metadata={"model": model},
    )


def late(url: str) -> DeadlineExceeded:
    """The error for a batch whose time has run out."""
    return DeadlineExceeded(f"Triton at {url} gave no answer in time: allow more time or send less")


def away(url: str, text: str) -> InferenceUnavailable:
    """The error for a server that cannot be reached or cannot answer now."""
    return InferenceUnavailable(
        f"Triton at {url} is away ({text}): retry; if it lasts, check that Triton runs and that "
        "triton.urls names it",
        retry_after=RETRY_SECONDS,
    )


def unloaded(url: str, model: str) -> Unloaded:
    """The error for a model that was loaded by order and is gone."""
    return Unloaded(
        f"model {model!r} is no longer loaded on Triton at {url}, which was started again or told "
        "by another to unload it: retry, it is being loaded again",
        retry_after=RETRY_SECONDS,
    )


def hung(url: str, seconds: float) -> InferenceUnavailable:
    """The error for a server that takes connections and answers nothing."""
    return InferenceUnavailable(
        f"Triton at {url} gave no answer within {seconds:g} s: retry; if it lasts, it hangs or has "
        "too much to do: restart it, or name more servers in triton.urls",
        retry_after=RETRY_SECONDS,
    )
