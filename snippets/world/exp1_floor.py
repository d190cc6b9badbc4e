"""How low can the loss go? Count what each choice in a text costs, and find the floor of every loss curve.

The embedded world writes its documents by chance, and adds up -log p of every choice. The sum is what a
reader with perfect knowledge still pays: the floor that no model can pass on average.

Run: python snippets/world/exp1_floor.py [--documents 200] [--vocabularies 300 1024 2048] [--seed 0]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import math
import random
import textwrap
from itertools import islice

import matplotlib.pyplot as plt
import torch

from minimind import metrics
from minimind.course import experiment, plots
from minimind.data.world import World, Writer, derivations, held_out
from minimind.tokenizer import train_tokenizer

args = experiment.flags(__doc__, model="pretrain", documents=200, vocabularies=[300, 1024, 2048])
plots.style()
world = World(args.seed)
# --8<-- [end:setup]

# --8<-- [start:samples]
fresh = list(islice(world.documents("validation"), max(args.documents, 100)))
sample = {}  # one document of each kind
for document in fresh:
    sample.setdefault(document.kind, document)
for kind, document in sorted(sample.items()):
    print(textwrap.fill(document.text, width=78, initial_indent=f"[{kind}] "), end="\n\n")
# --8<-- [end:samples]


# --8<-- [start:grammar]
def zoo(writer):
    """A grammar with two choices."""
    animal = writer.pick(["cat", "dog", "fox", "owl"])  # four options: each costs log 4
    writer.write(" saw a ")  # certain: costs nothing
    writer.pick(["hen", "worm"])  # two options: log 2
    writer.write(f". The {animal} ate.")  # follows from the first choice: costs nothing


(cost,) = derivations(zoo, "fox saw a hen. The fox ate.")
print(f"log 4 + log 2 = {math.log(4) + math.log(2):.3f}; the code counts {cost:.3f} nats")
print(f"the text's probability: e^-{cost:.3f} = {math.exp(-cost):.3f} = 1/{1 / math.exp(-cost):.0f}")
# --8<-- [end:grammar]


# --8<-- [start:noting]
class Noting(Writer):
    """A writer that notes each piece of text with its cost in nats."""

    def __init__(self, random):
        super().__init__(random)
        self.pieces = []  # (text, nats)

    def write(self, text):
        super().write(text)
        self.pieces.append((text, 0.0))

    def pick(self, options):
        option = super().pick(options)
        self.pieces.append((option, math.log(len(options))))
        return option

    def pick_weighted(self, table):
        before = self.nats
        option = super().pick_weighted(table)
        self.pieces.append((option, self.nats - before))
        return option


# --8<-- [end:noting]


# --8<-- [start:story]
def write_documents():
    """Documents without end that nobody has read before, each as its writer."""
    rng = random.Random(f"floor {args.seed}")
    while True:
        writer = Noting(rng.random)
        yield world.write(writer), writer


stories = [writer for kind, writer in islice(write_documents(), 400) if kind == "story"]
# For the page: a short story that ends with a question.
story = min((writer for writer in stories if "Who had" in writer.text()), key=lambda w: len(w.text()))
print(textwrap.fill(story.text(), width=78))
print(f"\n{len(story.text())} characters, {len(story.pieces)} pieces, {story.nats:.1f} nats")
# --8<-- [end:story]


# --8<-- [start:bill]
def bill(pieces):
    """Characters read, and nats paid until then, after each piece of text."""
    read, paid = [0], [0.0]
    for text, nats in pieces:
        read += [read[-1] + len(text)]
        paid += [paid[-1] + nats]
    return read, paid


def ending_of(writer):
    """First and last character of the sentence after `In the end,`, and its cost."""
    at = [text for text, _ in writer.pieces].index(" In the end, ")
    start = sum(len(text) for text, _ in writer.pieces[: at + 1])
    text, nats = writer.pieces[at + 1]
    return start, start + len(text), nats


read, paid = bill(story.pieces)
start, end, ending_cost = ending_of(story)
curves = {"perfect\nreader": (read, paid)}
print(f"a perfect reader pays {story.nats:.1f} nats for the story, {ending_cost:.1f} for its ending")
# --8<-- [end:bill]

# --8<-- [start:model]
model, tokenizer, learned = experiment.load_model(args.model)  # `learned` is the world that it was trained on
ids = tokenizer.encode(story.text())  # T ids
with torch.no_grad():
    logits = model(torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, :-1]  # (T, V)
surprise = -logits.log_softmax(-1)[range(len(ids)), ids]  # (T,) nats, one for each token
pieces = [(tokenizer.decode([token]), nats) for token, nats in zip(ids, surprise.tolist(), strict=True)]
read, paid = curves["the model"] = bill(pieces)
model_ending = sum(nats for (_, nats), at in zip(pieces, read, strict=False) if start <= at < end)
unread = list(islice(learned.documents("validation"), len(fresh)))
measured = metrics.perplexity(model, metrics.held_out(tokenizer, unread))
print(f"the model pays {paid[-1]:.1f} nats, {model_ending:.1f} for the ending")
print(f"{len(unread)} documents: perplexity {measured.perplexity:.2f}, floor {measured.floor_perplexity:.2f}")
# --8<-- [end:model]

# --8<-- [start:ending]
fig, ax = plt.subplots()
for (name, (read, paid)), colour in zip(curves.items(), (plots.BLUE, plots.ORANGE), strict=False):
    ax.plot(read, paid, color=colour, label=name)
ax.axvspan(start, end, color=plots.GREEN, alpha=0.18, linewidth=0)
ax.text((start + end) / 2, 0.06 * story.nats, "the\nending", color=plots.GREEN, ha="center")
ax.set(xlabel="characters read", ylabel="nats paid so far", xlim=(0, None), ylim=(0, None))
plots.label_lines(ax, gap=26)
experiment.show("ending")
# --8<-- [end:ending]


# --8<-- [start:hidden]
def careless(writer):
    """Looks harmless, but `a big cat` can come about in two ways."""
    writer.pick(["a ", "a big "])
    writer.pick(["cat", "big cat"])


ways = derivations(careless, "a big cat")
truth = -math.log(sum(math.exp(-nats) for nats in ways))
print("costs of the ways to write it:", ", ".join(f"{nats:.3f}" for nats in ways))
print(f"true cost of the text: {truth:.3f} nats")
# --8<-- [end:hidden]

# --8<-- [start:floor]
training_texts = [document.text for document in islice(world.documents("train"), 2000)]
nats = sum(document.nats for document in fresh)
size = sum(len(document.text.encode()) for document in fresh)
bits_per_byte = nats / math.log(2) / size
floor, tokens_of = {}, {}  # vocabulary -> perplexity of a perfect reader, tokens per document
print("ids  tokens per document   floor: perplexity   bits per byte")
for vocabulary in args.vocabularies:
    tokenizer = train_tokenizer(training_texts, vocabulary)
    # One more than the text's own tokens: that it ends has to be predicted too.
    tokens = sum(len(tokenizer.encode(document.text)) + 1 for document in fresh)
    floor[vocabulary], tokens_of[vocabulary] = math.exp(nats / tokens), tokens / len(fresh)
    print(
        f"{vocabulary:5}  {tokens_of[vocabulary]:17.1f}   {floor[vocabulary]:17.2f}   {bits_per_byte:13.3f}"
    )
# --8<-- [end:floor]

# --8<-- [start:held_out]
questions = list(world.questions())
asked = {kind: sum(question.kind == kind for question in questions) for kind in ("sums", "facts")}
print(f"never in training: {asked['sums']} sums and {asked['facts']} questions about facts, such as")
for kind in asked:
    question = next(question for question in questions if question.kind == kind)
    print(f"  {question.prompt}{question.answer}")
print("is 12 + 7 held out?", held_out("+", 12, 7))
# --8<-- [end:held_out]

# --8<-- [start:claims]
explained = [derivations(world.write, document.text) for document in fresh[: args.documents]]
experiment.claim(
    f"one derivation for each of {len(explained)} documents", all(len(found) == 1 for found in explained)
)
experiment.claim(
    "its cost is the one that the document states",
    all(abs(d[0] - document.nats) < 1e-9 for d, document in zip(explained, fresh, strict=False)),
)
experiment.claim("the careless grammar writes one text in two ways", len(ways) == 2 and truth < min(ways))
experiment.claim(
    f"the ending costs 0 nats in each of {len(stories)} stories",
    all(ending_of(writer)[2] == 0 for writer in stories),
)
experiment.claim_of_model("the model pays more than the floor", measured.nats > measured.floor_nats)
if args.seed == 0:  # the story of the page; with another one the model may be lucky
    experiment.claim_of_model(
        "the model pays more than a perfect reader for the story", curves["the model"][1][-1] > story.nats
    )
    experiment.claim_of_model("and less than a tenth of a nat for its ending", model_ending < 0.1)
if 1024 in floor:
    experiment.claim("the floor at 1,024 ids is between 1.8 and 2.2", 1.8 < floor[1024] < 2.2)
experiment.claim(
    "more ids, higher floor in perplexity",
    list(floor.values()) == [floor[ids] for ids in args.vocabularies] == sorted(floor.values()),
)
if {300, 2048} <= set(floor):
    better, worse = tokens_of[2048] * math.log(2.6), tokens_of[300] * math.log(2.0)
    experiment.claim("perplexity 2.6 with 2,048 ids beats 2.0 with 300 ids", better < worse)
# --8<-- [end:claims]
