"""How few key heads are enough: one for each query head (MHA), for a group (GQA), or for all of them (MQA).

Counts the cache and measures it, shows when repeating the keys copies them, and times a step of decoding. A record
holds what sharing costs, with four look-ups at once and on text of the embedded world, and how much of that longer
training makes up for.

Run: python snippets/attention/exp7_grouped_queries.py [--context 4096]
Tier: visualization · core · about 4 s
"""

# --8<-- [start:setup]
import math
import statistics
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from minimind import MiniMind, ModelConfig
from minimind.course import experiment, plots, worlds
from minimind.model import KVCache, dot_product_attention
from minimind.settings import TrainingSettings
from minimind.training import fit

args = experiment.flags(__doc__, context=2048, batch=4)
plots.style()
NAMES = {8: "MHA, 8 key heads", 2: "GQA, 2 key heads", 1: "MQA, 1 key head"}
# --8<-- [end:setup]


# --8<-- [start:cache]
def config_with(key_heads, **changes):
    """A model of two layers, eight query heads of 32 numbers, and this many key and value heads."""
    return ModelConfig(
        **{
            "hidden_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 8,
            "vocab_size": 1024,
            **changes,
        },
        num_key_value_heads=key_heads,
        rope_theta=1e4,
    )


computed, measured = {}, {}
for key_heads in NAMES:
    config = config_with(key_heads)
    # For each token: keys and values, in every layer, K heads of D numbers, 4 bytes each.
    computed[key_heads] = 2 * config.num_hidden_layers * key_heads * config.head_dim * 4
    cache = KVCache(config, batch_size=1, max_length=args.context)
    held = sum(tensor.numel() * tensor.element_size() for tensor in [*cache.keys, *cache.values])
    measured[key_heads] = held / args.context
    weights = MiniMind(config).model.layers[0].self_attn
    count = sum(weight.numel() for weight in weights.parameters())
    print(
        f"{NAMES[key_heads]}: {computed[key_heads]:5,} bytes a token, measured {measured[key_heads]:5,.0f}; "
        f"one attention layer has {count:,} parameters"
    )
# --8<-- [end:cache]

# --8<-- [start:copies]
k = torch.randn(1, 2, args.context, 32)  # (B, K, S, D), the keys of two heads
wide = k[:, :, None].expand(1, 2, 4, args.context, 32)  # (B, K, H / K, S, D), each seen four times
repeated = wide.reshape(1, 8, args.context, 32)  # (B, H, S, D)
print("expand:  same memory as k:", wide.untyped_storage().data_ptr() == k.untyped_storage().data_ptr())
print("reshape: same memory as k:", repeated.untyped_storage().data_ptr() == k.untyped_storage().data_ptr())
factor = repeated.untyped_storage().nbytes() / k.untyped_storage().nbytes()
print(f"and takes {factor:.0f} times as much")
# --8<-- [end:copies]


# --8<-- [start:speed]
@torch.no_grad()
def step_time(key_heads, rounds=9):
    """Milliseconds for one new token a row behind a full cache: the median of some rounds."""
    torch.manual_seed(args.seed)
    config = config_with(key_heads, max_position_embeddings=args.context + 1)
    model = MiniMind(config).eval()
    cache = KVCache(config, args.batch, args.context + 1)
    for tensor in [*cache.keys, *cache.values]:
        tensor.normal_()
    times = []
    for _ in range(rounds):
        cache.length = args.context  # always the same step
        started = time.perf_counter()
        model(torch.zeros(args.batch, 1, dtype=torch.long), cache=cache)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


times = {key_heads: step_time(key_heads) for key_heads in NAMES}
for key_heads, name in NAMES.items():
    print(f"{name}: {times[key_heads]:.1f} ms for a step of {args.batch} rows behind {args.context:,} tokens")
# --8<-- [end:speed]


# --8<-- [start:look_ups]
V, ASKED, WIDTH = 8, 4, 8  # values of each property; properties and heads; numbers in a head


