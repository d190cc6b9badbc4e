# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train your first model
#
# **Goal.** You train a language model from nothing, watch its loss approach the floor, let it write before and after, save it and load it again. About 20 minutes, nearly all of them for reading: a model this small trains while you look on.
#
# **You need** PyTorch basics and the package: in a clone of the repository, `pip install -e .`. In Colab or Jupyter, install it into the environment of this notebook. Nothing else is downloaded.
#
# Every step says what you should see. The lines that begin with *claim holds* are checks: if one fails, the notebook stops there and says which.

# %%
import math
from itertools import islice
from textwrap import fill

import matplotlib.pyplot as plt
import torch

from minimind import MiniMind, ModelConfig, load
from minimind.course import plots
from minimind.data import World, encode_documents, pack
from minimind.course.experiment import claim
from minimind.metrics import held_out, perplexity
from minimind.tokenizer import train_tokenizer

torch.manual_seed(0)
torch.set_num_threads(1)  # a model this small is fastest on one
plots.style()

# %% [markdown]
# ## 1. Look at the data
#
# Before you train on anything, read some of it. Our text comes from a small invented world, so it never ends, and its entropy is known.

# %%
world = World(seed=0)
texts = [document.text for document in islice(world.documents("train"), 4000)]
measured = list(islice(world.documents("validation"), 100))
for text in texts[:3]:
    print(fill(text, 88), end="\n\n")
print(f"{len(texts):,} documents, {sum(map(len, texts)):,} characters")

# %% [markdown]
# **You should see** three short documents: stories, sums, tours, games or questions, each complete.
#
# **If it looks different,** you have another seed. `World(seed=1)` is another world, with other facts.
#
# ## 2. Train a tokenizer
#
# A model reads numbers. A tokenizer starts from single bytes and joins the pair of neighbours that is most frequent, again and again, until the vocabulary is full.

# %%
tokenizer = train_tokenizer(texts[:1000], vocab_size=1024)
line = texts[0][:60]
ids = tokenizer.encode(line)
print("|".join(tokenizer.decode([token]) for token in ids))
print(f"{len(line)} characters, {len(ids)} tokens")
claim("decoding gives the text back", tokenizer.decode(ids) == line)

# %% [markdown]
# **You should see** frequent words whole, rare ones in pieces. Digits always stand alone.
#
# **If your pieces are longer,** your `vocab_size` is larger. Step 7 then has another floor.
#
# ## 3. Pack documents into rows
#
# A batch wants rows of equal length, documents have different ones. Padding would waste work, so several documents share a row. `document_ids` says which token belongs to which; attention never looks across a border.

# %%
ROW = 256
documents = list(encode_documents(tokenizer, texts))  # each: start token, text, end token
packed = pack(documents, ROW, pad_id=tokenizer.pad_token_id)
input_ids = torch.from_numpy(packed.input_ids).long()  # (N, T)
document_ids = torch.from_numpy(packed.document_ids).long()  # (N, T), -1 on padding
row = next(row for row in range(len(input_ids)) if document_ids[row].max() >= 1)
print(fill(tokenizer.decode(input_ids[row].tolist()), 88))
owners, lengths = document_ids[row].unique_consecutive(return_counts=True)
for owner, length in zip(owners.tolist(), lengths.tolist(), strict=True):
    print(f"document_ids: {owner:2}, {length} times in a row")
print(f"{len(documents):,} documents in {len(input_ids):,} rows, {packed.fill:.1%} of them filled")
claim("nearly nothing is padding", packed.fill > 0.9)

# %% [markdown]
# **You should see** `<|im_start|>` where a document begins and `<|im_end|>` where it ends; below, how many tokens each document has in the row. The number -1 marks padding at the end.
#
# **If a row starts in the middle of a document,** that document was longer than a row, and was cut. Longer rows cut less and cost more.
#
# ## 4. Build the model
#
# A config says how large; the rest follows. Count the parameters by hand once, and the model has no secrets left.

# %%
config = ModelConfig(
    vocab_size=tokenizer.vocab_size, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, intermediate_size=192, max_position_embeddings=512, rope_theta=1e4,
)
model = MiniMind(config)

D, F, V, L = config.hidden_size, config.intermediate_size, config.vocab_size, config.num_hidden_layers
head, queries, keys = config.head_dim, config.num_attention_heads, config.num_key_value_heads
embedding = V * D  # used twice: to read tokens, and to score them at the end
attention = 2 * D * queries * head + 2 * D * keys * head  # queries and output; keys and values
feed_forward = 3 * D * F  # gate, up, down
norms = 2 * D + 2 * head  # before attention, before feed-forward; one each for queries and keys
by_hand = embedding + L * (attention + feed_forward + norms) + D  # and a last norm
print(f"embedding {embedding:,} + {L} blocks of {attention + feed_forward + norms:,} + {D} = {by_hand:,}")
claim("counted by hand and by PyTorch alike", by_hand == sum(p.numel() for p in model.parameters()))

# %% [markdown]
# **You should see** one sum and no complaint: PyTorch counts the same.
#
# **If the claim fails** after you changed the config: is the embedding still tied? Without it the output layer has a matrix of its own.
#
# ## 5. What does it know before training?
#
# Nothing. So every token is about equally likely, and the loss should be close to the logarithm of the vocabulary.

