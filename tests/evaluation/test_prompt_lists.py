"""The committed prompt lists."""

from __future__ import annotations

import pytest

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.evaluation.prompt_lists import PROMPT_LISTS, load_prompt_list
from dreamfusion3d.procedural.prompt_rules import parse_with_rules
from tests.support.prompt_lists import PROMPT_LIST_LENGTH, generate_prompt_list


def test_load_prompt_list_matches_the_grammar_and_lists_are_disjoint():
    lists = {name: load_prompt_list(name) for name in PROMPT_LISTS}
    for name, prompts in lists.items():
        assert prompts == generate_prompt_list(name) and len(prompts) == PROMPT_LIST_LENGTH
        for parsed in map(parse_with_rules, prompts):
            assert parsed.spec and not parsed.unknown_words and not parsed.notes
    assert not set(lists["development"]) & set(lists["reporting"])
    with pytest.raises(InputError, match="development or reporting"):
        load_prompt_list("nowhere.txt")
