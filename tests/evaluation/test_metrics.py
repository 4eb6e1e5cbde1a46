"""Metrics: values of reference libraries on shared cases, and what cannot be scored."""

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebridge import hookspecs, plugins
from tunebridge.errors import EvaluationError, MissingDependency
from tunebridge.evaluation import metrics
from tunebridge.evaluation.metrics import labels, normalisers, registry, rouge, translation
from tunebridge.evaluation.metrics.row import MetricRow, Sums

WORDS = ["the", "a", "cat", "mat.", "Fine-tuned", "don't", "help;", "3.5%", "of", "rows", "café", "naïve", "Größe"]
CASES = [
    ("the cat sat on the mat", "the cat sat on a mat"),
    ("", "the cat"),
    ("The Cat's mat!", "the cats mat"),
    ("an answer", "answer"),
    ("snake_case and CamelCase, 3.14", "snake case and camelcase 3 14"),
    ("Le café est fermé à midi", "Le cafe était fermé à minuit"),
    ("Größe und Straße", "Strasse und Größe"),
]


def sentences(seed: int, count: int = 30) -> list[tuple[str, str]]:
    source = random.Random(seed)
    texts = [" ".join(source.choices(WORDS, k=source.randint(1, 15))) for _ in range(count)]
    changed = [" ".join(w if source.random() < 0.7 else source.choice(WORDS) for w in text.split()) for text in texts]
    return list(zip(changed, texts, strict=True))


def score(name: str, output: str, row: MetricRow | str = "", **options: Any) -> float:
    row = MetricRow(row) if isinstance(row, str) else row
    return metrics.metric(name, **options).score(output, row)


# Text


@pytest.mark.parametrize(
    ("normalise", "output", "reference", "is_same"),
    [
        ("none", "a ", "a", False),
        ("strip", " a\n", "a", True),
        ("strip", "A", "a", False),
        ("casefold", "STRASSE", "straße", True),
        ("spaces", "a \n b", "a b", True),
        ("nfkc", "ﬁne １２", "fine 12", True),
        ("punctuation", "「はい」。", "はい", True),
        ("squad", "The Answer.", "answer", True),
        ("number", "It is 1,000.50 in all", "1000.5", True),
        ("number", "2 + 2 = 4", "4", True),
        ("number", "none", " none ", True),
        ("number", "-3", "3", False),
        ("nfkc+casefold+strip", " ＡＢＣ ", "abc", True),
    ],
)
def test_exact_match(normalise: str, output: str, reference: str, is_same: bool) -> None:
    assert score("exact_match", output, reference, normalise=normalise) == is_same


def test_the_best_reference_counts() -> None:
    row = MetricRow("no", references=("yes", "yes sir"))
    assert score("exact_match", "yes", row) == 1
    assert score("token_f1", "yes sir", row) == 1
    assert score("rouge_l", "yes", row) == 1


def squad_script_f1(output: str, reference: str) -> float:
    """Follow the steps of SQuAD 2.0's evaluation: normalise, split, count what both have."""
    said, right = normalisers.squad(output).split(), normalisers.squad(reference).split()
    if not said or not right:
        return float(said == right)
    left, shared = list(right), 0
    for token in said:
        if token in left:
            left.remove(token)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(right)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("The  quick, brown fox!", "quick brown fox"), ("a cat and an apple", "cat and apple"), ("theatre", "theatre")],
)
def test_squads_normalisation(text: str, normal: str) -> None:
    assert normalisers.squad(text) == normal


@pytest.mark.parametrize(("output", "reference"), CASES + sentences(1))
def test_token_f1_is_squads(output: str, reference: str) -> None:
    assert score("token_f1", output, reference) == pytest.approx(squad_script_f1(output, reference))


def test_contains_and_regex() -> None:
    assert score("contains", "It is Paris.", "Paris") == 1
    assert score("contains", "it is paris", "Paris") == 0
    assert score("contains", "it is paris", "Paris", normalise="casefold") == 1
    assert score("contains", "yes", MetricRow(), text="es") == 1
    assert score("regex", "Answer: 42", MetricRow(), pattern=r"\b\d+$") == 1
    with pytest.raises(EvaluationError, match="no regular expression"):
        metrics.metric("regex", pattern="(")


# ROUGE-L


