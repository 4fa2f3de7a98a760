"""What a text is drawn with, as options say it: the sampler's settings, and the rules of length, seed and numbers."""

import secrets

from charrnn.cli.words import note
from charrnn.errors import ConfigError

MAX_SAMPLES = 100_000  # of one batch, which is held in memory whole
OF_A_CHOICE = ("temperature", "top_k", "top_p", "min_p", "greedy")


def settings_of(given, options):
    """Make the sampler's settings from the options; ConfigError where those that were given contradict each other.

    given  names of the parameters that the user gave, such as {"top_k"}
    """
    from charrnn.sampling.sampler import Settings

    temperature, top_k, top_p, min_p, greedy = (options[name] for name in OF_A_CHOICE)
    values = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    if greedy and temperature != 0:
        values["temperature"] = temperature
    if greedy or temperature == 0:
        for name, value in values.items():
            if name in given:
                raise ConfigError(
                    f"{'--greedy' if greedy else '--temperature 0'} always chooses the most likely character, so "
                    f"--{name.replace('_', '-')} {value:g} has no effect: leave one of them out",
                    ["greedy" if greedy else "temperature", name],
                )
        return Settings(temperature=0.0)
    return Settings(temperature, top_k, top_p, min_p)


def check_numbers(length=1, num_samples=1, seed=None):
    """Raise ConfigError where one of these options breaks its rule."""
    if length < 1:
        raise ConfigError(f"--length must be at least 1 character, got {length}", ["length"])
    if not 1 <= num_samples <= MAX_SAMPLES:
        raise ConfigError(f"--num-samples must be between 1 and {MAX_SAMPLES:,}, got {num_samples}", ["num_samples"])
    if seed is not None and not 0 <= seed < 2**64:
        raise ConfigError(f"--seed must be between 0 and 2**64 - 1, got {seed}", ["seed"])


def check_stop(strings):
    """Raise ConfigError where a stop string is empty."""
    if "" in strings:
        raise ConfigError("--stop must hold at least one character, got ''", ["stop"])


def seed_of(seed, is_greedy):
    """Return the seed, or a random one that is named on stderr; a greedy text has none."""
    if seed is None and not is_greedy:
        seed = secrets.randbits(32)
        note(f"seed {seed} (--seed {seed} reproduces this text)")
    return seed


def known_of(training):
    """Say what a checkpoint tells of its training, in brackets."""
    step, best = training.get("step"), training.get("best")
    known = [f"step {step:,}"] if type(step) is int else []
    if isinstance(best, dict) and best.get("step") == step and isinstance(best.get("val_loss_nats"), float):
        known.append(f"validation {best['val_loss_nats']:.3f} nats")
    return f" ({', '.join(known)})" if known else ""
