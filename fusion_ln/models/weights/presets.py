"""Published weights that are known by name: networks, normalisation, licences and data sets of training."""

from dataclasses import dataclass, field

from fusion_ln.errors import SettingsError, WeightsError, unknown
from fusion_ln.models.weights.network import Argument, Network

Channels = tuple[float, float, float]
IMAGENET: tuple[Channels, Channels] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP: tuple[Channels, Channels] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF: tuple[Channels, Channels] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
NOT_LISTED = "the public sets among them are not listed here"


@dataclass(frozen=True)
class Preset:
    """Publication of weights.

    Attributes:
        networks: timm's networks of its files, the usual one first.
        normalisation: Mean and standard deviation by channel.
        arguments: Constructor arguments that differ from timm's.
        licence: As its authors state it.
        sources: Sources of ours among the data sets of its training.
    """

    networks: tuple[str, ...]
    normalisation: tuple[Channels, Channels]
    licence: str
    citation: str
    trained_on: str
    arguments: dict[str, Argument] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


PRESETS = {
    "usf-mae": Preset(
        networks=("vit_base_patch16_224",),
        normalisation=IMAGENET,
        licence="MIT",
        citation="USF-MAE: ultrasound self-supervised foundation model with masked autoencoding (2025)",
        trained_on="OpenUS-46: 46 public ultrasound sets, AUL (`auli` here) and EchoNet-Dynamic (`edcu`) among them",
        sources=("auli", "edcu"),
    ),
    "usfm": Preset(
        networks=("beit_base_patch16_224",),
        normalisation=IMAGENET,
        arguments={"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False, "global_pool": "token"},
        licence="none stated",
        citation="Jiao J, Zhou J, Li X, et al. USFM: a universal ultrasound foundation model. Med Image Anal 96:103202 "
        "(2024)",
        trained_on=f"3M-US, two million ultrasound pictures; {NOT_LISTED}",
    ),
    "ultrafedfm": Preset(
        networks=("vit_base_patch16_224",),
        normalisation=IMAGENET,
        licence="Apache-2.0",
        citation="UltraFedFM: federated pre-training of an ultrasound foundation model (2024)",
        trained_on=f"about a million ultrasound pictures of 16 institutions; {NOT_LISTED}",
    ),
    "tinyusfm": Preset(
        networks=("vit_tiny_patch16_224",),
        normalisation=IMAGENET,
        arguments={"num_heads": 12, "global_pool": "avg"},
        licence="Apache-2.0 (as stated)",
        citation="Ma C, Jiao J, Liang S, et al. TinyUSFM: towards compact and efficient ultrasound foundation models. "
        "arXiv 2510.19239 (2025)",
        trained_on=f"a part of 3M-US, distilled from USFM; {NOT_LISTED}",
    ),
    "radimagenet": Preset(
        networks=("resnet50",),
        normalisation=HALF,
        licence="research use, on request from its authors",
        citation="Mei X, Liu Z, Robson PM, et al. RadImageNet. Radiology: Artificial Intelligence 4(5):e210315 (2022)",
        trained_on="1.35 million CT, MRI and ultrasound pictures of the authors' own archive",
    ),
    "biomedclip": Preset(
        networks=("vit_base_patch16_224",),
        normalisation=CLIP,
        licence="MIT",
        citation="Zhang S, Xu Y, Usuyama N, et al. BiomedCLIP. arXiv 2303.00915 (2023)",
        trained_on="PMC-15M: figures of articles in PubMed Central, which may show pictures of any public set",
    ),
    "dinov2": Preset(
        networks=tuple(f"vit_{size}_patch14{r}_dinov2" for size in ("base", "small", "large") for r in ("", "_reg4")),
        normalisation=IMAGENET,
        licence="Apache-2.0",
        citation="Oquab M, Darcet T, Moutakanni T, et al. DINOv2. arXiv 2304.07193 (2023)",
        trained_on="LVD-142M: natural pictures",
    ),
}  # fmt: skip
# Implied by the names of tensors in torchvision's own files.
TORCHVISION = Preset(
    networks=(),
    normalisation=IMAGENET,
    licence="BSD-3-Clause",
    citation="torchvision: PyTorch's library of computer vision",
    trained_on="ImageNet-1k: natural pictures",
)


def find_preset(name: str) -> Preset:
    """Find a preset by name.

    Raises:
        SettingsError: If there is none; names the known ones.
    """
    if name not in PRESETS:
        raise SettingsError(*unknown("preset", name, list(PRESETS)))
    return PRESETS[name]


def network_of(preset: Preset, name: str, backbone: str, arguments: dict[str, Argument] | None = None) -> Network:
    """Describe the network of a preset's file.

    Args:
        preset: The publication.
        name: Its name.
        backbone: timm's network.
        arguments: Constructor arguments that go before the preset's own.
    """
    mean, std = preset.normalisation
    return Network(
        backbone=backbone,
        arguments={**preset.arguments, **(arguments or {})},
        mean=mean,
        std=std,
        preset=name,
        licence=preset.licence,
        citation=preset.citation,
        trained_on=preset.trained_on,
        sources=preset.sources,
    )


def networks_of(name: str, backbone: str | None) -> tuple[str, ...]:
    """List the networks that a preset's file may be of; of these, the chosen one alone.

    Raises:
        WeightsError: If the chosen one is none of the preset's.
    """
    known = find_preset(name).networks
    if backbone is None:
        return known
    if backbone.partition(".")[0] not in known:
        raise WeightsError(
            f"--as {name}: a preset for {', '.join(known)}, but `--backbone {backbone}` is another network.",
            "Leave out one of the two: without `--as`, give the normalisation with `--mean` and `--std`.",
        )
    return (backbone,)
