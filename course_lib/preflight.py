"""What must hold before a training starts. Nothing here imports PyTorch, so a refusal takes no time."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from course_lib.accounting import mtp_parameters, parameters
from course_lib.config import ModelConfig, mini

BYTES_PER_PARAMETER = 16  # float32: weight, gradient and AdamW's two moments
BYTES_PER_WEIGHT = 4


def byte_model(config: Path | None, mtp_depths: int | None) -> ModelConfig:
    """The config of a file, or the course's mini model, for a vocabulary of bytes.

    Raises:
        ValueError: no such file, or a config that cannot be built.
    """
    shape = mini() if config is None else replace(ModelConfig.from_json(config), vocab_size=256)
    return shape if mtp_depths is None else replace(shape, num_nextn_predict_layers=mtp_depths)


def parameters_to_train(config: ModelConfig) -> int:
    """All parameters, those of the MTP depths included."""
    depths = config.num_nextn_predict_layers
    return parameters(config).total + (depths * mtp_parameters(config) if depths else 0)


def refuse_too_large(
    config: ModelConfig, available: int, place: str, *, source: object = None, bytes_each: int = BYTES_PER_PARAMETER
) -> None:
    """Raises ValueError if `bytes_each` per parameter exceed the `available` bytes of `place`; names the `source`."""
    count = parameters_to_train(config)
    if count * bytes_each > available:
        needed, name = count * BYTES_PER_PARAMETER, source or config.name or "this config"
        raise ValueError(
            f"{name}: training {count:,} parameters takes at least {needed / 1e9:,.1f} GB "
            f"({BYTES_PER_PARAMETER} bytes each, for weight, gradient and AdamW's two moments; activations come on "
            f"top), and {place} has {available / 1e9:,.1f} GB available. Take a smaller config"
        )


def refuse_large_batch(config: ModelConfig, tokens: int, available: int, place: str) -> None:
    """Raises ValueError if not even the logits and the residual stream of `tokens` tokens fit the `available` bytes."""
    needed = BYTES_PER_WEIGHT * tokens * (config.vocab_size + config.hidden_size * config.num_hidden_layers)
    if needed > available:
        raise ValueError(
            f"a step on {tokens:,} tokens (--batch-size times --length) takes at least {needed / 1e9:,.1f} GB, and "
            f"{place} has {available / 1e9:,.1f} GB available. Take a smaller --batch-size or --length"
        )


def refuse_unwritable(folder: Path, names: Iterable[str]) -> None:
    """Raises OSError if the files `names` cannot be made in `folder`, whether it exists or not. Leaves no trace."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if link := next((path for path in (folder, *folder.parents) if path.is_symlink() and not path.exists()), None):
        raise NotADirectoryError(f"cannot write to the folder {folder}: {link} is a link that leads nowhere")
    if not place.is_dir():
        raise NotADirectoryError(f"cannot write to the folder {folder}: {place} is a file")
    if taken := next((folder / name for name in names if (folder / name).is_dir()), None):
        raise IsADirectoryError(f"cannot write the file {taken}: it is a folder")
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise OSError(f"cannot write to the folder {folder}: {error.strerror} ({place})") from None
