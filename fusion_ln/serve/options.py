"""Options of the server, from the command line and from environment variables."""

import os
import secrets
from collections.abc import Mapping

from pydantic import Field, ValidationError

from fusion_ln.errors import SettingsError
from fusion_ln.settings.addresses import LOOPBACK, is_loopback
from fusion_ln.settings.devices import AnswerSettings

PREFIX = "FUSIONLN_SERVE_"
PROBLEMS = {"extra_forbidden": "no such variable", "string_pattern_mismatch": "expected ASCII without spaces"}


class ServeOptions(AnswerSettings):
    """Options of the server: its address and what it admits. Each is also the variable ``FUSIONLN_SERVE_<FIELD>``.

    Attributes:
        token: Secret that a request must carry (``Authorization: Bearer TOKEN``); empty on loopback: none.
    """

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0: any free one.")
    token: str = Field("", pattern=r"^[!-~]*$", description="Secret that every request must carry, ASCII.")
    names: str = Field("", description="Host names under which a proxy reaches the server, by commas.")
    megabytes: int = Field(40, ge=1, le=1000, description="Largest request.")
    places: int = Field(64, ge=1, le=10_000, description="Requests that may wait for the model.")
    seconds: int = Field(10, ge=1, le=600, description="Longest decoding of a picture.")
    per_minute: int = Field(600, ge=1, le=1_000_000, description="Requests a minute from one address.")
    keep: str = Field("", description="Folder that keeps what is sent, with the answers; none by default.")
    behind_tls: bool = Field(False, description="A proxy in front speaks TLS: HSTS, X-Forwarded-Proto.")

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def everywhere(self) -> bool:
        """True if the server listens on every address of the machine."""
        return self.host in {"0.0.0.0", "::"}

    @property
    def allowed_hosts(self) -> list[str]:
        """Values of the header ``Host`` that are answered: no other site's name may lead a browser here."""
        named = [name.strip() for name in self.names.split(",") if name.strip()]
        own = [] if self.everywhere else [f"[{self.host}]" if ":" in self.host else self.host]
        return [*dict.fromkeys([*LOOPBACK, "[::1]", *own, *named])]

    @property
    def max_bytes(self) -> int:
        return self.megabytes * 1_000_000


def read_options(given: Mapping[str, object]) -> ServeOptions:
    """Join the options that were given with the environment's; a server that others can reach gets a token.

    Raises:
        SettingsError: If a value is out of its bounds, or a variable ``FUSIONLN_SERVE_...`` is no option.
    """
    variables = {key: value for key, value in os.environ.items() if key.startswith(PREFIX)}
    values: dict[str, object] = {key.removeprefix(PREFIX).lower(): value for key, value in variables.items()}
    try:
        options = ServeOptions.model_validate({**values, **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        source = f"--{name}" if name in given else f"{PREFIX}{name.upper()}"
        known = ", ".join(PREFIX + field.upper() for field in ServeOptions.model_fields)
        problem = PROBLEMS.get(first["type"], first["msg"])
        raise SettingsError(f"{source}: {problem}.", f"Variables are {known}.") from None
    if options.everywhere and not options.names:
        raise SettingsError(
            f"--host {options.host}: listens on every address, and must know the names under which it is asked.",
            f"Set {PREFIX}NAMES to them, as in `{PREFIX}NAMES=nodes.hospital.example,10.0.0.5`.",
        )
    if options.loopback or options.token:
        return options
    return options.model_copy(update={"token": secrets.token_urlsafe(24)})
