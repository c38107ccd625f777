"""Learning: experience, the Stable-Baselines3 learners, training runs and evaluation."""
