"""Who moves, who computes? Knock parts out of the trained model, and see which kinds of answer die.

Needs the model in runs/pretrain, which `minimind pretrain` makes. A part that is knocked out gives its average
output at every token, so nothing of what it found out gets through.

Run: python snippets/feed_forward/exp3_who_does_what.py [--zero] [--seed 0]
Tier: visualization · core · about 5 s
"""

# --8<-- [start:setup]
import json
import random
import re
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from minimind import experiment, load, plots
from minimind.data.world import ASKED_BY, World, held_out
from minimind.errors import UserError

args = experiment.flags(__doc__, zero=False)
plots.style()
try:
    model, tokenizer = load("runs/pretrain")
except UserError as error:
    raise SystemExit(f"{error}. This part needs a trained model: run `minimind pretrain` first.") from None
world = World(json.loads(Path("runs/pretrain/run.json").read_text())["settings"]["seed"])  # as it was trained
PARTS = {
    f"{name} {layer}": getattr(block, attribute)
    for name, attribute in (("attention", "self_attn"), ("FFN", "mlp"))
    for layer, block in enumerate(model.model.layers)
}
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


def read_documents():
    """Documents as (ids, [(kind of answer, places of its tokens)]), the shortest first."""
    wanted = {kind: number for kind, number, _ in ANSWERS.values()}
    rows = []
    for document in world.documents("validation", start=1000 * args.seed):
        if wanted.get(document.kind, 0) == 0:
            if not any(wanted.values()):
                return sorted(rows, key=lambda row: len(row[0]))
            continue
        wanted[document.kind] -= 1
        ids = tokenizer.encode(document.text)
        ends = torch.tensor([len(tokenizer.decode([i])) for i in ids]).cumsum(0)
        marks = [
            (name, ((ends > found.start(1)) & (ends <= found.end(1))).nonzero()[:, 0])
            for name, (kind, _, pattern) in ANSWERS.items()
            if kind == document.kind
            for found in re.finditer(pattern, document.text)
        ]
        rows.append(([tokenizer.bos_token_id, *ids], marks))


rows = read_documents()


@torch.no_grad()
def losses():
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
@contextmanager
def hooked(hook, parts=PARTS):
    """For a while, let `hook(name, output)` see what each of these parts gives, or replace it."""
    handles = [
        PARTS[name].register_forward_hook(lambda module, inputs, output, name=name: hook(name, output))
        for name in parts
    ]
    yield
    for handle in handles:
        handle.remove()


outputs = {name: [] for name in PARTS}
with hooked(lambda name, output: outputs[name].append(output.flatten(0, 1))), torch.no_grad():
    for row, _ in rows:
        model(torch.tensor([row]))
average = {name: torch.cat(found).mean(0) * (not args.zero) for name, found in outputs.items()}  # (D,)

attention, ffn = (list(PARTS)[:3], list(PARTS)[3:])
arms = {name: [name] for name in PARTS} | {
    "attention 1, 2": attention[1:], "FFN 1, 2": ffn[1:], "all attention": attention, "all FFN": ffn,
}  # fmt: skip
whole = losses()
added = {}
for arm, parts in arms.items():
    with hooked(lambda name, output: average[name].expand_as(output), parts):
        added[arm] = {name: loss - whole[name] for name, loss in losses().items()}
print("nats a token:" + " " * 8 + "whole  no attention  no FFN")
for name in ANSWERS:
    print(
        f"{name:20} {whole[name]:5.2f}  {whole[name] + added['all attention'][name]:12.2f}"
        f"  {whole[name] + added['all FFN'][name]:6.2f}"
    )
# --8<-- [end:knock_out]

# --8<-- [start:knock_out_figure]
fig, ax = plt.subplots(figsize=(5.6, 3.6))
table = torch.tensor([[added[arm][name] for arm in arms] for name in ANSWERS])
plots.heatmap(ax, table, rows=list(ANSWERS), columns=list(arms), colour=plots.ORANGE, values=".1f")
ax.set(xlabel="what is knocked out (layers counted from 0)")
experiment.show("knock_out")
# --8<-- [end:knock_out_figure]

# --8<-- [start:hand_over]
rng = random.Random(args.seed)


@torch.no_grad()
def read(question, given=None, parts=()):
    """Logits after a question, and what each part gave at its last token; some may be given instead."""
    found = {}

    def note(name, output):
        if name in parts:
            output = output.clone()
            output[0, -1] = given[name]
        found[name] = output[0, -1]
        return output

    with hooked(note):
        logits = model(torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(question)]])).logits[0, -1]
    return logits, found


