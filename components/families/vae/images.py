"""Real images: scikit-learn's digits, IDX files, a folder of pictures, or a data set of OpenML by name.

source -> grey images of one size (bytes) -> training, validation and test split -> an array each in the store

A third of the held-out images are the validation split: a sweep chooses by them, and reports the test split. They come out
of the held-out images so that the training set has the size that the source, and the paper, give it.
"""

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError

import numpy as np
from PIL import Image, UnidentifiedImageError

from components.config.errors import BadInput
from components.config.small_families import ImagesSettings
from components.recursion.phase import phase
from components.store import Phase, Store, write_array

DIGITS = "digits"
BRIGHTEST_DIGIT = 16
TEST_SHARE = 0.1
"""Of images that come without a test set of their own: so many are held out."""
VALIDATION_EVERY = 3
"""Every third held-out image, in the order of the file, which is often sorted by what the images show."""
SIDES = 4
"""Two convolutions halve the image: its sides must be multiples of this."""
IDX_UNSIGNED_BYTES_3D = b"\x00\x00\x08\x03"
IDX_HEADER = 16
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")

Split = tuple[np.ndarray, np.ndarray]
"""Training and held-out images; uint8 (images, height, width)."""


def prepare(settings: ImagesSettings, store: Store) -> Phase:
    """Read the images and keep them in the store, where every worker finds them.

    Raises:
        BadInput: nothing there, a damaged file, images of unequal or of no possible size, OpenML out of reach.
    """
    train, heldout = _read(settings)
    train = evenly(train, settings.train_images or len(train))
    validates = np.arange(len(heldout)) % VALIDATION_EVERY == 1
    splits = {"train": train, "validation": heldout[validates], "test": heldout[~validates]}
    digests = {name: hashlib.sha256(part.tobytes()).hexdigest() for name, part in splits.items()}

    def write(out: Path) -> dict[str, float]:
        for name, part in splits.items():
            write_array(out / f"{name}.npy", part)
        sizes = {f"{name}/images": len(part) for name, part in splits.items()}
        return {**sizes, "height": train.shape[1], "width": train.shape[2]}

    prepared = phase(store, "images", {**digests, "shape": list(train.shape[1:])}, lambda out, _: write(out))
    store.bring(prepared.place)
    return prepared


def evenly(images: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the images (n, height, width), evenly spread: files are often sorted by what they show."""
    return images[np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)]


def _read(settings: ImagesSettings) -> Split:
    if settings.path is None:
        field, value = "data.name", settings.name
        train, heldout = _split(_digits() if settings.name == DIGITS else _openml(settings.name))
    else:
        field, value = "data.path", settings.path
        train, heldout = _local(Path(settings.path).expanduser())
    height, width = train.shape[1:]
    if height % SIDES or width % SIDES:
        raise BadInput(field, value, f"images of {height}x{width}; both sides must be multiples of {SIDES}: pad them")
    if len(heldout) < 2 or len(train) < 2:
        remedy = f"{len(train)} images to train on and {len(heldout)} held out are too few; give 2 or more of each"
        raise BadInput(field, value, remedy)
    return train, heldout


def _split(images: np.ndarray) -> Split:
    """The same held-out images every time, whatever the seeds of a study."""
    order = np.random.default_rng(0).permutation(len(images))
    tested = round(TEST_SHARE * len(images))
    return images[np.sort(order[tested:])], images[np.sort(order[:tested])]


def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits  # takes a second to import

    return np.round(load_digits().images * (255 / BRIGHTEST_DIGIT)).astype(np.uint8)


def _openml(name: str) -> np.ndarray:
    """Square images whose pixels are the columns of a data set of OpenML, such as `mnist_784`."""
    from sklearn.datasets import fetch_openml

    try:
        # The other parser is faster, and stumbles over mnist_784's labels where pandas is 3.0.
        pixels = fetch_openml(name, version=1, as_frame=False, parser="liac-arff", n_retries=1).data
    except (URLError, OSError) as error:
        remedy = (
            f"OpenML does not answer ({error}); give data.path, or leave data.name={DIGITS}, which downloads nothing"
        )
        raise BadInput("data.name", name, remedy) from None
    except ValueError as error:
        raise BadInput("data.name", name, f"{str(error).splitlines()[0]}; OpenML has mnist_784 and others") from None
    side = round(float(np.sqrt(pixels.shape[1])))
    if side * side != pixels.shape[1] or pixels.min() < 0 or pixels.max() > 255:
        raise BadInput("data.name", name, f"{pixels.shape[1]} columns are no square image of bytes")
    return pixels.reshape(-1, side, side).astype(np.uint8)


def _local(path: Path) -> Split:
    """IDX files or pictures. Files with `train` and with `t10k` or `test` in their names are the split; else a tenth is."""
    if not path.exists():
        raise BadInput("data.path", path, "no such file or folder")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    sets = [file for file in files if "idx3" in file.name]
    if sets:
        read = [(file, _idx(file)) for file in sets]
    else:
        pictures = [file for file in files if file.suffix.lower() in PICTURES]
        if not pictures:
            remedy = f"neither IDX files of images (*idx3*) nor pictures ({', '.join(PICTURES)})"
            raise BadInput("data.path", path, remedy)
        read = [(file, _picture(file)[None]) for file in pictures]
    _check_sizes(read)
    kinds = {"train": ("train",), "test": ("t10k", "test")}
    above = path if path.is_dir() else path.parent  # what that is called says nothing of the files in it
    parts = {
        kind: [images for file, images in read if any(word in str(file.relative_to(above)) for word in words)]
        for kind, words in kinds.items()
    }
    if parts["train"] and parts["test"]:
        return np.concatenate(parts["train"]), np.concatenate(parts["test"])
    return _split(np.concatenate([images for _, images in read]))


def _idx(file: Path) -> np.ndarray:
    """An IDX file of images (LeCun's format: four bytes of magic, three sizes, then the pixels), compressed or not."""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput("data.path", file, f"cannot be read ({error}); fetch it again") from None
    if content[:4] != IDX_UNSIGNED_BYTES_3D:
        raise BadInput("data.path", file, "is no IDX file of images: it does not begin with 00 00 08 03")
    shape = [int.from_bytes(content[place : place + 4]) for place in range(4, IDX_HEADER, 4)]
    expected = IDX_HEADER + int(np.prod(shape))
    if len(content) != expected or not expected > IDX_HEADER:
        sizes = "x".join(map(str, shape))
        raise BadInput(
            "data.path", file, f"{sizes} pixels take {expected} bytes, it has {len(content)}; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=IDX_HEADER).reshape(shape)


def _picture(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError) as error:
        raise BadInput("data.path", file, f"is no picture that can be read ({error})") from None


def _check_sizes(read: Sequence[tuple[Path, np.ndarray]]) -> None:
    first, images = read[0]
    for file, others in read[1:]:
        if others.shape[1:] != images.shape[1:]:
            sizes = [f"{one.shape[1]}x{one.shape[2]}" for one in (others, images)]
            raise BadInput("data.path", file, f"{sizes[0]}, but {first.name} is {sizes[1]}; all images need one size")
