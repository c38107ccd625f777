"""Learning: experience, credit, the learners (PPO, warm starts, Stable-Baselines3, BenchMARL), run folders, evaluation."""
