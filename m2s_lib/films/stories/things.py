"""Things: furniture, buildings' parts and what hands hold, each a list of shapes in words.

A shape is a letter, numbers and a colour. Numbers are heights of a person; x grows to where the thing looks,
y upwards from where it stands.

    r x y w h    rectangle, x its middle, y its foot        R    the same with an outline
    e x y a b    ellipse with its centre and radii           E    the same with an outline
    p x y ...    polygon                                     P    the same with an outline
    l w x y ...  line of width w

Colours are names of the look's or of `COLOURS`; '-' behind a name makes it darker, '+' lighter.
"""

from functools import cache

from m2s_lib.films.stories.canvas import Canvas, Colour

COLOURS = {
    "paper": (236, 230, 212), "glass": (176, 206, 226), "leaf": (70, 122, 72), "dark": (44, 42, 48),
    "lamp": (255, 232, 160), "slate": (44, 78, 62), "wine": (176, 50, 60), "brass": (210, 180, 80),
    "crate": (150, 104, 62), "bottle": (50, 96, 60),
}  # fmt: skip
THINGS = {
    # furniture
    "desk": """
        r -.38 -.12 .08 .42 wood-, r .38 -.12 .08 .42 wood-, R 0 .26 .95 .07 wood, r 0 .33 .05 .07
        dark, R 0 .38 .36 .26 dark, r 0 .41 .3 .19 glass""",
    "shelf": """
        R 0 0 .6 1.1 wood, r 0 .05 .52 .22 wood-, r 0 .31 .52 .22 wood-, r 0 .57 .52 .22 wood-, r 0
        .83 .52 .22 wood-, r -.18 .06 .1 .17 cloth, r -.05 .06 .08 .2 paper, r .12 .06 .1 .15 metal,
        r -.16 .32 .12 .19 leaf, r .05 .32 .1 .16 cloth, r .18 .32 .08 .19 paper, r -.1 .58 .1 .2
        metal, r .1 .58 .1 .17 leaf, r -.18 .84 .1 .16 paper, r 0 .84 .1 .2 cloth, r .17 .84 .1 .16
        wood+""",
    "window": "R 0 .35 .7 .8 paper, r 0 .4 .6 .7 sky, r 0 .35 .04 .8 paper, r 0 .72 .7 .04 paper",
    "clock": "E 0 1.1 .16 .16 paper, l .025 0 1.1 .02 1.22 dark, l .025 0 1.1 .09 1.07 dark",
    "picture": "R 0 .75 .5 .4 wood-, r 0 .79 .42 .32 cloth, p -.2 .8 0 1 .2 .8 leaf",
    "plant": """
        e -.16 .31 .09 .26 leaf-, e .17 .3 .09 .26 leaf-, e -.05 .42 .09 .26 leaf, e .07 .4 .09 .26
        leaf, R 0 -.08 .28 .28 cloth""",
    "pane": """
        r 0 .2 1.6 1.05 metal, r 0 .25 1.52 .95 sky, e 0 .5 .5 .09 paper, p -.48 .5 -.55 .78 -.35
        .55 paper, p -.05 .48 -.25 .3 .12 .48 metal""",
    "seats": """
        R -.5 .05 .3 .36 cloth, R -.17 .05 .3 .36 cloth, R .16 .05 .3 .36 cloth, R .49 .05 .3 .36
        cloth, r 0 .02 1.3 .08 cloth-, l .04 -.6 -.08 .6 -.08 metal""",
    "sign": """
        R 0 .95 .95 .34 dark, l .04 -.4 1.02 .2 1.02 lamp, l .04 -.4 1.11 .27 1.11 lamp, l .04 -.4
        1.2 .34 1.2 lamp""",
    "counter": "R 0 -.12 1.1 .5 wood, R 0 .36 1.2 .08 wood-",
    "board": """
        R 0 .45 1.3 .72 wood, r 0 .5 1.2 .62 slate, l .03 -.5 .65 .1 .67 paper, l .03 -.5 .81 .25
        .83 paper, l .03 -.5 .97 .4 .99 paper""",
    "bench": """
        R -.35 .16 .5 .06 wood, R .35 .16 .5 .06 wood, r -.53 -.14 .04 .3 metal, r -.17 -.14 .04 .3
        metal, r .17 -.14 .04 .3 metal, r .53 -.14 .04 .3 metal""",
    "lockers": """
        R -.39 0 .25 1.05 cloth, R -.13 0 .25 1.05 cloth, R .13 0 .25 1.05 cloth, R .39 0 .25 1.05
        cloth, r -.32 .5 .03 .12 dark, r -.06 .5 .03 .12 dark, r .2 .5 .03 .12 dark, r .46 .5 .03
        .12 dark""",
    "door": "R 0 0 .6 1.2 wood-, r 0 .02 .48 1.12 wood, e .17 .5 .035 .035 lamp, r 0 .92 .12 .08 paper",
    "bed": """
        R -.65 -.18 .1 .62 wood, R 0 -.18 1.3 .3 cloth, e -.45 .15 .18 .08 paper, r .2 .06 .9 .07
        paper""",
    "lamp": "l .04 0 0 0 .85 metal, P -.1 1.05 .1 1.05 .2 .78 -.2 .78 lamp",
    "bars": """
        r 0 0 1.2 1.25 wall-, l .05 -.56 0 -.56 1.25 metal, l .05 -.4 0 -.4 1.25 metal, l .05 -.24 0
        -.24 1.25 metal, l .05 -.08 0 -.08 1.25 metal, l .05 .08 0 .08 1.25 metal, l .05 .24 0 .24
        1.25 metal, l .05 .4 0 .4 1.25 metal, l .05 .56 0 .56 1.25 metal, l .06 -.6 .4 .6 .4 metal,
        l .06 -.6 1.22 .6 1.22 metal""",
    "bunk": """
        R 0 .3 1.1 .08 metal, R 0 .85 1.1 .08 metal, r 0 .38 1 .09 paper, r 0 .93 1 .09 paper, r
        -.52 -.1 .05 1.15 metal, r .52 -.1 .05 1.15 metal""",
    "grille": """
        R 0 .65 .5 .4 paper, r 0 .7 .4 .3 sky, l .035 -.15 .65 -.15 1.05 dark, l .035 -.05 .65 -.05
        1.05 dark, l .035 .05 .65 .05 1.05 dark, l .035 .15 .65 .15 1.05 dark""",
    "iron door": "R 0 0 .66 1.2 metal, r 0 .86 .32 .12 dark, r .22 .45 .05 .2 dark",
    "table": """
        l .06 0 -.2 0 .16 wood-, P -.45 .2 .45 .2 .36 0 -.36 0 paper, E 0 .2 .45 .08 cloth, R -.62
        -.2 .2 .28 wood, R .62 -.2 .2 .28 wood, R -.7 .08 .05 .32 wood, R .7 .08 .05 .32 wood""",
    "pendant": "l .02 0 1.1 0 2.5 dark, P -.06 1.15 .06 1.15 .2 .97 -.2 .97 lamp",
    "bottles": """
        R 0 -.12 1.1 .5 wood, R 0 .36 1.2 .08 wood-, r 0 .74 1.04 .04 wood, r -.41 .78 .08 .25 leaf,
        r -.25 .78 .08 .2 cloth, r -.09 .78 .08 .25 wood, r .07 .78 .08 .22 leaf, r .23 .78 .08 .25
        cloth, r .39 .78 .08 .2 metal""",
    # what somebody hides behind
    "crates": "R 0 0 .5 .44 wood, l .04 -.25 .44 .25 0 wood-, l .04 -.25 0 .25 .44 wood-",
    "bush": "E -.2 .2 .2 .23 leaf, E 0 .2 .2 .28 leaf, E .2 .2 .2 .23 leaf",
    "barrel": """
        R 0 0 .4 .44 metal, E 0 .44 .2 .05 metal+, l .03 -.2 .13 .2 .13 dark, l .03 -.2 .3 .2 .3
        dark""",
    "armchair": "R 0 0 .6 .4 cloth, E 0 .4 .3 .1 cloth",
    # what people sit on and stand at
    "stool": "R 0 0 .4 .26 wood",
    "seat": "R 0 .19 1 .07 wood, r -.4 0 .06 .2 wood-, r .4 0 .06 .2 wood-",
    "drinks": "r 0 0 .06 .4 wood-, E 0 .4 .3 .06 wood, R 0 .41 .08 .19 bottle, r 0 .58 .036 .12 bottle",
    # what hands hold, from the hand on
    "gift": """
        R .08 -.02 .18 .15 accent, r .08 -.02 .036 .15 paper, e .04 .15 .04 .025 paper, e .12 .15
        .04 .025 paper""",
    "glass": """
        l .025 0 0 0 .09 paper, P -.065 .2 .065 .2 .03 .08 -.03 .08 paper, p -.05 .16 .05 .16 .03
        .08 -.03 .08 wine""",
    "kerchief": "P 0 .03 .22 .11 .26 -.06 .06 -.11 paper",
    "crate": "R .1 -.01 .3 .28 crate, l .016 -.05 .06 .25 .06 dark, l .016 -.05 .15 .25 .15 dark",
    "load": "E 0 .13 .24 .14 crate, l .02 -.22 .15 .2 .13 dark",
    "flower": "l .018 0 -.03 .03 .12 leaf, e .03 .14 .05 .05 accent",
    # in close-ups of a hand, larger
    "cup": "R 0 -.14 .26 .3 paper, E 0 .16 .13 .03 crate-",
    "letter": """
        P -.26 .22 .26 .26 .28 -.14 -.24 -.18 paper, l .012 -.18 .14 .18 .16 dark, l .012 -.18 .07
        .18 .09 dark, l .012 -.18 0 .18 .02 dark, l .012 -.18 -.07 .1 -.05 dark""",
    "telephone": "R 0 -.18 .2 .4 dark, r 0 -.1 .16 .28 glass",
    "key": "E 0 0 .08 .08 brass, l .035 .06 -.03 -.22 -.1 brass, l .03 -.2 -.09 -.18 -.15 brass",
}  # fmt: skip


