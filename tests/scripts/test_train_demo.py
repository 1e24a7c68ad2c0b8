from pathlib import Path

import numpy as np
import pytest

from service.construction import make_engine
from service.models.choice import choose
from service.settings import Settings


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_models")
@pytest.mark.parametrize("dark_on_light", [True, False])
def test_the_shipped_demo_model_reads_digits_it_never_saw(dark_on_light: bool, tmp_path: Path) -> None:
    """At least 97 % of the held-out fifth, in ink on paper and in chalk on a board, measured through the engine."""
    pytest.importorskip("sklearn")
    from scripts.train_demo import plain, split

    _, _, held, labels = split()
    settings = Settings(model="demo", data_dir=tmp_path)
    served = choose(settings)
    engine = make_engine(served, settings)
    engine.load()
    scores = engine.predict(np.rint(plain(held, dark_on_light=dark_on_light) * 255).astype(np.uint8))
    engine.close()
    assert len(held) == 360
    assert (scores.argmax(axis=1) == labels).mean() >= 0.97


def test_training_never_sees_what_is_held_out() -> None:
    """The two parts share no digit, and the split is the same every time."""
    pytest.importorskip("sklearn")
    from scripts.train_demo import split

    seen, _, held, held_labels = split()
    assert len(seen) + len(held) == 1797
    assert not {digit.tobytes() for digit in seen} & {digit.tobytes() for digit in held}
    assert (split()[3] == held_labels).all()
