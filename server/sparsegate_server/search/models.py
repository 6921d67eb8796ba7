"""The models that this gateway serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sparsegate_server.backends.base import Tier
from sparsegate_server.encoders.base import Encoder
from sparsegate_server.errors import ModelNotFound
from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.models.spec import ModelIdentity
from sparsegate_server.search.identity import mismatch
from sparsegate_server.search.served import ServedEncoder


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model runs: told in replies, but no part of its identity.

    Attributes:
        precision: numeric.
        backend: where its graph runs.
    """

    precision: str
    backend: str


class ServedModels:
    """Encoders by model name, and the backend that runs them. Models come and go while requests
    are served; each request keeps the encoder that it was given."""

    def __init__(self, encoders: Mapping[str, Encoder], backend: InferenceBackend) -> None:
        self._encoders = {name: ServedEncoder(encoder) for name, encoder in encoders.items()}
        self.backend = backend

    def all(self) -> list[Encoder]:
        """By name."""
        return [encoder for _, encoder in sorted(self._encoders.items())]

    def find(self, name: str) -> ServedEncoder | None:
        """The encoder that is served under exactly this name."""
        return self._encoders.get(name)

    def serve(self, encoder: Encoder) -> None:
        """Serves a model from now on, in the place of any other one of its name."""
        self._encoders[encoder.spec.name] = ServedEncoder(encoder)

    def withdraw(self, name: str, *, field: str = "model") -> ServedEncoder:
        """Serves a model no more. What it has begun goes on.

        Raises:
            ModelNotFound: it is not served.
        """
        encoder = self._encoders.pop(name, None)
        if encoder is None:
            raise self._not_found(name, field)
        return encoder

    def get(self, name: str, *, field: str = "model") -> Encoder:
        """The encoder of a model; an empty name means the only model.

        Raises:
            ModelNotFound: no such model, or an empty name while several are served.
        """
        if not name and len(self._encoders) == 1:
            return next(iter(self._encoders.values()))
        encoder = self._encoders.get(name)
        if encoder is None:
            raise self._not_found(name, field)
        return encoder

    def of_tier(self, tier: Tier) -> Encoder:
        """The encoder for a collection's texts.

        Raises:
            ModelNotFound: the model is not served now.
            FingerprintMismatch: a model of that name is served, but is not the one that made the
                collection's vectors.
        """
        encoder = self.get(tier.model, field="collection")
        given = encoder.spec.fingerprint
        if given != tier.fingerprint:
            raise mismatch(
                f"the {tier.model!r} that is served now has fingerprint",
                tier,
                given,
                encoder.spec.identity,
                remedy="serve the model that made them, or fill a new collection",
                field="collection",
            )
        return encoder

    def knowing(self, tier: Tier) -> Encoder | None:
        """The encoder that knows a collection's terms, for requests that bring vectors along; None
        where its model is not served, which they can do without.

        Raises:
            FingerprintMismatch: as `of_tier` does.
        """
        return self.of_tier(tier) if tier.model in self._encoders else None

    def check_vector(self, fingerprint: str, tier: Tier) -> None:
        """Refuses a vector that another model made: its weights mean something else, term by term.

        Raises:
            FingerprintMismatch: it names both fingerprints, and what differs where the other model
                is served here.
        """
        if fingerprint != tier.fingerprint:
            raise mismatch(
                "made by the model with fingerprint",
                tier,
                fingerprint,
                self._identity(fingerprint),
                remedy="encode with the collection's own model",
                field="fingerprint",
            )

    def execution(self, encoder: Encoder) -> Execution:
        """How an encoder's model runs here."""
        return Execution(encoder.spec.precision, self.backend.name)

    def _identity(self, fingerprint: str) -> ModelIdentity | None:
        """What a fingerprint is of, where such a model is served."""
        for encoder in self._encoders.values():
            if encoder.spec.fingerprint == fingerprint:
                return encoder.spec.identity
        return None

    def _not_found(self, name: str, field: str) -> ModelNotFound:
        served = ", ".join(sorted(self._encoders)) or "none"
        if not name:
            return ModelNotFound(f"name a model: served here are {served}", field=field)
        return ModelNotFound(
            f"model {name!r} is not served: served here are {served}; `sparsegate models load "
            f"{name}` serves it if it has been exported",
            field=field,
            metadata={"model": name},
        )