@pytest.mark.parametrize(
    ("output", "reference", "value"),
    [
        ("the cat sat on the mat", "the cat sat on a mat", 0.8333333),
        ("snake_case and CamelCase, 3.14", "snake case and camelcase 3 14", 1.0),
        ("Le café est fermé à midi", "Le cafe était fermé à minuit", 0.4),
        ("Größe und Straße", "Strasse und Größe", 0.4444444),
        ("", "the cat", 0.0),
        ("one two three four", "four three two one zero", 0.2222222),
    ],
)
def test_rouge_l_on_latin_text(output: str, reference: str, value: float) -> None:
    # Recorded from rouge-score 0.1.2
    assert score("rouge_l", output, reference) == pytest.approx(value, abs=1e-6)


@pytest.mark.slow  # the import of rouge-score takes up to 10 seconds
def test_rouge_l_is_rouge_scores_on_latin_text() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    for output, reference in CASES + sentences(2, 500):
        expected = scorer.score(reference, output)["rougeL"].fmeasure
        assert score("rouge_l", output, reference) == pytest.approx(expected), (output, reference)


@pytest.mark.parametrize(
    ("output", "reference", "value"),
    [
        ("日本語です", "日本語だ", 2 * 3 / 9),
        ("猫が好き", "犬が好き", 0.75),
        ("我爱机器学习", "我爱学习", 0.8),
        ("สวัสดีครับ", "สวัสดีค่ะ", 2 * 4 / 13),
        ("안녕 하세요 여러분", "안녕 하세요", 0.8),
        ("привет мир", "привет всем", 0.5),
        ("مرحبا بالعالم", "مرحبا", 2 / 3),
        ("नमस्ते दुनिया", "नमस्ते", 2 / 3),
        ("GPTは速い", "GPTは遅い", 0.75),
        ("été", "été", 1.0),
    ],
)
def test_rouge_l_in_other_scripts(output: str, reference: str, value: float) -> None:
    assert score("rouge_l", output, reference) == pytest.approx(value)


def test_rouge_l_can_keep_words_with_accents_whole() -> None:
    assert score("rouge_l", "été", "ôté été", tokens="unicode") == pytest.approx(2 / 3)
    with pytest.raises(EvaluationError, match="'auto' or 'unicode'"):
        metrics.metric("rouge_l", tokens="words")


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_common_length_is_that_of_the_table(left: list[str], right: list[str]) -> None:
    line = [0] * (len(right) + 1)
    for token in left:
        corner = 0
        for place, other in enumerate(right):
            above = line[place + 1]
            line[place + 1] = corner + 1 if token == other else max(above, line[place])
            corner = above
    assert rouge.common_length(left, right) == line[-1]


# BLEU and chrF


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_bleu_and_chrf_are_sacrebleus(name: str) -> None:
    theirs = pytest.importorskip("sacrebleu.metrics")
    outputs, references = (list(column) for column in zip(*sentences(3), strict=True))
    rows = [MetricRow(reference, references=("another cat",)) for reference in references]
    streams = [references, ["another cat"] * len(rows)]
    metric = metrics.metric(name)
    corpus = {"bleu": theirs.BLEU, "chrf": theirs.CHRF}[name]().corpus_score(outputs, streams)
    single = {"bleu": theirs.BLEU(effective_order=True), "chrf": theirs.CHRF()}[name]
    assert metric.corpus(outputs, rows)[name] == pytest.approx(corpus.score)
    expected = single.sentence_score(outputs[0], [references[0], "another cat"]).score
    assert metric.score(outputs[0], rows[0]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["bleu", "chrf", "macro_f1"])
def test_the_mean_of_contributions_is_the_corpus_score(name: str) -> None:
    pytest.importorskip("sacrebleu")
    texts: tuple[list[str], ...] = tuple(list(column) for column in zip(*sentences(4), strict=True))
    outputs, references = label_answers(4) if name == "macro_f1" else texts
    rows = [MetricRow(reference) for reference in references]
    metric = metrics.metric(name)
    assert metric.is_corpus
    contributions = metric.contributions(outputs, rows)
    assert sum(contributions) / len(rows) == pytest.approx(metric.corpus(outputs, rows)[name])
    assert len(set(contributions)) > 5


