"""What decides a dictionary and each stage of its making.

Knows nothing of files, or of how stages are done.
"""

from dataclasses import asdict, dataclass, field, replace

from ribolex.dictionary import Identity, Moments, Standardisation, Target
from ribolex.dictionary.identity import Level
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook
from ribolex.trainer.alignment.learn import AlignmentPlan
from ribolex.trainer.corpus import digest
from ribolex.trainer.data import Reading, TrainingData
from ribolex.trainer.evaluation import EvaluationPlan
from ribolex.trainer.fit import FitPlan, Fitted
from ribolex.trainer.ledger import Inputs, digest_of
from ribolex.trainer.publish import GateLimits

_CONTROL_SHARE = 0.25
"""Of the rows that the dictionary sees; its decoder being fixed, the control needs
fewer."""


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Everything that decides a dictionary, besides RNAs and language model."""

    name: str
    layer: int
    fit: FitPlan
    """Its target says whether `target_layer` or the difference to it is rebuilt."""
    target_layer: int | None = None
    """Layer that a transcoder rebuilds; None for an autoencoder."""
    hook: Hook = "normed"
    level: Level = "nucleotide"
    licence: str = "Apache-2.0"
    limits: GateLimits = field(default_factory=GateLimits)
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)
    alignment: AlignmentPlan = field(default_factory=AlignmentPlan)

    def __post_init__(self) -> None:
        if (self.target_layer is None) != (self.fit.target == "same"):
            raise InvalidRequestError(
                "target_layer",
                f"{self.target_layer} with the target {self.fit.target!r}, expected "
                "both for a transcoder or neither",
            )

    @property
    def reading(self) -> Reading:
        """Which activations it takes."""
        is_difference = self.fit.target == "difference"
        return Reading(
            self.hook, self.level, self.layer, self.target_layer, is_difference
        )


def stage_inputs(
    plan: TrainPlan, data: TrainingData, registry: str
) -> dict[str, Inputs]:
    """Returns what each stage depends on; a stage before it by that one's inputs."""
    rows = {**data.inputs(), **plan.reading._asdict()}
    out: dict[str, Inputs] = {"fit": {**rows, "plan": _told(plan.fit)}}
    out["control"] = {**rows, "plan": _told(control_of(plan.fit))}

    def after(*names: str, **more: object) -> Inputs:
        return {**{name: digest_of(out[name]) for name in names}, **more}

    out["export"] = after("fit", name=plan.name, licence=plan.licence)
    out["evaluate"] = after("export", "control", plan=asdict(plan.evaluation))
    out["annotate"] = after("export", "control")
    out["gates"] = after("evaluate", limits=asdict(plan.limits))
    out["align"] = after("export", plan=asdict(plan.alignment))
    out["candidate"] = after("gates", "annotate", "align")
    out["publish"] = after("candidate", registry=registry)
    return out


def _told(plan: FitPlan) -> dict[str, object]:
    """Returns what of a plan decides a fit."""
    fields = asdict(plan)
    for free in ("device", "checkpoint_steps"):
        del fields[free]
    return fields


def control_of(plan: FitPlan) -> FitPlan:
    """Returns the plan of the control with random directions."""
    # TopK for all: what is asked is what k features with random directions can do.
    return replace(
        plan,
        objective="topk",
        orthogonality=0.0,
        frozen_decoder=True,
        n_rows=max(1, int(plan.n_rows * _CONTROL_SHARE)),
    )


def identify(plan: TrainPlan, data: TrainingData, fitted: Fitted) -> Identity:
    """Returns the identity of what was fitted, without any measures."""
    sae, lm = fitted.sae, data.lm
    target = None
    if plan.target_layer is not None:
        is_difference = plan.fit.target == "difference"
        scale = _standardisation(fitted.target_moments)
        target = Target(plan.target_layer, is_difference, scale)
    return Identity(
        lm_name=lm.name,
        lm_digest=lm.digest,
        layer=plan.layer,
        hook=plan.hook,
        level=plan.level,
        kind="sae" if target is None else "transcoder",
        activation=sae.architecture,
        k=sae.k,
        d_in=sae.d_in,
        n_features=sae.n_features,
        standardisation=_standardisation(fitted.moments),
        training_data=digest(data.rnas),
        seed=plan.fit.seed,
        licence=plan.licence,
        target=target,
    )


def _standardisation(moments: Moments) -> Standardisation:
    return Standardisation(tuple(moments.mean.tolist()), tuple(moments.sigma.tolist()))
