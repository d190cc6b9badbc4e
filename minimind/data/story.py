"""Stories of the embedded world: what is told early is needed late.

Two people each have a thing. Things are hidden, found, given and borrowed, and people feel one way or
another. The last sentences follow from all that, so they cost a reader who kept track nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from .choices import Reader, Weighted, Writer
from .words import BOYS, GIRLS, HER, LISTS, LOOKS, NAMES, TOPICS, Topic, with_article

RELATIONS = {
    "friend": NAMES, "cousin": NAMES, "neighbour": NAMES,
    "brother": BOYS, "uncle": BOYS, "sister": GIRLS, "aunt": GIRLS,
}  # fmt: skip
GO_ON = (
    " Then ", " After that, ", " Soon ", " Later, ", " Next, ", " Now ",
    " At noon, ", " Once more, ", " Meanwhile ", " Before long, ", " After lunch, ", " In between, ",
)  # fmt: skip
END = " In the end, "
GO_ON_OR_END = Weighted({**dict.fromkeys(GO_ON, 0.7 / len(GO_ON)), END: 0.3})
MANNER = Weighted({" ": 0.5} | {f" {adverb} ": 0.5 / len(LISTS["adverbs"]) for adverb in LISTS["adverbs"]})
# Verbs of the same kind do the same to the scene.
EAT, SEE = ("ate ", "tasted "), ("saw ", "watched ", "met ")
HIDE, GIVE = ("hid the ", "put the ", "left the "), ("gave the ", "handed the ", "passed the ")
BORROW, FIND = ("borrowed the ", "took the "), ("found the ", "fetched the ")
FEWEST_EVENTS, MOST_EVENTS = 3, 5


@dataclass
class Scene:
    """What a reader of the story has to keep in mind."""

    topic: Topic
    people: tuple[str, str]
    described: dict[str, str] = field(default_factory=dict)
    """Thing -> look and thing, such as kite -> red kite."""
    owner: dict[str, str] = field(default_factory=dict)
    """Thing -> the person who has it."""
    hidden: dict[str, str] = field(default_factory=dict)
    """Thing -> the spot where it lies; a thing has an owner or a spot."""
    felt: dict[str, str] = field(default_factory=dict)
    """Person -> the last feeling that was told."""

    def ending(self) -> str:
        """Say what became of the first thing; nothing in this sentence is left to chance."""
        thing = next(iter(self.described))
        if thing in self.owner:
            return f"{self.owner[thing]} had the {self.described[thing]}."
        return f"the {self.described[thing]} was {self.hidden[thing]}."


def write_story(writer: Writer | Reader) -> None:
    """Write a story, from after its first word "One"."""
    writer.pick(LISTS["days"])
    writer.write(" ")
    writer.pick(LISTS["times"])
    writer.write(", ")
    first = writer.pick(NAMES)
    writer.write(" the ")
    writer.pick(LISTS["roles"])
    writer.write(f" and {HER[first]} ")
    relation = writer.pick(tuple(RELATIONS))
    writer.write(" ")
    second = writer.pick([name for name in RELATIONS[relation] if name != first])
    writer.write(" were ")
    scene = Scene(TOPICS[writer.pick(tuple(TOPICS))], (first, second))
    looks = list(LOOKS[scene.topic])
    for person in scene.people:
        writer.write(f". {person} had ")
        look = writer.pick([with_article(look) for look in looks]).split(" ", 1)[1]
        looks = [other for other in looks if other != look]
        writer.write(" ")
        thing = writer.pick([thing for thing in scene.topic.things if thing not in scene.owner])
        scene.described[thing] = f"{look} {thing}"
        scene.owner[thing] = person
    writer.write(".")
    for event in count(1):
        if event <= FEWEST_EVENTS:
            writer.pick(GO_ON)
        elif event > MOST_EVENTS:
            writer.write(END)
            break
        elif writer.pick_weighted(GO_ON_OR_END) == END:
            break
        write_event(writer, scene)
    writer.write(scene.ending())
    write_closing(writer, scene)


def write_event(writer: Writer | Reader, scene: Scene) -> None:
    """Write one event, after its connecting word, and change the scene accordingly."""
    person = writer.pick(scene.people)
    other = scene.people[person == scene.people[0]]
    held = [thing for thing in scene.owner if scene.owner[thing] == person]
    wanted = [thing for thing in scene.owner if scene.owner[thing] == other]
    writer.pick_weighted(MANNER)
    verbs = (
        EAT
        + SEE
        + scene.topic.deeds
        + (HIDE + GIVE) * bool(held)
        + BORROW * bool(wanted)
        + FIND * bool(scene.hidden)
    )
    verb = writer.pick(verbs)
    if verb in EAT:
        writer.pick(scene.topic.foods)
        writer.write(" and felt ")
        scene.felt[person] = writer.pick(LISTS["feelings"])
    elif verb in SEE:
        writer.pick([with_article(temper) for temper in LISTS["tempers"]])
        writer.write(" ")
        writer.pick(scene.topic.animals)
        writer.write(" ")
        writer.pick(scene.topic.spots)
    elif verb in HIDE:
        thing = writer.pick(held)
        del scene.owner[thing]
        writer.write(" ")
        scene.hidden[thing] = writer.pick(scene.topic.spots)
    elif verb in GIVE:
        scene.owner[writer.pick(held)] = other
        writer.write(f" to {other}, who felt ")
        scene.felt[other] = writer.pick(LISTS["feelings"])
    elif verb in BORROW:
        scene.owner[writer.pick(wanted)] = person
        writer.write(f" from {other}")
    elif verb in FIND:
        thing = writer.pick(list(scene.hidden))
        scene.owner[thing] = person
        writer.write(f" {scene.hidden.pop(thing)}")
    writer.write(".")


def write_closing(writer: Writer | Reader, scene: Scene) -> None:
    """Write the last sentence: a question with its answer, or the way home."""
    thing_described = {described: thing for thing, described in scene.described.items()}
    openers = [" Everyone went home"]
    openers += [" Who had the "] * bool(scene.owner) + [" Where was the "] * bool(scene.hidden)
    openers += [" How did "] * bool(scene.felt)
    match writer.pick(openers):
        case " Everyone went home":
            writer.write(" ")
            writer.pick(LISTS["adverbs"])
            writer.write(".")
        case " Who had the ":
            described = writer.pick([scene.described[thing] for thing in scene.owner])
            writer.write(f"? {scene.owner[thing_described[described]]}.")
        case " Where was the ":
            described = writer.pick([scene.described[thing] for thing in scene.hidden])
            writer.write(f"? It was {scene.hidden[thing_described[described]]}.")
        case " How did ":
            person = writer.pick(list(scene.felt))
            writer.write(f" feel? {person} felt {scene.felt[person]}.")
