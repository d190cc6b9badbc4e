"""Who moves, who computes? Knock parts out of a trained model, and see which kinds of answer die.

A part that is knocked out gives its average output at every token, so nothing of what it found out gets through.
At the end the same is counted over ten trainings.

Run: python snippets/feed_forward/exp3_who_does_what.py [--zero] [--model shipped/pretrain] [--seed 0]
Tier: visualization · core · about 6 s
"""

# --8<-- [start:setup]
import random
import re
from contextlib import contextmanager

import matplotlib.pyplot as plt
import torch

from minimind.course import experiment, plots
from minimind.course.trainings import over_trainings
from minimind.data.world import ASKED_BY, held_out

args = experiment.flags(__doc__, model="pretrain", zero=False)
plots.style()
model, tokenizer, world = experiment.load_model(args.model)
# --8<-- [end:setup]

# --8<-- [start:answers]
# Kind of document, how many to read, and where in it stands what follows from the text or from the world.
ANSWERS = {
    "story look-up": ("story", 10, r"(?: In the end,|\?)( [^.?]*\.)"),
    "facts": ("quiz", 8, r"Answer:( [^.]*\.)"),
    "sums": ("sums", 8, r"(?: =|now has)( \d+\.)"),
    "word pairs": ("games", 16, r"(?:opposite of [a-z]* is|yesterday we|many)( [^.]*\.)"),
    "letters": ("games", 16, r"(?:After|Before) . comes( .\.)"),
    "spelling": ("games", 16, r"Spell [a-z]*:( [^.]*\.)"),
}


def read_documents(tokenizer, world, start=0):
    """Documents as (ids, [(kind of answer, places of its tokens)]), the shortest first."""
    wanted = {kind: number for kind, number, _ in ANSWERS.values()}
    rows = []
    for document in world.documents("validation", start=start):
        if wanted.get(document.kind, 0) == 0:
            if not any(wanted.values()):
                return sorted(rows, key=lambda row: len(row[0]))
            continue
        wanted[document.kind] -= 1
        ids = tokenizer.encode(document.text)
        ends = torch.tensor([len(tokenizer.decode([i])) for i in ids]).cumsum(0)
        marks = []
        for name, (kind, _, pattern) in ANSWERS.items():
            for found in re.finditer(pattern, document.text if kind == document.kind else ""):
                inside = (ends > found.start(1)) & (ends <= found.end(1))
                if inside.any():
                    marks.append((name, inside.nonzero()[:, 0]))
        rows.append(([tokenizer.bos_token_id, *ids], marks))


@torch.no_grad()
def losses(model, rows):
    """Mean loss in nats on the tokens of each kind of answer."""
    paid = {name: [] for name in ANSWERS}
    for start in range(0, len(rows), 12):
        batch = rows[start : start + 12]
        ids = torch.zeros(len(batch), max(len(row) for row, _ in batch), dtype=torch.long)  # (B, T)
        for number, (row, _) in enumerate(batch):
            ids[number, : len(row)] = torch.tensor(row)
        hidden = model(ids).hidden_states  # (B, T, D)
        for number, (row, marks) in enumerate(batch):
            for name, places in marks:  # token `place` of the text is predicted at `place`: the start leads
                logits = model.lm_head(hidden[number, places])
                right = torch.tensor(row)[places + 1]
                paid[name].append(torch.nn.functional.cross_entropy(logits, right, reduction="none"))
    return {name: torch.cat(nats).mean().item() for name, nats in paid.items()}


# --8<-- [end:answers]


# --8<-- [start:knock_out]
def parts_of(model):
    """The attention and the FFN of each layer, by name: all attention first."""
    blocks = list(enumerate(model.model.layers))
    return {f"attention {n}": block.self_attn for n, block in blocks} | {
        f"FFN {n}": block.mlp for n, block in blocks
    }


@contextmanager
def hooked(parts, hook):
    """For a while, let `hook(name, output)` see what each of these parts gives, or replace it."""
    handles = [
        part.register_forward_hook(lambda module, inputs, output, name=name: hook(name, output))
        for name, part in parts.items()
    ]
    yield
    for handle in handles:
        handle.remove()


@torch.no_grad()
def averages(model, rows):
    """What each part gives on average, over all tokens of the documents (D,)."""
    outputs = {name: [] for name in parts_of(model)}
    with hooked(parts_of(model), lambda name, output: outputs[name].append(output.flatten(0, 1))):
        for row, _ in rows:
            model(torch.tensor([row]))
    return {name: torch.cat(found).mean(0) for name, found in outputs.items()}


