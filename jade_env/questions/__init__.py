"""Questions and corpora: what they are, how they are read, and the embedded closed world."""

from jade_env.questions.question import Question, Step

__all__ = ["Question", "Step"]