def first_token(fact, place):
    return tokenizer.encode(f" {world.facts[place][fact]}")[0]


follows = {"attention": 0, "FFN": 0}
pairs, difference = 0, 0.0
while pairs < 30:
    opener = rng.choice(list(ASKED_BY))
    fact = ASKED_BY[opener]
    here, there = rng.sample([place for place in world.facts if not held_out(fact, place)], 2)
    one, other = (f"Question: {opener}{place}? Answer:" for place in (here, there))
    expected, its_own = read(other)
    if first_token(fact, here) == first_token(fact, there) or expected.argmax() != first_token(fact, there):
        continue  # nothing to tell apart, or not known
    pairs += 1
    for name, parts in (("attention", attention), ("FFN", ffn)):
        logits, _ = read(one, its_own, parts)
        follows[name] += (logits.argmax() == first_token(fact, there)).item()
        if name == "attention":
            difference = max(difference, (logits - expected).abs().max().item())
print(f"asked about {here}, at the last token only; handed over from the question about {there}:")
print(f"what attention gives: {follows['attention']} of {pairs} answers are the other place's")
print(f"   (largest difference to the logits of the other question: {difference:.0e})")
print(f"what the FFNs give:   {follows['FFN']} of {pairs} answers are the other place's")
# --8<-- [end:hand_over]


# --8<-- [start:direct]
@torch.no_grad()
def direct_shares():
    """Who writes a right answer's first token: each part's direct share of its score above the average score."""
    shares = {name: [] for name in ANSWERS}
    for row, marks in rows:
        parts = {}
        with hooked(lambda name, output, parts=parts: parts.update({name: output[0]})):
            logits = model(torch.tensor([row])).logits[0]  # (T, V)
        stream = model.model.embed_tokens(torch.tensor(row)) + sum(
            parts.values()
        )  # (T, D): all that was added
        rms = (stream.square().mean(-1) + model.config.rms_norm_eps).sqrt()
        for name, places in marks:
            place = places[0].item()
            right = row[place + 1]
            if logits[place].argmax() != right:
                continue
            words = (
                model.lm_head.weight * model.model.norm.weight
            )  # (V, D): the final norm's weights included
            direction = (words[right] - words.mean(0)) / rms[place]
            written = {part: (output[place] @ direction).item() for part, output in parts.items()}
            score = (stream[place] @ direction).item()
            shares[name].append([sum(written[part] for part in group) / score for group in (attention, ffn)])
    return {name: torch.tensor(found).mean(0).tolist() for name, found in shares.items() if len(found) >= 5}


shares = direct_shares()
for name, (by_attention, by_ffn) in shares.items():
    print(
        f"{name:20} attention {by_attention:4.0%}   FFN {by_ffn:4.0%}   embedding {1 - by_attention - by_ffn:4.0%}"
    )
# --8<-- [end:direct]

# --8<-- [start:claims]
experiment.claim(
    "without attention every kind of answer gets worse by a nat or more",
    min(added["all attention"].values()) > 1,
)
experiment.claim(
    "without FFNs every kind of answer gets worse by a nat or more", min(added["all FFN"].values()) > 1
)
experiment.claim(
    "without the FFN of layer 0 every kind gets worse by a nat or more", min(added["FFN 0"].values()) > 1
)
experiment.claim(
    "spelling misses attention most", max(missed := added["all attention"], key=missed.get) == "spelling"
)
# A blind guess holds all tokens equally likely.
blind = torch.tensor(float(model.config.vocab_size)).log().item()
experiment.claim(
    "without FFNs a look-up costs more than a blind guess",
    whole["story look-up"] + added["all FFN"]["story look-up"] > blind,
)
experiment.claim(
    "facts suffer more from the loss of the upper FFNs than of the upper attention",
    added["FFN 1, 2"]["facts"] > added["attention 1, 2"]["facts"],
)
experiment.claim(
    "spelling suffers more than twice as much from the loss of the upper attention",
    added["attention 1, 2"]["spelling"] > 2 * added["FFN 1, 2"]["spelling"],
)
experiment.claim(
    "letters, too, suffer more than twice as much from the loss of the upper attention",
    added["attention 1, 2"]["letters"] > 2 * added["FFN 1, 2"]["letters"],
)
experiment.claim(
    "the other question's attention gives the other answer, always", follows["attention"] == pairs
)
experiment.claim("its logits are the other question's, up to rounding", difference < 1e-3)
experiment.claim(
    "FFNs write more than half of a right answer's score", min(ffn for _, ffn in shares.values()) > 0.5
)
# --8<-- [end:claims]
