"""Stories of the embedded world: what is told early is needed late.

Two people each have a thing. Things are hidden, found, given and borrowed, and people feel one way or
another. The last sentences follow from all that, so they cost a reader who kept track nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from .choices import Reader, Weighted, Writer
from .words import BOYS, GIRLS, HER, HIM, LISTS, LOOKS, SHE, TOPICS, Topic, with_article

# One of the two is a girl and one a boy, so that "she" and "he" always tell them apart.
RELATIONS = {
    "she": ("friend", "cousin", "neighbour", "brother", "uncle", "father"),
    "he": ("friend", "cousin", "neighbour", "sister", "aunt", "mother"),
}
GO_ON = (
    " Then ", " After that, ", " Soon ", " Later, ", " Next, ", " Now ",
    " At noon, ", " Once more, ", " Meanwhile ", " Before long, ", " After lunch, ", " In between, ",
)  # fmt: skip
END = " In the end, "
WHO, WHERE, HOW = " Who had the ", " Where was the ", " How did "
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
    people: dict[str, str]
    """Pronoun -> name."""
    owner: dict[str, str] = field(default_factory=dict)
    """Thing -> the pronoun of the person who has it."""
    hidden: dict[str, str] = field(default_factory=dict)
    """Thing -> the spot where it lies; a thing has an owner or a spot."""
    felt: dict[str, str] = field(default_factory=dict)
    """Pronoun -> the last feeling that was told."""
    first_thing: str = ""
    """The thing that was told of first."""

    def ending(self, thing: str) -> str:
        """Say what became of a thing; nothing in this sentence is left to chance."""
        if thing in self.owner:
            return f"{self.people[self.owner[thing]]} had the {thing}."
        return f"the {thing} was {self.hidden[thing]}."


def write_story(writer: Writer | Reader) -> None:
    """Write a story, from after its first word "One"."""
    scene = write_scene(writer)
    for event in count(1):
        if event <= FEWEST_EVENTS:
            writer.pick(GO_ON)
        elif event > MOST_EVENTS:
            writer.write(END)
            break
        elif writer.pick_weighted(GO_ON_OR_END) == END:
            break
        write_event(writer, scene)
    writer.write(scene.ending(scene.first_thing))
    write_closing(writer, scene)


def write_scene(writer: Writer | Reader, girls: Sequence[str] = GIRLS, boys: Sequence[str] = BOYS) -> Scene:
    """Write who is where and has what."""
    writer.pick(LISTS["days"])
    writer.write(" ")
    writer.pick(LISTS["times"])
    writer.write(", ")
    first = writer.pick((*girls, *boys))
    writer.write(" the ")
    writer.pick(LISTS["roles"])
    writer.write(f" and {HER[first]} ")
    writer.pick(RELATIONS[SHE[first]])
    writer.write(" ")
    second = writer.pick(boys if SHE[first] == "she" else girls)
    writer.write(" were ")
    scene = Scene(TOPICS[writer.pick(tuple(TOPICS))], {SHE[first]: first, SHE[second]: second})
    for person, name in scene.people.items():
        writer.write(f". {name} had ")
        writer.pick([with_article(look) for look in LOOKS[scene.topic]])
        writer.write(" ")
        thing = writer.pick([thing for thing in scene.topic.things if thing not in scene.owner])
        scene.owner[thing] = person
    scene.first_thing = next(iter(scene.owner))
    writer.write(".")
    return scene


def write_event(writer: Writer | Reader, scene: Scene) -> str:
    """Write one event, after its connecting word, and change the scene accordingly; give its verb."""
    person = writer.pick(tuple(scene.people))
    other = "he" if person == "she" else "she"
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
        writer.write(f" to {HIM[other]}, and {other} felt ")
        scene.felt[other] = writer.pick(LISTS["feelings"])
    elif verb in BORROW:
        scene.owner[writer.pick(wanted)] = person
        writer.write(f" from {HIM[other]}")
    elif verb in FIND:
        thing = writer.pick(list(scene.hidden))
        scene.owner[thing] = person
        writer.write(f" {scene.hidden.pop(thing)}")
    writer.write(".")
    return verb


def write_closing(writer: Writer | Reader, scene: Scene) -> None:
    """Write the last sentence: a question with its answer, or the way home."""
    opener = writer.pick([" Everyone went home", *questions_about(scene)])
    if opener == " Everyone went home":
        writer.write(" ")
        writer.pick(LISTS["adverbs"])
        writer.write(".")
    else:
        writer.write(f" {ask_about(writer, scene, opener)}")


def questions_about(scene: Scene) -> list[str]:
    """How the questions begin that can be asked at the end of a story."""
    return [WHO] * bool(scene.owner) + [WHERE] * bool(scene.hidden) + [HOW] * bool(scene.felt)


def ask_about(writer: Writer | Reader, scene: Scene, opener: str) -> str:
    """Write the question after its opener, and give the answer."""
    if opener == WHO:
        thing = writer.pick(list(scene.owner))
        writer.write("?")
        return f"{scene.people[scene.owner[thing]]}."
    if opener == WHERE:
        thing = writer.pick(list(scene.hidden))
        writer.write("?")
        return f"It was {scene.hidden[thing]}."
    names = {scene.people[person]: person for person in scene.felt}
    name = writer.pick(list(names))
    writer.write(" feel?")
    return f"{names[name].capitalize()} felt {scene.felt[names[name]]}."