# %%
def write(prompt, tokens=60):
    """Let the model go on from a prompt."""
    start = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(prompt)]])
    out = model.generate(start, max_new_tokens=tokens, temperature=0.8, seed=0)
    return fill(tokenizer.decode(out[0].tolist(), skip_special_tokens=True), 88)


test = held_out(tokenizer, measured)
before = perplexity(model, test)
floor = math.log(before.floor_perplexity)
print(f"loss {before.loss:.2f}, log of the vocabulary {math.log(V):.2f}, floor {floor:.2f}")
print(write("One sunny morning,"))
claim("an untrained model guesses among all tokens", abs(before.loss - math.log(V)) < 0.5)

# %% [markdown]
# **You should see** two numbers close together, a floor far below, and noise.
#
# **If the first loss is much higher,** the starting weights are too large: the model is wrong *and* sure of it.
#
# ## 6. The training loop
#
# This loop is all there is to it. The labels that packing gave are the inputs again; the model shifts them itself, so that each token is predicted from those before it. Where nothing can be predicted, a label is -100.

# %%
STEPS, ROWS, PEAK = 250, 8, 1e-2
optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.95), weight_decay=0.0)
labels = torch.from_numpy(packed.columns["labels"])  # -100 on padding, which teaches nothing
losses = []

model.train()
for step in range(STEPS):
    rate = PEAK * min((step + 1) / 20, (STEPS - step) / STEPS)  # rise for 20 steps, then fall to zero
    for group in optimizer.param_groups:
        group["lr"] = rate
    rows = torch.randint(len(input_ids), (ROWS,))
    loss = model(input_ids[rows], labels=labels[rows], document_ids=document_ids[rows]).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())
    if step % 50 == 49:
        print(f"step {step + 1:3}   loss {sum(losses[-50:]) / 50:.3f}")

# %% [markdown]
# **You should see** the loss fall at every line, fast at first.
#
# **If it becomes `nan` or jumps up,** the learning rate is too high. **If it hardly falls,** it is too low, or the labels are wrong.
#
# `minimind.training.fit` is this loop with what a long run needs: checkpoints that resume bit for bit, held-out measurements, 16-bit arithmetic, gradient accumulation, a log and a report.
#
# ## 7. How good is that?
#
# A loss alone says nothing. Beside it belongs the floor: what a perfect reader of this world would still pay.

# %%
# alt: Loss per token against the step. The line falls steeply in the first steps and then slowly, towards a dotted level line, the floor, that it does not reach.
fig, ax = plt.subplots()
smooth = [sum(losses[max(0, i - 9) : i + 1]) / len(losses[max(0, i - 9) : i + 1]) for i in range(STEPS)]
ax.plot(smooth, color=plots.BLUE)
plots.mark_floor(ax, floor, f"floor {floor:.2f}")
ax.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, STEPS), ylim=(0, None))
plt.show()

# %%
after = perplexity(model, test)
print(f"held-out perplexity  before {before.perplexity:,.0f}   after {after.perplexity:.2f}   floor {after.floor_perplexity:.2f}")
print(f"bits per byte        before {before.bits_per_byte:.2f}   after {after.bits_per_byte:.2f}")
claim("training halved the loss at least", after.loss < before.loss / 2)
claim("nobody reads better than the floor", after.nats > after.floor_nats)

# %% [markdown]
# **You should see** a perplexity that fell from about the size of the vocabulary to a few, and is still above the floor.
#
# **If it is below the floor,** do not celebrate: held-out text has leaked into training, or the loss is measured wrongly.
#
# ## 8. Let it write again

# %%
print(write("One sunny morning,"))
print()
print(write("Sums: 12 + 7 ="))

# %% [markdown]
# **You should see** sentences in the style of the world. Look closer: are the sums right, does the ending fit? Form comes early, and keeping track comes late.
#
# ## 9. Save it, and load it back

# %%
folder = "runs/first-model"
model.save_pretrained(folder)
tokenizer.save(folder)

again, same_tokenizer = load(folder)
sample = torch.tensor([same_tokenizer.encode("One sunny morning, Ada")])
same = torch.equal(model.eval()(sample).logits, again.eval()(sample).logits)
claim("the loaded model gives the same logits", same)

# %% [markdown]
# **You should see** one line, and a folder with `config.json`, `model.safetensors` and a tokenizer. Other tools open it: `transformers.AutoModelForCausalLM.from_pretrained("runs/first-model")`.
#
# ## Your turn
#
# Change one thing, guess first, and run from there on again.
#
# 1. **A bad learning rate.** Set `PEAK` to a hundredth of it, then to twenty times. Which looks worse at the end?
# 2. **Overfit on purpose.** Train on `input_ids[:4]` alone. Where does the training loss go, and where the held-out one? Is the floor broken?
# 3. **Forget the borders.** Leave `document_ids` out of the call. What does the model now see that it should not?
# 4. **Four times the steps.** How much of the gap to the floor is left?
#
# What you can do now: train a small model, say what its first loss must be, and read its loss against the floor.
