"""The models that this gateway serves."""

from __future__ import annotations

from collections.abc import Mapping

from sparsegate_server.encoders.base import Encoder
from sparsegate_server.errors import FingerprintMismatch, ModelNotFound
from sparsegate_server.inference.base import InferenceBackend


class ServedModels:
    """Encoders by model name, and the backend that runs them."""

    def __init__(self, encoders: Mapping[str, Encoder], backend: InferenceBackend) -> None:
        self._encoders = dict(sorted(encoders.items()))
        self.backend = backend

    def all(self) -> list[Encoder]:
        """By name."""
        return list(self._encoders.values())

    def get(self, name: str, *, field: str = "model") -> Encoder:
        """The encoder of a model; an empty name means the only model.

        Raises:
            ModelNotFound: no such model, or an empty name while several are served.
        """
        if not name and len(self._encoders) == 1:
            return next(iter(self._encoders.values()))
        encoder = self._encoders.get(name)
        if encoder is None:
            served = ", ".join(self._encoders) or "none"
            problem = f"model {name!r} is not served" if name else "name a model"
            raise ModelNotFound(f"{problem}: served here are {served}", field=field)
        return encoder

    def of_collection(self, model: str, fingerprint: str) -> Encoder:
        """The encoder for a collection's texts.

        Raises:
            ModelNotFound: the collection's model is not served now.
            FingerprintMismatch: a model of that name is served, but is not the one that made the
                collection's vectors.
        """
        encoder = self.get(model, field="collection")
        check_fingerprint(encoder.spec.fingerprint, fingerprint, field="collection")
        return encoder


def check_fingerprint(given: str, expected: str, *, field: str) -> None:
    """Refuses what another model made: its weights mean something else, term by term.

    Raises:
        FingerprintMismatch: both are named in the message.
    """
    if given != expected:
        raise FingerprintMismatch(
            f"made by the model with fingerprint {given}, but the collection holds vectors of "
            f"{expected}: encode with the collection's own model",
            field=field,
            metadata={"given": given, "expected": expected},
        )