class LookUps(nn.Module):
    """Eight tokens with four properties and a content. A query names one token by each property."""

    def __init__(self, key_heads):
        super().__init__()
        hidden = ASKED * WIDTH
        self.share = ASKED // key_heads  # query heads that use the same key head
        self.properties, self.ask = (
            nn.ModuleList(nn.Embedding(V, hidden) for _ in range(ASKED)) for _ in range(2)
        )
        self.content = nn.Embedding(V, hidden)
        self.q, self.o = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.k, self.v = (nn.Linear(hidden, key_heads * WIDTH, bias=False) for _ in range(2))
        self.read = nn.ModuleList(nn.Linear(hidden, V) for _ in range(ASKED))

    def forward(self, properties, content, asked):
        x = sum(table(values) for table, values in zip(self.properties, properties, strict=True))
        x = x + self.content(content)  # (B, V tokens, hidden)
        query = sum(table(values) for table, values in zip(self.ask, asked, strict=True))[:, None]
        q, k, v = (
            y.unflatten(-1, (-1, WIDTH)).transpose(1, 2)  # (B, H, 1, D), k and v (B, K, V, D)
            for y in (self.q(query), self.k(x), self.v(x))
        )
        k, v = (y.repeat_interleave(self.share, dim=1) for y in (k, v))  # (B, H, V, D)
        found = self.o(dot_product_attention(q, k, v).transpose(1, 2).flatten(1))  # (B, hidden)
        return torch.stack([read(found) for read in self.read], dim=1)  # (B, ASKED, V)


def look_up(key_heads, rate, seed, steps=300, count=128):
    """Train on four look-ups at once; the loss for each of the four contents at the end."""
    torch.manual_seed(seed)
    model = LookUps(key_heads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    losses = []
    for _ in range(steps):
        properties = torch.rand(ASKED, count, V).argsort(dim=-1)  # each value of a property stands once
        content = torch.randint(V, (count, V))
        places = torch.rand(count, V).argsort(dim=-1)[:, :ASKED]  # four different tokens
        asked = properties.gather(2, places.T[..., None])[..., 0]  # (ASKED, count)
        loss = F.cross_entropy(
            model(properties, content, asked).flatten(0, 1), content.gather(1, places).flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-40:]) / 40


# --8<-- [end:look_ups]


# --8<-- [start:language]
def rows_of_the_world():
    """Training and held-out rows (N, 64) of the embedded world, as token ids."""
    text = worlds.read_world(training=5000, held_out=300, vocab_size=512, tokenizer_from=1500)
    return {
        split: worlds.rows([ids[:-1] for ids in documents], 64)  # without end tokens
        for split, documents in (("train", text.training), ("validation", text.held_out))
    }


def language_model(rows, key_heads, rate, seed, steps=400):
    """Train a model of two layers; its loss on held-out rows."""
    torch.manual_seed(seed)
    model = MiniMind(config_with(key_heads, hidden_size=64, vocab_size=512))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    batches = worlds.Chosen(rows["train"], torch.randint(len(rows["train"]), (steps, 8)))
    settings = TrainingSettings(clip_norm=math.inf, precision="fp32", threads=torch.get_num_threads())
    scheduled = worlds.Scheduled(optimizer, schedule)
    fit(model, batches, worlds.mean_loss, settings, optimizer=scheduled, quiet=True)
    with torch.no_grad():
        return model(rows["validation"], labels=rows["validation"]).loss.item()


# --8<-- [end:language]


# --8<-- [start:quality]
SEEDS, TRIAL_SEED = range(3), 100
RATES, LONGER = (0.002, 0.005, 0.01), 3


def quality():
    """Both tasks, with 8, 2 and 1 key heads for 8 (or 4, 2, 1 for 4), and both again with longer runs.

    Another seed chooses the best of three rates, then three seeds are trained at it.
    """
    rows = rows_of_the_world()
    tasks = {
        "four look-ups": (look_up, (4, 2, 1), 300),
        "text": (lambda *settings: language_model(rows, *settings), (8, 2, 1), 400),
    }

    def best(run, heads, steps):
        rate = min(RATES, key=lambda rate: run(heads, rate, TRIAL_SEED, steps))
        return [run(heads, rate, seed, steps) for seed in SEEDS]

    return {
        name: {
            task: [best(run, heads, times * steps) for heads in choices]
            for task, (run, choices, steps) in tasks.items()
        }
        for name, times in {"learned": 1, "longer": LONGER}.items()
    }


