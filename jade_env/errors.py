"""What goes wrong in a user's hands. Every error names the thing, the place and the mend; nothing else is known here."""

from __future__ import annotations


class JadeError(Exception):
    """A mistake the user can mend. The command line prints it as one sentence and exits with code 2."""


class ConfigError(JadeError):
    """A YAML file, override or argument that is not allowed."""


class DataError(JadeError):
    """Questions, a corpus or a run folder that cannot be read or written."""


class RetrievalError(JadeError):
    """A retriever that cannot answer."""


class PolicyError(JadeError):
    """A policy that cannot act, such as a model behind a server that does not answer."""


class MissingExtra(JadeError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'jade-env[{extra}]'")
