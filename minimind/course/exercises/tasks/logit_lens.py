"""The logit lens: what the model would say if it stopped after each layer."""

import torch
from torch import Tensor

from ..task import Mistake, Property, Task
from .rms_norm import rms_norm


def logit_lens(streams: Tensor, norm_weight: Tensor, lm_head: Tensor, eps: float = 1e-6) -> Tensor:
    """Read the stream after each layer as if it were the last: final norm, output layer, best token.

    Args:
        streams: (L + 1, T, D), the stream before the first layer and after each of the L layers.
        norm_weight: (D,), factors of the final RMSNorm.
        lm_head: (V, D), matrix of the output layer: one row for each token of the vocabulary.
        eps: of the norm, added to the mean square.

    Returns:
        (L + 1, T), the id of the token with the largest logit, at each depth and place.
    """
    normalized = rms_norm(streams, norm_weight, eps)
    logits = normalized @ lm_head.T  # (L + 1, T, V)
    return logits.argmax(dim=-1)


EYE = torch.eye(2)
ONES = torch.ones(2)
HEAD = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
STREAMS = torch.tensor(
    [
        [[1.0, 0.5], [-4.0, 3.0], [0.5, -3.0]],
        [[2.0, 3.0], [-2.0, -3.0], [6.0, -4.0]],
        [[-5.0, 1.0], [9.0, -3.0], [1.0, 8.0]],
    ]
)
TASK = Task(
    name="logit_lens",
    module="residual_connections",
    minutes=10,
    solution=logit_lens,
    core=False,
    properties=[
        Property(
            "The token whose row of lm_head fits the stream best is chosen",
            [
                {"streams": torch.tensor([[[3.0, 1.0]]]), "norm_weight": ONES, "lm_head": EYE},
                {
                    "streams": torch.tensor([[[3.0, 1.0]]]),
                    "norm_weight": ONES,
                    "lm_head": torch.tensor([[0.0, 1.0], [-1.0, -1.0], [1.0, 0.0]]),
                },
            ],
        ),
        Property(
            "lm_head is read by its rows, one for each token",
            [
                {
                    "streams": torch.tensor([[[1.0, 0.0]]]),
                    "norm_weight": ONES,
                    "lm_head": torch.tensor([[1.0, 5.0], [2.0, 0.0]]),
                },
                {
                    "streams": torch.tensor([[[1.0, 1.5]]]),
                    "norm_weight": ONES,
                    "lm_head": torch.tensor([[0.0, 1.0], [2.0, 0.0]]),
                },
            ],
        ),
        Property(
            "A logit is a plain product: a longer row counts for more",
            [
                {
                    "streams": torch.tensor([[[3.0, 1.0]]]),
                    "norm_weight": ONES,
                    "lm_head": torch.tensor([[1.0, 0.0], [3.0, 3.0]]),
                }
            ],
        ),
        Property(
            "Each depth is read for itself, from the whole stream and not from what its layer added",
            [
                {
                    "streams": torch.tensor([[[3.0, 0.0]], [[3.0, 2.0]], [[3.0, 4.0]]]),
                    "norm_weight": ONES,
                    "lm_head": EYE,
                }
            ],
        ),
        Property(
            "The final norm's weight has a part in the choice, at every depth",
            [
                {
                    "streams": torch.tensor([[[3.0, 1.0]], [[3.0, 2.0]]]),
                    "norm_weight": torch.tensor([1.0, 2.0]),
                    "lm_head": EYE,
                }
            ],
        ),
        Property(
            "Every token is read, each normalized alone",
            [
                {
                    "streams": torch.tensor([[[3.0, 2.0], [1.0, 9.0]]]),
                    "norm_weight": ONES,
                    "lm_head": EYE,
                },
                {"streams": STREAMS, "norm_weight": torch.tensor([1.0, 0.6]), "lm_head": HEAD},
            ],
        ),
    ],
    mistakes=[
        Mistake(
            "the final norm or its weight were left out",
            [("rms_norm(streams, norm_weight, eps)", "streams")],
            "Dividing a vector by its size changes no choice, but the weight does: it favours some numbers.",
        ),
        Mistake(
            "only the last stream were normalized",
            [
                (
                    "normalized = rms_norm(streams, norm_weight, eps)",
                    "normalized = streams.clone()\n    normalized[-1] = rms_norm(streams[-1], norm_weight, eps)",
                )
            ],
            "The output layer has only ever read normalized streams: give it one at every depth.",
        ),
        Mistake(
            "the norm's mean ran over the tokens, number by number",
            [
                (
                    "rms_norm(streams, norm_weight, eps)",
                    "streams * (streams.pow(2).mean(dim=1, keepdim=True) + eps).rsqrt() * norm_weight",
                )
            ],
            "The norm divides the vector of one token by its own size: the last dimension.",
        ),
        Mistake(
            "what each layer added were read, not the stream after it",
            [("rms_norm(streams,", "rms_norm(streams.diff(dim=0, prepend=0 * streams[:1]),")],
            "That is another tool (direct logit attribution). The lens reads the whole sum so far.",
        ),
        Mistake(
            "the embeddings were left out, so that the first row is the stream after layer 1",
            [("rms_norm(streams,", "rms_norm(streams[1:],")],
            "L + 1 depths: what the model would say before any layer is the first of them.",
        ),
        Mistake(
            "only the last token were read",
            [("return logits", "return logits[:, -1:]")],
            "Generating needs the last token alone; the lens looks at every place.",
        ),
        Mistake(
            "the last token were left out, as for the loss",
            [("return logits", "return logits[:, :-1]")],
            "The loss has no answer to compare the last token with. Here nothing is compared.",
        ),
        Mistake(
            "the best place were chosen for each token of the vocabulary",
            [("dim=-1", "dim=1")],
            "The logits are (L + 1, T, V): choose along V, the last dimension.",
        ),
        Mistake(
            "lm_head were read by its columns",
            [("@ lm_head.T", "@ lm_head")],
            "Each row belongs to a token. (…, D) times (D, V) gives the logits, so transpose it.",
        ),
        Mistake(
            "the largest logit were returned, not which token it belongs to",
            [("logits.argmax(dim=-1)", "logits.amax(dim=-1)")],
            "With argmax you get the place of the largest: the token's id.",
        ),
        Mistake(
            "the rows of lm_head were compared by their direction alone (cosine)",
            [("normalized @ lm_head.T", "normalized @ (lm_head / lm_head.norm(dim=-1, keepdim=True)).T")],
            "The model takes the plain product, so a token with a longer row gets larger logits.",
        ),
    ],
    hints=(
        "Do with every stream what the model does with its last one: final norm, output layer, largest logit.",
        "rms_norm works on the last dimension, and so does a matrix product: no loop over the layers is needed.",
        "logits = rms_norm(streams, norm_weight, eps) @ lm_head.T; then the index of the largest along the last "
        "dimension.",
    ),
)