def test_contributions_are_the_jackknifes() -> None:
    sums = Sums([(1.0, 2.0), (3.0, 4.0), (5.0, 5.0)], lambda added: added[0] / added[1])
    whole, without = 9 / 11, [8 / 9, 6 / 7, 4 / 6]
    mean = sum(without) / 3
    assert sums.contributions() == pytest.approx([whole + 2 * (mean - w) for w in without])
    assert Sums([(1.0, 2.0)], lambda added: added[0] / added[1]).contributions() == [0.5]


def test_references_of_different_number() -> None:
    pytest.importorskip("sacrebleu")
    rows = [MetricRow("a b c d"), MetricRow("x", references=("a b c d",))]
    assert metrics.metric("bleu").corpus(["a b c d", "a b c d"], rows)["bleu"] == pytest.approx(100)


@pytest.mark.parametrize("tokenize", ["flores200", "spm", "spBLEU-1K", "13b"])
def test_tokenisers_that_would_be_downloaded_are_refused(tokenize: str) -> None:
    pytest.importorskip("sacrebleu")
    with pytest.raises(EvaluationError, match="Choose one of: none, zh, 13a"):
        metrics.metric("bleu", tokenize=tokenize)


def test_what_needs_sacrebleu_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MissingDependency, match=r'pip install "tunebridge\[eval\]"'):
        metrics.metric("bleu")
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingDependency, match="jsonschema"):
        score("json_schema", "{}", MetricRow(schema={}))
    assert not hasattr(translation, "sacrebleu"), "it is only imported when it is asked for"


# Labels


def label_answers(seed: int) -> tuple[list[str], list[str]]:
    source = random.Random(seed)
    references = source.choices("abcd", [5, 3, 2, 1], k=200)
    return [r if source.random() < 0.6 else source.choice("abcde") for r in references], references


@pytest.mark.parametrize("seed", range(5))
def test_label_scores_are_scikit_learns(seed: int) -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    answers, references = label_answers(seed)
    names = sorted(set(references))
    report = labels.classification_report(answers, references)
    expected = theirs.classification_report(references, answers, labels=names, output_dict=True, zero_division=0.0)
    for key, values in expected.items():
        assert report[key] == pytest.approx(values), key
    assert report["accuracy"] == pytest.approx(theirs.accuracy_score(references, answers))
    found_names, counts = labels.confusion(answers, references)
    assert found_names == [*names, labels.OTHER]
    stand_ins = [answer if answer in names else labels.OTHER for answer in answers]
    assert counts == theirs.confusion_matrix(references, stand_ins, labels=found_names).tolist()


def test_label_metrics() -> None:
    answers, references = label_answers(9)
    rows = [MetricRow(reference) for reference in references]
    found = metrics.metric("macro_f1").corpus([f" {a}\n" for a in answers], rows)
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1(answers, references))
    assert found["confusion"]["labels"] == ["a", "b", "c", "d", labels.OTHER]
    assert sum(map(sum, found["confusion"]["counts"])) == len(rows)
    accuracy = metrics.metric("accuracy")
    assert accuracy.corpus(answers, rows)["accuracy"] == pytest.approx(metrics.accuracy(answers, references))
    assert accuracy.is_binary
    assert not metrics.metric("macro_f1").is_binary
    assert accuracy.contributions(["a", "b"], [MetricRow("a"), MetricRow("a")]) == [1.0, 0.0]
    assert len(metrics.metric("accuracy", labels="a,b").corpus(answers, rows)["confusion"]["labels"]) == 3
    assert score("accuracy", "YES", "yes", normalise="casefold") == 1


# JSON and tools