def knock_outs(model, rows, zero=False):
    """Nats on each kind of answer by the whole model, and what is added to them by each knock-out."""
    parts = parts_of(model)
    instead = {name: average * (not zero) for name, average in averages(model, rows).items()}
    attention, ffn = list(parts)[: len(parts) // 2], list(parts)[len(parts) // 2 :]
    choices = {name: [name] for name in parts} | {
        "upper attention": attention[1:], "upper FFNs": ffn[1:], "all attention": attention, "all FFNs": ffn,
    }  # fmt: skip
    whole, added = losses(model, rows), {}
    for choice, names in choices.items():
        chosen = {name: parts[name] for name in names}
        with hooked(chosen, lambda name, output: instead[name].expand_as(output)):
            added[choice] = {kind: nats - whole[kind] for kind, nats in losses(model, rows).items()}
    return whole, added


rows = read_documents(tokenizer, world, start=1000 * args.seed)
whole, added = knock_outs(model, rows, args.zero)
print("nats per token:" + " " * 6 + "whole  no attention  no FFNs")
for name in ANSWERS:
    print(
        f"{name:20} {whole[name]:5.2f}  {whole[name] + added['all attention'][name]:12.2f}"
        f"  {whole[name] + added['all FFNs'][name]:7.2f}"
    )
# --8<-- [end:knock_out]

# --8<-- [start:knock_out_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.6))
table = torch.tensor([[added[choice][name] for choice in added] for name in ANSWERS])
plots.heatmap(ax, table, rows=list(ANSWERS), columns=list(added), colour=plots.ORANGE, values=".1f")
ax.set(xlabel="what is knocked out (layers counted from 0)")
experiment.show("knock_out")
# --8<-- [end:knock_out_figure]

# --8<-- [start:hand_over]
rng = random.Random(args.seed)
parts = parts_of(model)


@torch.no_grad()
def read(question, given=None, handed_over=""):
    """Logits after a question, and what each part gave at its last token; some may be given instead."""
    found = {}

    def note(name, output):
        if handed_over and name.startswith(handed_over):
            output = output.clone()
            output[0, -1] = given[name]
        found[name] = output[0, -1]
        return output

    with hooked(parts, note):
        logits = model(torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(question)]])).logits[0, -1]
    return logits, found


def first_token(fact, place):
    return tokenizer.encode(f" {world.facts[place][fact]}")[0]


follows = {"attention": 0, "FFN": 0}
pairs, difference = 0, 0.0
for _ in range(300):  # enough for 30 pairs, if the model knows its facts
    opener = rng.choice(list(ASKED_BY))
    fact = ASKED_BY[opener]
    here, there = rng.sample([place for place in world.facts if not held_out(fact, place)], 2)
    one, other = (f"Question: {opener}{place}? Answer:" for place in (here, there))
    expected, its_own = read(other)
    if first_token(fact, here) == first_token(fact, there) or expected.argmax() != first_token(fact, there):
        continue  # nothing to tell apart, or not known
    pairs += 1
    for name in follows:
        logits, _ = read(one, its_own, handed_over=name)
        follows[name] += (logits.argmax() == first_token(fact, there)).item()
        if name == "attention":
            difference = max(difference, (logits - expected).abs().max().item())
    if pairs == 30:
        break
print(f"two questions that differ in the place, such as {here} and {there}; handed over at the last token:")
print(f"what attention gives: {follows['attention']} of {pairs} answers are the other place's")
print(f"   (largest difference to the logits of the other question: {difference:.0e})")
print(f"what the FFNs give:   {follows['FFN']} of {pairs} answers are the other place's")
# --8<-- [end:hand_over]


# --8<-- [start:direct]
WRITERS = ("attention", "FFN", "embedding")


@torch.no_grad()
def direct_shares(model, rows):
    """Who writes a right answer's first token: the share of each of WRITERS in its logit above the mean logit."""
    shares = {name: [] for name in ANSWERS}
    words = model.lm_head.weight * model.model.norm.weight  # (V, D): the final norm's weights included
    for row, marks in rows:
        written = {"embedding": model.model.embed_tokens(torch.tensor(row))}  # by each part (T, D)
        with hooked(parts_of(model), lambda name, output, to=written: to.update({name: output[0]})):
            logits = model(torch.tensor([row])).logits[0]  # (T, V)
        stream = sum(written.values())  # (T, D), all that was added
        rms = (stream.square().mean(-1) + model.config.rms_norm_eps).sqrt()
        for name, places in marks:
            place = places[0].item()
            right = row[place + 1]
            if logits[place].argmax() != right:
                continue
            direction = (words[right] - words.mean(0)) / rms[place]  # (D,)
            above = logits[place, right] - logits[place].mean()
            by = {part: (vectors[place] @ direction / above).item() for part, vectors in written.items()}
            shares[name].append([sum(by[part] for part in by if kind in part) for kind in WRITERS])
    means = {name: torch.tensor(found).mean(0).tolist() for name, found in shares.items() if len(found) >= 5}
    return {name: dict(zip(WRITERS, mean, strict=True)) for name, mean in means.items()}


