"""The base of every value that comes from a file, a setting or the wire."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
