"""A setting of a trained method that a command chooses anew, and the points that a training measures by itself."""

import json
from pathlib import Path

import pytest
from run_tiny import as_it_was as as_it_was
from run_tiny import command

from zoo.adapter import chosen, directory
from zoo.errors import SettingError
from zoo.evaluate import main as evaluate

METHOD = ("method={_target_: zoo.methods.matryoshka_lora.MatryoshkaLoRA, targets: {vision: ['1']}, ranks: [1, 2, 4]}",)


def test_words_of_a_command_are_divided() -> None:
    words = ["method.rank=4", "data.root=here", "method=lora", "--force"]
    assert chosen.divided(words) == ({"rank": 4}, ["data.root=here", "method=lora", "--force"])
    assert chosen.divided(["method.rank=[4"]) == ({"rank": "[4"}, []), "no YAML; the method refuses it"


def test_a_rank_is_chosen_after_training_and_every_result_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert command(f"into={run}", *METHOD) == 0
    record = json.loads((run / "metrics.json").read_text())
    monitor = record["monitor"]
    every = {rank: record["metrics"][monitor + (f"_rank_{rank}" if rank < 4 else "")] for rank in (1, 2, 4)}
    assert set(record["method"]) == {"aurac", "aurac_log"}
    assert record["method"]["aurac"] == pytest.approx((1.5 * every[2] + 0.5 * every[1] + every[4]) / 3)
    assert evaluate([f"adapter={run / 'adapter'}"]) == 0
    assert "reproduces" in capsys.readouterr().out, "the largest rank, where none is chosen"
    found = {}
    for rank in (1, 4):
        words = [f"adapter={run / 'adapter'}", f"method.rank={rank}", f"output={tmp_path / f'{rank}.json'}"]
        assert evaluate(words) == 0
        assert f"with method.rank={rank}, so nothing to reproduce" in " ".join(capsys.readouterr().out.split())
        found[rank] = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found[rank]["chosen"] == {"rank": rank}
        assert found[rank]["verdict"]["reproduces"] is None
        assert found[rank]["calibration"]["temperature"]["n"] == 20, "of this rank: the adapter's own is of another"
    assert {rank: one["metrics"][monitor] for rank, one in found.items()} == pytest.approx({1: every[1], 4: every[4]})
    _, pairing = directory.load(run / "adapter")
    pairing.choose(rank=2)
    assert pairing.caveats == ["method.rank = 2, chosen after training"]
    pairing.choose(rank=1)
    assert pairing.caveats == ["method.rank = 1, chosen after training"]
    for other in (3, 0, 2.0, True, "2", None, [2]):
        with pytest.raises(SettingError, match="trained were 1, 2, 4"):
            pairing.choose(rank=other)

    for words, code, said in (
        (["method.rank=3"], 1, "method.rank = 3: trained were 1, 2, 4"),
        (["method.scaling=none"], 1, "method.scaling is fixed by training; what may change afterwards: method.rank"),
        (["method.rank=1", "--update-card"], 2, "a card says what was trained, not what method.rank=1 gives"),
    ):
        try:
            ended = evaluate([f"adapter={run / 'adapter'}", *words])
        except SystemExit as end:
            ended = int(str(end.code))
        assert ended == code
        assert said in " ".join(capsys.readouterr().err.split())