shares = direct_shares(model, rows)
for name, by in shares.items():
    print(f"{name:20}", *(f"{kind} {share:z4.0%}  " for kind, share in by.items()))
# --8<-- [end:direct]


# --8<-- [start:trainings]
def examine(model, tokenizer, world):
    """The same of one of the ten trainings: what each knock-out adds, and who writes the answers."""
    rows = read_documents(tokenizer, world)
    whole, added = knock_outs(model, rows)
    return {"whole": whole, "added": added, "shares": direct_shares(model, rows)}


ten = experiment.recorded("feed_forward/exp3_who_does_what", lambda: over_trainings(examine))


def least(choice):
    """For each training, the smallest damage that a knock-out does to any kind of answer, in nats per token."""
    return [min(one["added"][choice].values()) for one in ten]


def damage(choice, kind):
    """For each training, what a knock-out adds to one kind of answer, in nats per token."""
    return [one["added"][choice][kind] for one in ten]


def more(kind, of="upper attention", than="upper FFNs"):
    """In how many trainings one kind of answer suffers more from the loss of the one than of the other."""
    return sum(one > other for one, other in zip(damage(of, kind), damage(than, kind), strict=True))


print(f"in {len(ten)} trainings, the smallest damage to any kind of answer, in nats per token:")
for choice in ("all attention", "all FFNs", "FFN 0"):
    print(f"   without {choice:14}", *(f"{nats:5.2f}" for nats in least(choice)))
# --8<-- [end:trainings]

# --8<-- [start:claims]
if not args.zero:  # what the page says of knock-outs by the average
    for choice, words in {
        "all attention": "attention", "all FFNs": "FFNs", "FFN 0": "the FFN of layer 0"
    }.items():  # fmt: skip
        experiment.claim_of_model(
            f"without {words} every kind of answer gets worse by more than a nat",
            min(added[choice].values()) > 1,
        )
    experiment.claim_of_model(
        "of the single FFNs every kind of answer misses FFN 0 most",
        all(
            added["FFN 0"][kind] > added[f"FFN {n}"][kind]
            for kind in ANSWERS
            for n in range(1, len(parts) // 2)
        ),
    )
    missed = added["all attention"]
    experiment.claim_of_model("spelling misses attention most", max(missed, key=missed.get) == "spelling")
    # A blind guess holds all tokens equally likely.
    blind = torch.tensor(float(model.config.vocab_size)).log().item()
    experiment.claim_of_model(
        "without FFNs a look-up costs more than a blind guess",
        whole["story look-up"] + added["all FFNs"]["story look-up"] > blind,
    )
    experiment.claim_of_model(
        "facts suffer more from the loss of the upper FFNs than of the upper attention",
        added["upper FFNs"]["facts"] > added["upper attention"]["facts"],
    )
    experiment.claim_of_model(
        "spelling and letters suffer more than twice as much from the loss of the upper attention",
        all(
            added["upper attention"][kind] > 2 * added["upper FFNs"][kind] > 0
            for kind in ("spelling", "letters")
        ),
    )
    experiment.claim_of_model(
        "letters suffer more from the loss of FFN 0 than from the loss of all FFNs",
        added["FFN 0"]["letters"] > added["all FFNs"]["letters"],
    )
experiment.claim(
    "handed over all attention, the logits are the other question's, up to rounding", difference < 1e-3
)
experiment.claim_of_model("30 answers follow the attention that is handed over", follows["attention"] == 30)
experiment.claim_of_model("and most of them the FFNs that are handed over", follows["FFN"] > 15)
experiment.claim(
    "what attention, FFNs and embedding write adds up to the logit above the mean",
    all(abs(sum(by.values()) - 1) < 1e-3 for by in shares.values()),
)
experiment.claim_of_model(
    "of a look-up attention writes more than half, of all other answers the FFNs",
    len(shares) == len(ANSWERS)
    and all(by["attention" if kind == "story look-up" else "FFN"] > 0.5 for kind, by in shares.items()),
)
experiment.claim(
    "in most of the ten trainings every kind of answer needs both, by more than a nat",
    sum(min(pair) > 1 for pair in zip(least("all attention"), least("all FFNs"), strict=True)) > len(ten) / 2,
)
# --8<-- [end:claims]
