from collections import Counter

import numpy as np
import pytest

from m2s_lib.films.stories.story import ACTIONS, STORIES, THEMES, TWINS, action_shots, tell


def test_every_action_is_part_of_two_or_three_themes():
    parts = Counter(action for story in STORIES for action in story.actions)
    assert set(parts) == set(ACTIONS)
    assert set(parts.values()) <= {2, 3}


def test_only_twins_have_the_same_two_actions_equally_often_in_the_opposite_order():
    pairs = Counter(frozenset(story.actions) for story in STORIES)
    of = {story.name: story for story in STORIES}
    for a, b in TWINS:
        assert of[a].actions == of[b].actions
        assert Counter(of[a].order) == Counter(of[b].order)
        assert of[a].order == of[b].order[::-1] != of[b].order
        assert of[a].pace == of[b].pace
    assert sum(n == 2 for n in pairs.values()) == len(TWINS)
    assert max(pairs.values()) == 2


@pytest.mark.parametrize("length", range(9, 15))
@pytest.mark.parametrize("theme", range(len(THEMES)), ids=THEMES)
def test_three_to_five_shots_of_a_scene_show_an_action_in_the_themes_order(theme, length):
    story = STORIES[theme]
    for seed in range(20):
        shots = action_shots(np.random.default_rng(seed), theme, length)
        assert 3 <= len(shots) <= 5
        assert list(shots) == sorted(shots)
        assert all(0 <= shot < length for shot in shots)
        assert set(shots.values()) == set(story.actions)
        assert list(shots.values()) == [story.actions["AB".index(c)] for c in story.order[: len(shots)]]


def test_synopses_tell_each_theme_half_of_the_time_in_words_that_vary():
    themes = np.zeros(len(THEMES))
    themes[[0, 8]] = 0.5
    texts = [tell(np.random.default_rng(seed), themes).lower() for seed in range(400)]
    for theme in (0, 8):
        phrases = [phrase for text in texts for phrase in STORIES[theme].phrases if phrase in text]
        assert len(phrases) / len(texts) == pytest.approx(0.5, abs=0.08)
        assert set(phrases) == set(STORIES[theme].phrases)
    others = [phrase for story in STORIES[1:8] for phrase in story.phrases]
    assert not any(phrase in text for text in texts for phrase in others)
