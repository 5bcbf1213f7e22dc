"""A trained model in MLflow's registry, ready to be served. Imports mlflow: import it when needed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array, Object, Property

from sweeper.tracking.client import find_or_make_experiment, open_client, translated
from sweeper.tracking.projection import SWEEP_TAG, TRIAL_TAG

ALIAS: Final = "champion"
_ARTIFACT: Final = "model"
_DESCRIPTION_CHARACTERS: Final = 5000


@dataclass(frozen=True)
class Promotion:
    """A model that is to be registered."""

    name: str
    """Of the registered model."""
    folder: Path
    """What `sweeper export` wrote."""
    card: str
    """What a person should know of it, Markdown."""
    classes: tuple[str, ...]
    sweep_id: str
    trial: int
    experiment: str
    loader: str
    """The module that opens the folder where it is served; it needs no mlflow."""
    column: str
    """The column of the table that it takes: images in base64."""
    example: str
    """A value of the column."""
    top_k: int
    """Guesses that an image gets, where nobody asks for another number."""
    requirement: str
    """What must be installed where it is served, for pip."""


@dataclass(frozen=True)
class Promoted:
    """A version of a registered model."""

    name: str
    version: int
    uri: str
    """`models:/<name>@champion`."""


def promote(uri: str, promotion: Promotion, *, artifacts: Path | None) -> Promoted:
    """Registers a model as the champion of its name.

    The model goes into the artifacts of its trial's run; a version of the same name made before stays, without alias.

    Args:
        uri: of the MLflow store or server.
        promotion: the model.
        artifacts: where a new experiment keeps its artifacts; None lets the server decide.

    Raises:
        TrackingError: nothing answers at `uri`, or it has no registry.
    """
    client = open_client(uri)
    with tempfile.TemporaryDirectory() as folder, translated(uri):
        packed = Path(folder) / _ARTIFACT
        mlflow.pyfunc.save_model(
            path=str(packed),
            loader_module=promotion.loader,
            data_path=str(promotion.folder),
            signature=_signature(promotion),
            input_example=pd.DataFrame({promotion.column: [promotion.example]}),
            pip_requirements=[promotion.requirement],
            metadata={"classes": list(promotion.classes)},
        )
        experiment_id = find_or_make_experiment(client, promotion.experiment, artifacts)
        run_id = _run_of(client, experiment_id, promotion)
        client.log_artifacts(run_id, str(packed), _ARTIFACT)
        return _registered(client, run_id, promotion)


def _registered(client: MlflowClient, run_id: str, promotion: Promotion) -> Promoted:
    try:
        client.create_registered_model(promotion.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        promotion.name,
        source=f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACT}",
        run_id=run_id,
        description=promotion.card[:_DESCRIPTION_CHARACTERS],
        tags={"sweeper.trial": str(promotion.trial), "sweeper.classes": str(len(promotion.classes))},
    )
    client.set_registered_model_alias(promotion.name, ALIAS, made.version)
    client.update_registered_model(promotion.name, description=promotion.card[:_DESCRIPTION_CHARACTERS])
    return Promoted(promotion.name, int(made.version), f"models:/{promotion.name}@{ALIAS}")


def _run_of(client: MlflowClient, experiment_id: str, promotion: Promotion) -> str:
    """Returns the trial's run, or one made for the model where the sweep was not tracked."""
    tags = {SWEEP_TAG: promotion.sweep_id, TRIAL_TAG: str(promotion.trial)}
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_runs([experiment_id], filter_string=wanted, max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment_id, tags=tags, run_name=f"trial-{promotion.trial:03d}")
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _signature(promotion: Promotion) -> ModelSignature:
    guess = Object([Property("label", DataType.string), Property("probability", DataType.double)])
    columns: list[tuple[Any, str]] = [
        (DataType.string, "label"), (DataType.double, "probability"), (Array(guess), "guesses")
    ]  # fmt: skip
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, promotion.column)]),
        outputs=Schema([ColSpec(kind, name) for kind, name in columns]),
        params=ParamSchema([ParamSpec("top_k", DataType.integer, promotion.top_k)]),
    )
