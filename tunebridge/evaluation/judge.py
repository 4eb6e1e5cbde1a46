"""A model as judge of other models' answers, asked like any model: pairs in both orders, or one answer by a rubric."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.evaluation.answers import Answer, AnswerBook
from tunebridge.evaluation.metrics import judge as judging
from tunebridge.evaluation.metrics.judge import Agreement, Pairwise
from tunebridge.evaluation.runner import Contender, Progress, collect
from tunebridge.evaluation.task import EvalRow, EvalTask, key_of

PAIRWISE, RUBRIC = "judge_pairwise", "judge_rubric"
MOST_TOKENS = 1024
"""Of a judge's answer: it reasons before it decides."""


@dataclass(frozen=True)
class Judge:
    """Who judges, and by what."""

    contender: Contender
    rubric: str = ""
    """What a good answer is; with one, each answer is also rated by itself."""


@dataclass(frozen=True)
class Bench:
    """A judge at work on one task: where its answers are kept, and who is told how far it is."""

    judge: Judge
    task: EvalTask
    folder: Path
    progress: Progress | None = None

    def pairs(self, base: AnswerBook, other: AnswerBook) -> tuple[list[Pairwise], Agreement]:
        """Return what the judge says of each row's two answers, in both orders, and how far it agrees with itself."""
        questions: list[EvalRow] = []
        for row, before, after in zip(self.task.rows, self._said(base), self._said(other), strict=True):
            for first, second in ((before, after), (after, before)):
                asked = judging.pairwise_messages(row.text, first, second, self.judge.rubric)
                questions.append(_question(row, asked, len(questions)))
        verdicts = self._ask(questions)
        found = [judging.pairwise(verdicts[n], verdicts[n + 1]) for n in range(0, len(verdicts), 2)]
        return found, judging.agreement(found)

    def ratings(self, book: AnswerBook) -> list[float]:
        """Return how the judge rates each answer, from 0 to 1; a rating that cannot be read is 0."""
        questions: list[EvalRow] = []
        for row, answer in zip(self.task.rows, self._said(book), strict=True):
            reference = row.references[0] if row.references else ""
            asked = judging.rubric_messages(row.text, answer, self.judge.rubric, reference=reference)
            questions.append(_question(row, asked, len(questions)))
        rated = [judging.read_rating(verdict) for verdict in self._ask(questions)]
        return [0.0 if rating is None else judging.Scale().share(rating) for rating in rated]

    def _said(self, book: AnswerBook) -> Iterator[str]:
        return map(said, book.read(row.key for row in self.task.rows))

    def _ask(self, questions: Sequence[EvalRow]) -> list[str]:
        task = EvalTask(tuple(questions), self.task.fingerprint, "the judge's questions")
        parameters = GenerationParameters(max_tokens=MOST_TOKENS)
        found = collect(self.judge.contender, task, parameters, self.folder, progress=self.progress)
        return [said(answer) for answer in found.book.read(row.key for row in task.rows)]


def said(answer: Answer) -> str:
    """Return an answer as it is judged: nothing where it failed."""
    return "" if answer.failure else answer.output


def _question(row: EvalRow, asked: Sequence[object], number: int) -> EvalRow:
    prompt = tuple(Message.model_validate(turn) for turn in asked)
    # Two rows may ask the judge the very same thing; each has an answer of its own.
    return replace(row, id=str(number), key=f"{key_of(prompt)}-{number}", prompt=prompt, tools=(), references=())
