"""Settings: one message for what does not fit, with the nearest name."""

import pytest

from fusion_ln.errors import SettingsError
from fusion_ln.settings import FitSettings, HeadSettings


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (FitSettings, {"weight_decy": 0.1}, "weight_decy: unknown setting.\n    Did you mean 'weight_decay'? Known: "),
        (HeadSettings, {"finetune": {"epoch": 2}}, "finetune: epoch: unknown setting.\n    Did you mean 'epochs'?"),
        (FitSettings, {"epochs": 0, "lr": -1}, "epochs: Input should be greater than or equal to 1. lr: Input should"),
    ],
)
def test_what_does_not_fit_is_named_with_the_nearest_key(model, values, message):
    with pytest.raises(SettingsError) as caught:
        model.read(values, "options")
    assert message in str(caught.value)
    assert str(caught.value).startswith("options: ")
