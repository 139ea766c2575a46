"""What other nodes send, changed at random: cut anywhere it is answered alike, and nobody else is harmed."""

import pytest

from tests.fuzz.fuzz_peers import search


@pytest.mark.parametrize("seed", [1, 2])
async def test_cuts_change_no_answer(seed: int) -> None:
    assert await search(seed, count=150) == (150, None)
