"""Every parser of the project, under inputs that nobody would send in good faith.

A parser returns a value or raises one of its documented errors: never anything else, never for long, never
holding more than a small input is worth. What it accepts keeps a property, which its reader in `parsers/`
asserts. Long: `pytest tests/security/test_fuzz.py -m slow`.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.security.fuzzing import CORPUS, LARGEST_PEAK, Parser, corpus_of, inputs, judge, peak_of
from tests.security.parsers import addresses, answers, service, values

PARSERS = (*values.PARSERS, *addresses.PARSERS, *service.PARSERS, *answers.PARSERS)
FEW, MANY = 40, 20_000

every_parser = pytest.mark.parametrize("parser", PARSERS, ids=repr)


@every_parser
def test_the_corpus_is_accepted_or_refused(parser: Parser) -> None:
    """As the names of its inputs say, so that no bad one is accepted unnoticed, nor a good one refused."""
    corpus = corpus_of(parser)
    accepted = {name for name, data in corpus.items() if judge(parser, data)}

    assert accepted == {name for name in corpus if name.startswith("ok-")}
    assert corpus.keys() - accepted == {name for name in corpus if name.startswith("bad-")}


@every_parser
def test_a_small_input_takes_little_memory(parser: Parser) -> None:
    """Whatever lengths it declares, and however deep it is nested."""
    peaks = {name: peak_of(parser, data) for name, data in corpus_of(parser).items()}

    assert max(peaks.values()) < LARGEST_PEAK, peaks


@every_parser
def test_bent_inputs_are_accepted_or_refused(parser: Parser) -> None:
    """Random bytes, and inputs of the corpus that were flipped, cut, doubled, spliced and added to."""
    fuzz(parser, FEW)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@every_parser
def test_many_bent_inputs_are_accepted_or_refused(parser: Parser) -> None:
    """The same for as long as it takes."""
    fuzz(parser, MANY)


def test_every_folder_of_the_corpus_has_its_parser() -> None:
    """One without would be replayed by nobody."""
    assert sorted(parser.name for parser in PARSERS) == sorted(path.name for path in CORPUS.iterdir())


def fuzz(parser: Parser, examples: int) -> None:
    """Judge so many bent inputs, fewer where each takes long."""

    @settings(max_examples=max(1, examples // parser.weight), suppress_health_check=list(HealthCheck))
    @given(inputs(parser))
    def run(data: bytes) -> None:
        judge(parser, data)

    run()
