"""The tiny settings, and the one way to run a command, of all tests."""

from click.testing import CliRunner

from fusion_ln.cli.main import cli
from fusion_ln.settings import DeviceSettings, FitSettings, HeadSettings

CPU = DeviceSettings(device="cpu", workers=1)
FIT = FitSettings(backbone="test_resnet", image_size=32, epochs=1, batch_size=4, head_width=8, precision="32-true")
FIT_TWICE = FIT.model_copy(update={"epochs": 2})
HEAD = HeadSettings(width=16, epochs=2, batch_size=8, copies=1, grid=1)
# The same for the command line.
ONE_CPU = ("--device", "cpu", "--workers", "1")
OPTIONS = ("--backbone", "test_resnet", "--image-size", "32", "--epochs", "1", "--batch-size", "4", *ONE_CPU)


def invoke(*arguments: object) -> tuple[int, str]:
    """Run `fusionln`; returns its exit code and what it printed. A traceback is a failure."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def fusionln(*arguments: object, code: int = 0) -> str:
    """Run `fusionln`, which must end with this code; returns what it printed."""
    found, output = invoke(*arguments)
    assert found == code, output
    return output


def refused(*arguments: object) -> str:
    """Run `fusionln`, which must refuse; returns its message."""
    code, output = invoke(*arguments)
    assert code in (1, 2), output
    return output
