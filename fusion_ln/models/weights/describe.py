"""Description of how a weight file fits a network: what was matched, what was not, and what is assumed."""

from collections import Counter

from torch import nn

from fusion_ln.models.library import resolve_model_data_config
from fusion_ln.models.weights.fit import Fit, first_names
from fusion_ln.models.weights.layouts import SAME
from fusion_ln.models.weights.network import Network
from fusion_ln.models.weights.presets import Channels

UNTOLD = "the file does not tell"


def describe_fit(fit: Fit, timm_name: str) -> dict[str, str]:
    """Describe a fit, a line per entry; entries with nothing to say are left out."""
    read, match = fit.read, fit.match
    inside = read.wrapper + (f" (beside it, not taken: {', '.join(read.beside)})" if read.beside else "")
    prefix = f"prefix `{match.prefix}` taken off" if match.prefix else ""
    rivals = f"; as many tensors lie under {', '.join(f'`{each}`' for each in match.rivals)}" if match.rivals else ""
    layout = "" if match.layout is SAME else f"layout: {match.layout.title}"
    lines = {
        "Taken from": inside,
        "Names": "; ".join(filter(None, (prefix + rivals, layout))),
        "Rules": "; ".join(match.rules),
        "Matched": f"{fit.total - len(fit.missing)} of {fit.total} tensors of {timm_name}",
        "Missing": f"{first_names(fit.missing)} (allowed; they begin as drawn)" if fit.missing else "",
        "Left over": _groups([name.removeprefix(match.prefix) for name in fit.left_over]),
        "Pictures": _normalisation(fit),
        "Network": _constructor(fit),
        **_origin(fit.network),
    }
    return {name: text for name, text in lines.items() if text}


def normalisation_of(fit: Fit) -> tuple[Channels, Channels]:
    """Return mean and standard deviation by channel: the file's own or, where it tells none, timm's."""
    if fit.network:
        return fit.network.mean, fit.network.std
    return statistics_of(fit.body)


def statistics_of(body: nn.Module) -> tuple[Channels, Channels]:
    """Return the mean and the standard deviation by channel that timm names for a network."""
    held = resolve_model_data_config(body)  # type: ignore[no-untyped-call]
    return held["mean"], held["std"]


def _normalisation(fit: Fit) -> str:
    mean, std = normalisation_of(fit)
    origin = f"assumed: timm's for this network, {UNTOLD}"
    if fit.network:
        named = {"": "as the file or the options tell", "torchvision": "as torchvision's files are made"}
        origin = named.get(fit.network.preset, f"of the preset {fit.network.preset}")
    return f"normalised by mean {_numbers(mean)}, std {_numbers(std)} ({origin})"


def _constructor(fit: Fit) -> str:
    """Say what no tensor tells: heads of attention, pooling, and other arguments."""
    held = dict(fit.network.arguments) if fit.network else {}
    heads = [module.num_heads for module in fit.body.modules() if isinstance(getattr(module, "num_heads", None), int)]
    words = []
    for key, value in (
        ("num_heads", heads[0] if heads else None),
        ("global_pool", getattr(fit.body, "global_pool", None)),
    ):
        if isinstance(value, int | str) and value != "":
            origin = "" if key in held else f" (assumed: timm's, {UNTOLD})"
            words.append(f"{key}={held.pop(key, value)}{origin}")
    return ", ".join([*words, *(f"{key}={value!r}" for key, value in held.items())])


def _origin(network: Network | None) -> dict[str, str]:
    if network is None:
        return {}
    return {"Licence": network.licence, "Citation": network.citation, "Learnt from": network.trained_on}


def _groups(names: list[str]) -> str:
    """Count tensors by the first parts of their names."""
    counts = Counter(name.split(".")[0] for name in names)
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.items())


def _numbers(values: Channels) -> str:
    return ", ".join(f"{float(value):.4g}" for value in values)