@cache
def _shapes(name: str) -> tuple[tuple[str, tuple[float, ...], str, float], ...]:
    """The shapes of a thing: letter, numbers, name of the colour, and how dark it is."""
    shapes = []
    for text in THINGS[name].split(","):
        letter, *numbers, colour = text.split()
        share = {"-": 0.65, "+": 1.2}.get(colour[-1], 1.0)
        shapes.append((letter, tuple(map(float, numbers)), colour.rstrip("+-"), share))
    return tuple(shapes)


def draw_thing(
    canvas: Canvas, name: str, x: float, y: float, unit: float, colours: dict[str, Colour], side: int = 1
) -> None:
    """Draw a thing that stands at (x, y) beside people `unit` px tall; side -1 mirrors it.

    Args:
        colours: by name; those of `COLOURS` need not be there.
    """
    for letter, numbers, colour, share in _shapes(name):
        paint = shade(colours.get(colour) or COLOURS[colour], share)
        line, kind = letter.isupper(), letter.lower()
        if kind in "re":
            cx, cy = x + side * unit * numbers[0], y - unit * numbers[1]
            a, b = unit * numbers[2], unit * numbers[3]
            if kind == "r":
                canvas.rectangle(cx - a / 2, cy - b, a, b, paint, line=line)
            else:
                canvas.ellipse(cx, cy, a, b, paint, line=line)
            continue
        flat = numbers[1:] if kind == "l" else numbers
        points = [(x + side * unit * a, y - unit * b) for a, b in zip(flat[::2], flat[1::2], strict=True)]
        if kind == "l":
            canvas.line(points, max(numbers[0] * unit, 0.8), paint)
        else:
            canvas.polygon(points, paint, line=line)


def shade(colour: Colour, share: float) -> Colour:
    """The colour, darker below 1 and lighter above."""
    return tuple(min(int(share * v), 255) for v in colour)
