"""Network that weights were trained in, beyond what their tensors tell; it travels in the metadata of our files."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open

from fusion_ln.errors import WeightsError, in_short
from fusion_ln.models.weights.places import TIMM_CONFIG
from fusion_ln.records.parts import Share
from fusion_ln.settings.base import Settings

NETWORK_KEY = "fusion_ln.network"  # in the metadata of a safetensors file

Argument = bool | int | float | str | tuple[int, ...]
BUILT_HERE = ("img_size", "in_chans", "num_classes")  # arguments that this package sets itself
OF_LOADING = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only")
Spread = Annotated[float, Field(gt=0, le=1)]


class Network(Settings):
    """Constructor, normalisation and origin of weights.

    Attributes:
        backbone: timm's name.
        arguments: Constructor arguments that differ from timm's, such as ``num_heads``.
        mean, std: Normalisation of pictures in [0, 1], by channel.
        preset: Publication that the weights are of, where one was named.
        trained_on: Data sets that the weights learnt from, in words.
        sources: Those of them that this package imports, by the name of their source.
        missing: Tensors that the weights lack and training draws.
    """

    backbone: str
    arguments: dict[str, Argument] = Field(default_factory=dict)
    mean: tuple[Share, Share, Share]
    std: tuple[Spread, Spread, Spread]
    preset: str = ""
    licence: str = ""
    citation: str = ""
    trained_on: str = ""
    sources: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @field_validator("arguments")
    @classmethod
    def _check(cls, arguments: dict[str, Argument]) -> dict[str, Argument]:
        if taken := [name for name in (*BUILT_HERE, *OF_LOADING) if name in arguments]:
            raise ValueError(f"{taken[0]} is set by the options of a run, or loads weights: leave it out")
        return arguments

    def learnt_from(self, cohort: str, source: str) -> str:
        """Warn that the weights learnt from the source of a cohort; empty where that is not known of them."""
        if source not in self.sources:
            return ""
        return (
            f"{self.preset or 'These weights'} learnt from {self.trained_on}: among them is {source}, the source of "
            f"{cohort}. Its patients may be known to them, so figures on it are flattered; other weights would not be."
        )


def metadata_of(network: Network | None) -> dict[str, str]:
    """Describe a network in the metadata of a safetensors file; nothing where its name says all."""
    return {NETWORK_KEY: network.model_dump_json()} if network else {}


def read_network(path: Path) -> Network | None:
    """Read the network of a weight file of ours, from its metadata; None where its name says all.

    Raises:
        WeightsError: If the description cannot be read.
    """
    if path.suffix == ".safetensors" and (text := _metadata(path).get(NETWORK_KEY)):
        try:
            return Network.model_validate_json(text)
        except ValidationError as error:
            raise WeightsError(
                f"{path}: the description of its network cannot be read ({in_short(error)}).", "Import it again."
            ) from None
    return None


def read_timm_folder(folder: Path) -> Network | None:
    """Read the network of a folder that timm opens as ``local-dir:``; None where it is no such folder.

    Raises:
        WeightsError: If its ``config.json`` is not timm's.
    """
    file = folder / TIMM_CONFIG
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_bytes())
        held, arguments = config.get("pretrained_cfg", config), config.get("model_args") or {}
        return Network.model_validate(
            {
                "backbone": config["architecture"],
                "arguments": {key: value for key, value in arguments.items() if key not in BUILT_HERE},
                "mean": held["mean"],
                "std": held["std"],
                "licence": str(held.get("license") or ""),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file}: cannot be read as timm's description of a network ({in_short(error)}).",
            "Give the weight file itself, or a folder that timm opens as `local-dir:`.",
        ) from None


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged ({in_short(error)}).", "Fetch or make the file again.") from None
