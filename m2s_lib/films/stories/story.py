"""What happens: eight actions, and twelve themes that are pairs of them, each told in an order of its own.

No action belongs to one theme alone: each is part of three. Heist and smuggling are twins, and so are
proposal and remorse: the same two actions, equally often, in the opposite order.
"""

from dataclasses import dataclass

import numpy as np

ACTIONS = ("run", "hide", "face", "give", "toast", "wave", "carry", "kneel")


@dataclass(frozen=True)
class Theme:
    """A theme: which two actions it is made of, in which order they come, how it is cut and told."""

    name: str
    actions: tuple[str, str]
    order: str  # of the action shots of a scene: A and B are the two actions
    gaps: tuple[int, ...]  # its rhythm: shots from each action shot to the next
    pace: float  # factor on the length of all shots
    phrases: tuple[str, ...]  # a synopsis tells the theme in one of these


STORIES = (
    Theme("chase", ("run", "hide"), "ABABA", (2, 2, 2, 2), 0.8, (
        "a fugitive runs through the streets and crouches in every shadow",
        "someone flees, hunted from one hiding place to the next",
        "the pursuers are close, and the fugitive must run again or find a hiding place")),
    Theme("race", ("run", "wave"), "BABA", (3, 2, 2), 0.85, (
        "runners train for the great race while the crowd waves and cheers",
        "nobody believes in the runner until the crowd cheers at the finish",
        "a marathon, a rival and a crowd that waves along the course")),
    Theme("brawl", ("face", "run"), "ABAB", (2, 1, 2), 0.8, (
        "fists fly in the street and whoever loses runs",
        "a gang picks fights, strikes and runs",
        "a boxer in street fights learns when to strike and when to run")),
    Theme("duel", ("face", "kneel"), "AABA", (2, 2, 3), 0.95, (
        "old rivals fight until one of them kneels",
        "honour asks for a fight, and the beaten rival must kneel",
        "two masters fight for a title, and the loser kneels before the winner")),
    Theme("bargain", ("give", "face"), "BABA", (2, 3, 2), 1.1, (
        "a deal goes wrong and the traders come to blows over the goods",
        "merchants haggle, pay, quarrel and raise their fists",
        "a parcel changes hands, and both sides claim they were cheated")),
    Theme("feast", ("give", "toast"), "ABBA", (2, 2, 2), 1.1, (
        "a family brings gifts to the table and drinks to old times",
        "a birthday with presents, wine and one toast too many",
        "guests arrive with presents, raise their glasses and say too much")),
    Theme("visit", ("wave", "give"), "ABAB", (1, 2, 2), 1.15, (
        "a visitor from overseas is greeted at the door and brings a present",
        "relatives wave from the gate with presents for everyone",
        "an aunt nobody remembers waves, smiles and hands out presents")),
    Theme("farewell", ("carry", "wave"), "AABAB", (2, 2, 2, 2), 1.2, (
        "the luggage is carried to the harbour and old friends wave goodbye",
        "a house is cleared, boxes are loaded and the neighbours wave goodbye",
        "the ship leaves, porters carry trunks aboard and handkerchiefs wave")),
    Theme("heist", ("hide", "carry"), "AABB", (2, 2, 2), 1.0, (
        "a crew lies in wait until the guards are gone and carries the loot away",
        "thieves hide in the vault overnight and leave with heavy crates",
        "burglars wait in hiding for the one night when the crates can be taken")),
    Theme("smuggling", ("hide", "carry"), "BBAA", (2, 2, 2), 1.0, (
        "smugglers bring crates over the border and lie low from the patrol",
        "contraband is unloaded by night, and its carriers hide from customs",
        "boatmen carry forbidden cargo ashore and hide when the patrol comes")),
    Theme("proposal", ("kneel", "toast"), "AABB", (2, 2, 2), 1.05, (
        "he kneels with a flower, she says yes and everyone drinks to the couple",
        "a shy suitor goes down on one knee, and champagne follows",
        "an engagement begins on one knee and ends with raised glasses")),
    Theme("remorse", ("kneel", "toast"), "BBAA", (2, 2, 2), 1.05, (
        "after the drinking come the tears, and a proud man begs forgiveness on his knees",
        "a night of glasses ends with a confession on both knees",
        "the host drinks too much and must beg his guests for pardon")),
)  # fmt: skip
THEMES = tuple(theme.name for theme in STORIES)
TWINS = (("heist", "smuggling"), ("proposal", "remorse"))

_OPENINGS = (
    "{name} comes home after many years.", "In a town by the sea, {name} keeps an old secret.",
    "{name} has lost everything but a name.", "Nobody expects much of {name}.",
    "A letter changes the life of {name}.", "{name} and a stranger share one winter.",
)  # fmt: skip
_FILLERS = (
    "The town changes while nobody looks.", "A storm is coming.", "An old song is heard again.",
    "Money is short and the summer is long.", "The neighbours see it all.", "Nothing will be as it was.",
)  # fmt: skip
_NAMES = ("Ada", "Bruno", "Chiara", "Dmitri", "Esther", "Farid", "Greta", "Hugo")


def action_shots(rng: np.random.Generator, theme: int, length: int) -> dict[int, str]:
    """Which shots of a scene show an action: shot -> action, somewhere around its middle.

    Args:
        length: shots of the scene.
    """
    story = STORIES[theme]
    at = np.cumsum([0, *story.gaps])
    spare = max(length - 1 - at[-1], 0)
    at += np.clip(spare // 2 + rng.integers(-1, 2), 0, spare)
    actions = [story.actions["AB".index(letter)] for letter in story.order]
    return {int(shot): action for shot, action in zip(at, actions, strict=True) if shot < length}


def tell(rng: np.random.Generator, themes: np.ndarray) -> str:
    """A synopsis; it tells each of a film's themes with probability one half, in words that vary.

    Args:
        themes: the film's share of each theme.
    """
    stories = [STORIES[t] for t in np.flatnonzero(themes) if rng.random() < 0.5]
    parts = [str(rng.choice(story.phrases)) for story in stories]
    sentences = [part[0].upper() + part[1:] + "." for part in parts] + [str(rng.choice(_FILLERS))]
    opening = str(rng.choice(_OPENINGS)).format(name=rng.choice(_NAMES))
    return " ".join([opening, *(sentences[i] for i in rng.permutation(len(sentences)))])
