"""The built-in corpus: short reviews that a small grammar generates from a seed, so that everything runs offline.

The label is the *author's* verdict. Adjectives alone do not reveal it: they also occur negated ("i never thought the
soup was dull"), in contrasts ("the room looked dull but was lovely") and in other people's opinions ("my aunt called
the band dull, but i found the encore superb"), in the same phrases as the author's own.
"""

from collections.abc import Iterator
from random import Random

LABELS = ("negative", "positive")
ROWS = 8000

_ADJECTIVES = (  # by sentiment, in the order of LABELS
    ("dreadful", "dull", "awful", "tedious", "disappointing", "terrible", "clumsy", "bland"),
    ("wonderful", "superb", "delightful", "charming", "brilliant", "excellent", "lovely", "memorable"),
)
_ASPECTS = {
    "film": ("plot", "acting", "music", "ending"),
    "book": ("story", "writing", "heroine", "ending"),
    "restaurant": ("food", "service", "soup", "dessert"),
    "hotel": ("room", "breakfast", "staff", "view"),
    "concert": ("sound", "singer", "band", "encore"),
}
_OTHERS = ("my brother", "my sister", "my neighbour", "a friend", "the critic", "my boss", "my aunt", "the guide book")
_OPINIONS = (
    "{who} found the {aspect} {adjective}",
    "{who} thought the {aspect} was {adjective}",
    "{who} called the {aspect} {adjective}",
)
_DENIALS = (
    "{who} did not find the {aspect} {adjective}",
    "{who} never thought the {aspect} was {adjective}",
    "{who} would not call the {aspect} {adjective}",
)
_CONTRASTS = (
    "the {aspect} looked {opposite} but was {adjective}",
    "the {aspect} was {adjective} though it looked {opposite}",
)
_FACTS = (
    "we went to the {topic} on a {day}.",
    "i had waited for this {topic} for months.",
    "the {topic} was full that {day}.",
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def reviews(rows: int = ROWS, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Generate `rows` pairs of (text, label) without duplicate texts; fewer rows are a prefix of more."""
    random, seen = Random(seed), set[str]()
    while len(seen) < rows:
        text, label = _review(random)
        if text not in seen:
            seen.add(text)
            yield text, label


def rows(split: str) -> list[tuple[str, str]]:
    """Return the corpus: ROWS rows to train on or, for the split "test", ROWS / 8 others, with no text in common."""
    if split == "test":
        return list(reviews(ROWS + ROWS // 8))[ROWS:]
    return list(reviews())


def _review(random: Random) -> tuple[str, str]:
    label = random.randrange(2)
    topic = random.choice(tuple(_ASPECTS))

    def opinion(who: str, sentiment: int) -> str:
        is_denied = random.random() < 0.3
        return random.choice(_DENIALS if is_denied else _OPINIONS).format(
            who=who,
            aspect=random.choice(_ASPECTS[topic]),
            adjective=random.choice(_ADJECTIVES[1 - sentiment if is_denied else sentiment]),
        )

    def verdict() -> str:
        form = random.random()
        if form < 0.2:
            return random.choice(_CONTRASTS).format(
                aspect=random.choice(_ASPECTS[topic]),
                adjective=random.choice(_ADJECTIVES[label]),
                opposite=random.choice(_ADJECTIVES[1 - label]),
            )
        if form < 0.4:
            return f"{opinion(random.choice(_OTHERS), 1 - label)}, but {opinion('i', label)}"
        return opinion("i", label)

    sentences = [f"{verdict()}." for _ in range(random.choice((1, 2)))]
    if random.random() < 1 / 3:
        sentences.append(f"{opinion(random.choice(_OTHERS), random.randrange(2))}.")
    if random.random() < 1 / 3:
        sentences.append(random.choice(_FACTS).format(topic=topic, day=random.choice(_DAYS)))
    random.shuffle(sentences)
    return " ".join(sentences), LABELS[label]
