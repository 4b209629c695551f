import csv
import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import class_texts, classify_text, own_texts
from tests.recipes.encoders import small_bert


def config(folder, **change):
    folders = {name: folder / name for name in ("runs", "saved_models", "results")}
    quick = {"seeds": (0, 1), "steps": 2, "scratch_steps": 20, "labels": 4, "length": 16}
    return classify_text.Config(**{**folders, **quick, **change})


def tickets(folder, rows=60):
    """A CSV file of two queues that differ in their words."""
    rng = np.random.default_rng(0)
    words = {"bill": ["invoice", "payment", "charge", "refund"], "net": ["router", "cable", "signal", "modem"]}
    path = folder / "tickets.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "body", "queue"])
        for number in range(rows):
            queue = ("bill", "net")[number % 2]
            writer.writerow([number, f"{' '.join(rng.choice(words[queue], 3))} {number}", queue])
    return path


def test_own_texts_without_the_encoder(tmp_path, monkeypatch, capsys):
    """As where the extra is not installed: the words, and a new encoder, whose strings are served."""

    def missing(*_, **__):
        raise ImportError("The weights of MiniLM need safetensors: pip install 'keras_transfer[text]'")

    monkeypatch.setattr(kt.backbones, "minilm", missing)
    record = classify_text.main(config(tmp_path, csv=tickets(tmp_path), text="body", label="queue"))
    assert set(record["runs"]) == {"tf_idf", "scratch"} and record["extra"]["classes"] == ["bill", "net"]
    assert record["means"]["tf_idf"]["accuracy"] > 0.9
    assert max(record["extra"]["export"]["differences"].values()) < 1e-4
    assert "A new encoder stands alone." in capsys.readouterr().out
    (run,) = (tmp_path / "runs").iterdir()
    assert {"confusion.png", "report.png", "report.json"} <= {path.name for path in run.iterdir()}
    version = tmp_path / "saved_models/classify_text/1"
    card = json.loads((version / "assets.extra/card.json").read_text())
    assert list(card["inputs"]["serving_default"]) == ["text"] and card["needs"] == []
    written = json.loads((tmp_path / "results/classify_text/tickets_4.json").read_text())
    assert written["means"] == record["means"]


def test_every_arm(tmp_path, monkeypatch):
    pytest.importorskip("keras_hub")
    monkeypatch.setattr(kt.backbones, "minilm", small_bert)
    (tmp_path / "said.json").write_text(json.dumps({"bill": ["invoice", "refund"], "net": ["router", "modem"]}))
    own = {"csv": tickets(tmp_path), "text": "body", "label": "queue", "descriptions": tmp_path / "said.json"}
    arms = ("tf_idf", "frozen", "names", "descriptions", "setfit")
    settings = config(tmp_path, **own, arms=arms, batch_size=8)
    record = classify_text.main(settings)
    assert set(record["runs"]) == set(arms) and record["baseline"] in classify_text.BASELINES
    assert all(np.isfinite(list(one.values())).all() for one in record["means"].values())
    data, classes = classify_text.load(settings)
    found, _ = classify_text.learn(settings, "lora", 0, classify_text.minilm(settings), data, len(classes), {})
    answers = np.array(found["answers"])  # of a BERT that has learned nothing
    assert len(answers) == len(data["test"][1]) and set(answers) <= {0, 1}
    assert found["accuracy"] == pytest.approx((answers == data["test"][1]).mean())
    assert max(record["extra"]["export"]["differences"].values()) < 1e-4


def test_texts_of_the_test_that_are_trained_on_are_left_out(data_folder, capsys):
    data, classes = own_texts.load("trec")
    known = {" ".join(text.lower().split()) for text in data["train"][0]}
    assert not known & {" ".join(text.lower().split()) for text in data["test"][0]}
    assert "11 of 500 texts" in capsys.readouterr().out and classes == kt.datasets.TREC_COARSE


def test_what_is_said_of_the_classes():
    for name, classes in own_texts.CLASSES.items():
        assert tuple(class_texts.DESCRIPTIONS[name]) == tuple(classes)
        assert all(len(texts) == 3 for texts in class_texts.DESCRIPTIONS[name].values())


@pytest.mark.parametrize(
    "rows, message",
    [
        ("text,label\na,x\n,y\n", "a text in each row of .*; received none in 1, first in row 3"),
        ("text,label\na,x\nb,\n", "a label in each row"),
        ("text,label\n" + "a,x\n" * 6, "at least two classes"),
        ("text,label\n" + "a,x\n" * 6 + "b,y\n" * 4, "5 texts of each"),
        ("words,label\na,x\n", "the columns 'text'"),
    ],
)
def test_files_that_are_refused(tmp_path, rows, message):
    (tmp_path / "own.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        classify_text.main(config(tmp_path, csv=tmp_path / "own.csv"))
    assert not (tmp_path / "runs").exists()


def test_descriptions_of_other_classes(tmp_path):
    (tmp_path / "said.json").write_text('{"bill": ["money"]}')
    with pytest.raises(ValueError, match="descriptions of the classes .*'bill', 'net'.*received .'bill'"):
        classify_text.main(
            config(tmp_path, csv=tickets(tmp_path), text="body", label="queue", descriptions=tmp_path / "said.json")
        )
    with pytest.raises(ValueError, match="at least 2 seeds"):
        classify_text.main(config(tmp_path, seeds=(0,)))