def cell():
    """The first training of each task, at the rate that was best."""
    look_ups, text = look_up(4, 0.005, 0), language_model(rows_of_the_world(), 8, 0.005, 0)
    return {"learned": {"four look-ups": [[look_ups]], "text": [[text]]}}


found = experiment.recorded("attention/exp7_grouped_queries", quality, cell)
learned, longer = found["learned"], found["longer"]
print("loss (nats), three seeds        one each   a half / a quarter   one for all")
for length, results in {"": learned, f", {LONGER} times as long": longer}.items():
    for task, arms in results.items():
        print(f"{task + length:30}", *(f"{min(losses):8.3f} to {max(losses):.3f}" for losses in arms))
# By how much sharing is behind MHA on text: GQA and MQA, after the short and after the long training.
behind, still_behind = (
    [statistics.mean(arm) - statistics.mean(arms[0]) for arm in arms[1:]]
    for arms in (learned["text"], longer["text"])
)
print(
    "behind MHA on text:", *(f"{by:.2f}" for by in behind), "and later", *(f"{by:.2f}" for by in still_behind)
)
# --8<-- [end:quality]

# --8<-- [start:figure]
fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9))
for ax, task, names in zip(axes, learned, ((4, 2, 1), (8, 2, 1)), strict=True):
    for shift, results, colour in ((-0.12, learned, plots.KEY), (0.12, longer, plots.MUTED)):
        for place, losses in enumerate(results[task]):
            ax.plot([place + shift] * len(losses), losses, "o", color=colour, markersize=4)
    ax.set(title=task, xlabel="key heads", xticks=range(3), xticklabels=names, xlim=(-0.5, 2.5))
axes[0].set(ylabel="loss (nats)", ylim=(-0.05, None))
axes[1].set(ylim=(0, 1.1 * max(map(max, learned["text"]))))
axes[1].annotate(
    f"{LONGER} times as long",
    (0.12, max(longer["text"][0])),
    (4, -14),
    textcoords="offset points",
    color=plots.MUTED,
)
experiment.show("quality_by_key_heads")
# --8<-- [end:figure]

# --8<-- [start:claims]
each, group, one = longer["four look-ups"]
sooner_each, sooner_group, sooner_one = learned["four look-ups"]
text_each, text_group, text_one = learned["text"]
experiment.claim("the measured cache is the computed one", all(measured[K] == computed[K] for K in NAMES))
experiment.claim("a quarter of the key heads is a quarter of the cache", computed[8] == 4 * computed[2])
experiment.claim("expand + reshape copies the keys, four times over", factor == 4)
experiment.claim("four look-ups are learned with four key heads and with two", max(each + group) < 0.05)
experiment.claim("with one key head for all they are not, in as many steps", min(one) > 0.4)
experiment.claim(
    "with a third of the steps two key heads lag behind four, in every seed",
    min(sooner_group) > max(sooner_each),
)
experiment.claim(
    "on text every seed of MQA is worse than every seed of MHA, in both lengths",
    all(min(arms[2]) > max(arms[0]) for arms in (learned["text"], longer["text"])),
)
experiment.claim(
    "after the short training GQA is behind MHA in the mean, but its seeds overlap",
    behind[0] > 0.1 and min(text_group) < max(text_each),
)
experiment.claim(
    "after the longer training every seed of GQA lies between MHA and MQA",
    max(longer["text"][0]) < min(longer["text"][1]) <= max(longer["text"][1]) < min(longer["text"][2]),
)
experiment.claim(
    "three times the training takes away a third or more of what sharing costs on text",
    all(late < early / 1.5 for early, late in zip(behind, still_behind, strict=True)),
)
# --8<-- [end:claims]
