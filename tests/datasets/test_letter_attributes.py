import numpy as np
import pytest

from keras_transfer.datasets import SCRIPTS, letter_attributes, script_letters


def test_of_a_few_letters():
    """By eye."""
    found = letter_attributes("aÄǚЯΆ", least=1)
    read = {name: [a.names[i] for i in a.labels] for name, a in found.items()}
    assert read == {
        "script": ["latin", "latin", "latin", "cyrillic", "greek"],
        "case": ["lower", "upper", "lower", "upper", "upper"],
        "base": ["latin a", "latin a", "latin u", "cyrillic ya", "greek alpha"],
        "diacritic": ["none", "diaeresis", "diaeresis", "none", "tonos"],
    }


def test_rare_classes_have_no_label():
    found = letter_attributes("aäbcç", least=2)
    assert found["base"].names == ("latin a", "latin c")
    np.testing.assert_array_equal(found["base"].labels, [0, 0, -1, 1, 1])
    assert found["diacritic"].names == ("none",)
    np.testing.assert_array_equal(found["diacritic"].labels, [0, -1, 0, 0, -1])


def test_other_letters_are_numbered_alike():
    """Without `class_names` each call numbers what it finds: latin c is 2 here and 0 there."""
    train = letter_attributes("aäbcç", least=1)
    names = {name: train[name].names for name in ("base", "diacritic")}
    test = letter_attributes("çñ", least=1, class_names=names)
    assert train["base"].labels.tolist() == [0, 0, 1, 2, 2] and test["base"].labels.tolist() == [2, -1]
    assert test["diacritic"].names == train["diacritic"].names == ("none", "cedilla", "diaeresis")
    assert test["diacritic"].labels.tolist() == [1, -1]
    for wrong in ({"base": ["latin a", "latin a"]}, {"script": SCRIPTS}):
        with pytest.raises(ValueError, match="`class_names` of 'base' and 'diacritic', each name once; received"):
            letter_attributes("a", class_names=wrong)


def test_of_all_letters():
    letters = script_letters()
    found = letter_attributes(letters)
    for number, script in enumerate(SCRIPTS):
        own = [c for c, label in zip(letters, found["script"].labels) if label == number]
        assert "".join(own) == script_letters(script)
    for letter, case in zip(letters, found["case"].labels):
        assert letter.islower() or case != 0
        assert letter.isupper() or case != 1
    for name in ("base", "diacritic"):
        labels = found[name].labels
        assert np.bincount(labels[labels >= 0]).min() >= 4
        assert len(found[name].names) == len(set(found[name].names)) > 30


def test_no_letters():
    with pytest.raises(ValueError, match=r"Expected letters; received \['1', '!'\]"):
        letter_attributes("a1!")
    with pytest.raises(ValueError, match="received none"):
        letter_attributes("")