@pytest.mark.parametrize(
    ("output", "is_valid"),
    [
        ('{"a": 1}', True),
        ("[]", True),
        ("3", True),
        ('{"a": 1,}', False),
        ("{'a': 1}", False),
        ("NaN", False),
        ('{"a": 1} and more', False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_json_validity(output: str, is_valid: bool) -> None:
    assert score("json_valid", output, MetricRow()) == is_valid


def test_json_in_a_code_block_counts_on_request() -> None:
    block = '```json\n{"a": 1}\n```'
    assert score("json_valid", block) == 0
    assert score("json_valid", block, fenced=True) == 1


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def test_schema_validity() -> None:
    pytest.importorskip("jsonschema")
    assert score("json_schema", '{"a": 1}', MetricRow(schema=SCHEMA)) == 1
    assert score("json_schema", '{"a": "1"}', MetricRow(schema=SCHEMA)) == 0
    assert score("json_schema", '{"a": 1', MetricRow(schema=SCHEMA)) == 0
    assert score("json_schema", '{"a": 1}', MetricRow(), schema=SCHEMA) == 1
    local = {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    assert score("json_schema", '{"a": "x"}', MetricRow(schema=local)) == 0
    with pytest.raises(EvaluationError, match="no JSON schema"):
        score("json_schema", "{}")
    with pytest.raises(EvaluationError, match="schema is wrong"):
        score("json_schema", "{}", MetricRow(schema={"type": "objekt"}))


def test_a_schema_never_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jsonschema")
    import urllib.request

    asked: list[Any] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *given, **_: asked.append(given))
    remote = {"$ref": "http://127.0.0.1:9/schema.json"}
    with pytest.raises(EvaluationError, match="nothing is fetched"):
        score("json_schema", "{}", MetricRow(schema=remote))
    assert asked == []


def test_field_accuracy() -> None:
    reference = json.dumps({"name": "Ada", "age": 36, "tags": ["x", "y"], "address": {"city": "Bath"}, "kids": []})
    assert score("json_fields", reference, reference) == 1
    answer = json.dumps({"name": "Ada", "age": 36.0, "tags": ["x", "z"], "address": {}, "kids": [], "extra": 1})
    assert score("json_fields", answer, reference) == pytest.approx(4 / 6)
    assert score("json_fields", answer, reference, strict=True) == pytest.approx(4 / 8)
    assert score("json_fields", answer, reference, fields="address, name") == 0.5
    assert score("json_fields", "not JSON", reference) == 0
    assert score("json_fields", answer, reference, fields=["tag"]) == 1  # no such field, so nothing is wrong
    assert score("json_fields", answer, reference, fields=["tags"]) == 0.5
    assert score("json_fields", '{"a.b": 1}', '{"a": {"b": 1}}') == 0
    assert score("json_fields", '{"a": {"0": 1}}', '{"a": [1]}') == 0
    assert score("json_fields", "1", "true") == 0
    both = metrics.metric("json_fields").corpus([answer, reference], [MetricRow(reference)] * 2)
    assert both["fields"]["tags[1]"] == 0.5
    assert both["json_fields"] == pytest.approx(5 / 6)
    with pytest.raises(EvaluationError, match="Did you mean 'name'"):
        metrics.metric("json_fields", fields=["nam"]).corpus([answer], [MetricRow(reference)])
    with pytest.raises(EvaluationError, match="reference is no JSON"):
        score("json_fields", "{}", "x")


CALL = {"name": "weather", "arguments": {"city": "Oslo", "days": 2}}
OPENAI_CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "weather", "arguments": json.dumps(CALL["arguments"])},
}


@pytest.mark.parametrize(
    ("output", "value"),
    [
        (json.dumps(CALL), 1),
        (json.dumps([OPENAI_CALL]), 1),
        (json.dumps({"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}), 1),
        (f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>", 1),
        (json.dumps([CALL, CALL]), 0),
        (json.dumps({**CALL, "name": "forecast"}), 0),
        (json.dumps({**CALL, "arguments": {"city": "Oslo", "days": "2"}}), 0),
        (json.dumps({**CALL, "arguments": "{"}), 0),
        ("It is sunny.", 0),
        ("<tool_call>weather</tool_call>", 0),
    ],
)
def test_tool_calls(output: str, value: float) -> None:
    assert score("tool_calls", output, MetricRow(expected_tool_calls=(OPENAI_CALL,))) == value


def test_tool_calls_in_any_order_or_in_this_one() -> None:
    other = {"name": "time", "arguments": {}}
    row = MetricRow(expected_tool_calls=(CALL, other))
    swapped = json.dumps([other, CALL])
    assert score("tool_calls", swapped, row) == 1
    assert score("tool_calls", swapped, row, ordered=True) == 0
    assert score("tool_calls", json.dumps([{**CALL, "arguments": {}}, other]), row, arguments=False) == 1
    twice = MetricRow(expected_tool_calls=tuple({"name": "f", "arguments": {"x": x}} for x in (1, 10)))
    assert (
        score("tool_calls", '[{"name": "f", "arguments": {"x": 10}}, {"name": "f", "arguments": {"x": 1.0}}]', twice)
        == 1
    )


def test_where_no_tool_is_to_be_called() -> None:
    none = MetricRow(expected_tool_calls=())
    assert score("tool_calls", "It is sunny.", none) == 1
    assert score("tool_calls", json.dumps(CALL), none) == 0
    with pytest.raises(EvaluationError, match="expected_tool_calls"):
        score("tool_calls", "x")


# Log-probabilities


def test_perplexity_and_bits_per_byte() -> None:
    row = MetricRow("abcd", log_probabilities=(math.log(0.5), math.log(0.125)))
    assert score("perplexity", "", row) == pytest.approx(4)
    assert score("bits_per_byte", "", row) == pytest.approx(1)
    longer = MetricRow("ä" * 4, log_probabilities=(math.log(0.25),) * 6)
    assert metrics.metric("perplexity").corpus(["", ""], [row, longer])["perplexity"] == pytest.approx(4)
    assert metrics.metric("bits_per_byte").corpus(["", ""], [row, longer])["bits_per_byte"] == pytest.approx(16 / 12)
    assert not metrics.metric("perplexity").higher_is_better
    with pytest.raises(EvaluationError, match="no log-probabilities"):
        score("perplexity", "", "abcd")


# Names


def test_an_unknown_name_or_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(EvaluationError, match="Did you mean 'exact_match'"):
        metrics.metric("exactmatch")
    with pytest.raises(EvaluationError, match="Its options are: normalise"):
        metrics.metric("exact_match", normalize="strip")
    with pytest.raises(EvaluationError, match="needs the option 'pattern'"):
        metrics.metric("regex")
    with pytest.raises(EvaluationError, match="Did you mean 'casefold'"):
        metrics.metric("exact_match", normalise="casfold")
    with pytest.raises(EvaluationError, match="no reference"):
        score("exact_match", "a", MetricRow())


def test_options_are_kept_to_be_shown() -> None:
    assert metrics.metric("contains", text="x").options == {"text": "x"}


def test_own_metrics_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from tunebridge.evaluation.metrics import define\n"
        "def shares_first(output, reference): return float(output[:1] == reference[:1])\n"
        "def in_metadata(output, row): return row.metadata['weight'] * len(output)\n"
        "@define('short', is_binary=True)\n"
        "def short(output, reference): return float(len(output) < 5)\n"
        "def fails(output, reference): return {}[reference]\n"
        "def broken(output, reference): return float('nan')\n"
    )
    assert score(f"{file}:shares_first", "abc", MetricRow("x", references=("axe",))) == 1
    assert score(f"{file}:in_metadata", "abc", MetricRow(metadata={"weight": 2})) == 6
    short = metrics.metric(f"{file}:short")
    assert (short.name, short.is_binary, metrics.metric("short").score("a", MetricRow("b"))) == ("short", True, 1)
    with pytest.raises(EvaluationError, match="failed: KeyError: 'b'"):
        score(f"{file}:fails", "a", "b")
    with pytest.raises(EvaluationError, match="gave nan"):
        score(f"{file}:broken", "a", "b")
    with pytest.raises(EvaluationError, match="Did you mean 'broken'"):
        metrics.metric(f"{file}:borken")
    with pytest.raises(EvaluationError, match="no file"):
        metrics.metric(f"{tmp_path}/none.py:f")
    with pytest.raises(EvaluationError, match="takes no options"):
        metrics.metric("short", length=3)
    file.write_text("1 / 0")
    with pytest.raises(EvaluationError, match="ZeroDivisionError"):
        metrics.metric(f"{file}:f")
    registry._defined.pop("short")


def test_a_plugins_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookspecs.hookimpl
        def tunebridge_metrics(self) -> dict[str, Any]:
            return {"same_length": lambda output, reference: float(len(output) == len(reference))}

    found = plugins.empty()
    found.register(Plugin(), "lengths")
    monkeypatch.setattr(plugins, "discover", lambda: found)
    assert score("same_length", "abc", "xyz") == 1
    assert "same_length" in metrics.names()


def test_the_core_needs_no_package_of_the_extra() -> None:
    import subprocess

    code = (
        "import sys\n"
        "for name in ('numpy', 'sacrebleu', 'jsonschema', 'scipy', 'sklearn'): sys.modules[name] = None\n"
        "from tunebridge.evaluation import metrics, statistics\n"
        "print(metrics.macro_f1(['a'], ['a']), metrics.metric('rouge_l').score('a', metrics.MetricRow('a')))\n"
        "print(statistics.compare([1.0] * 40, [0.0] * 40, is_binary=True).verdict)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.0", "1.0", "worse"]
