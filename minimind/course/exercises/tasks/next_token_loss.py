"""The loss of pretraining: how surprised the model is by each next token."""

from typing import Any

import torch
from torch import Tensor

from ..examples import numbers
from ..task import Mistake, Property, Task


def next_token_loss(logits: Tensor, input_ids: Tensor) -> Tensor:
    """Average the surprise in nats at each next token: -ln of the probability that it was given.

    Position t is asked for token t + 1, so the last position is asked for nothing.

    Args:
        logits: (B, T, V), in fp32 or bf16; position t scores what may follow token t.
        input_ids: (B, T).

    Returns:
        The mean over all B * (T - 1) predictions, a tensor () in fp32.
    """
    log_probabilities = logits[:, :-1].float().log_softmax(dim=-1)  # (B, T - 1, V)
    targets = input_ids[:, 1:]  # (B, T - 1)
    chosen = log_probabilities.gather(-1, targets.unsqueeze(-1))  # (B, T - 1, 1)
    return -chosen.mean()


def _gradient(function: Any, logits: Tensor, input_ids: Tensor) -> Tensor | None:
    logits = logits.clone().requires_grad_()
    function(logits, input_ids).backward()
    return logits.grad


TASK = Task(
    name="next_token_loss",
    module="transformer_block",
    minutes=10,
    solution=next_token_loss,
    core=False,
    properties=[
        Property(
            "Two tokens scored alike: the loss is ln 2",
            [{"logits": torch.zeros(1, 2, 2), "input_ids": torch.tensor([[0, 1]])}],
        ),
        Property(
            "Scores of position t are for token t + 1",
            [
                {
                    "logits": torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]),
                    "input_ids": torch.tensor([[0, 1]]),
                },
                {
                    "logits": torch.tensor([[[0.0, 3.0, 1.0], [1.0, 0.0, 4.0], [2.0, 0.0, 0.0]]]),
                    "input_ids": torch.tensor([[0, 1, 2]]),
                },
            ],
        ),
        Property(
            "Only what follows counts: the scores of the last position change nothing",
            [
                {
                    "logits": torch.tensor([[[0.0, 3.0], [last, 0.0]]]),
                    "input_ids": torch.tensor([[1, 0]]),
                }
                for last in (0.0, 9.0)
            ],
        ),
        Property(
            "The mean runs over all predictions of all rows",
            [
                {"logits": numbers(2, 3, 2), "input_ids": torch.tensor([[0, 1, 1], [1, 0, 1]])},
                {"logits": numbers(3, 5, 4), "input_ids": torch.arange(15).view(3, 5) * 7 % 4},
            ],
        ),
        Property(
            "Large scores give no infinity",
            [
                {"logits": torch.tensor([[[0.0, 200.0], [0.0, 0.0]]]), "input_ids": torch.tensor([[1, 0]])},
                {
                    "logits": torch.tensor([[[0.0, 1.0], [300.0, 301.0], [0.0, 0.0]]]),
                    "input_ids": torch.tensor([[1, 0, 1]]),
                },
            ],
        ),
        Property(
            "bf16 logits are turned to fp32 first, and the loss is in fp32",
            [{"logits": numbers(1, 3, 4).bfloat16(), "input_ids": torch.tensor([[0, 1, 2]])}],
        ),
        Property(
            "The gradient flows back to the logits",
            [{"logits": torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]), "input_ids": torch.tensor([[0, 1]])}],
            _gradient,
            "the gradient of the loss at the logits",
        ),
    ],
    mistakes=[
        Mistake(
            "nothing were shifted: each position were asked for its own token",
            [("logits[:, :-1]", "logits"), ("input_ids[:, 1:]", "input_ids")],
            "The token at position t is in the input already; what is asked for is the next one.",
        ),
        Mistake(
            "the shift went the wrong way: each position were asked for the token before it",
            [("logits[:, :-1]", "logits[:, 1:]"), ("input_ids[:, 1:]", "input_ids[:, :-1]")],
            "Drop the last position of the logits and the first token of the ids.",
        ),
        Mistake(
            "the last position were counted, and asked for the row's first token",
            [("logits[:, :-1]", "logits"), ("input_ids[:, 1:]", "input_ids.roll(-1, dims=1)")],
            "With roll the row becomes a ring; nothing follows the last token, so leave its position out.",
        ),
        Mistake(
            "the surprises were summed, not averaged",
            [("chosen.mean()", "chosen.sum()")],
            "A sum grows with the batch, and the learning rate would have to follow it.",
        ),
        Mistake(
            "the sum were divided by the number of rows alone",
            [("-chosen.mean()", "-chosen.sum(dim=1).mean()")],
            "Every prediction counts once: divide by B * (T - 1).",
        ),
        Mistake(
            "the sum were divided by all B * T tokens",
            [("-chosen.mean()", "-chosen.sum() / input_ids.numel()")],
            "A row of T tokens has T - 1 predictions.",
        ),
        Mistake(
            "the loss were in bits, not in nats",
            [("-chosen.mean()", "-chosen.mean() / 0.6931471805599453")],
            "Nats are natural logarithms: ln, not log2.",
        ),
        Mistake(
            "the sign were forgotten",
            [("-chosen.mean()", "chosen.mean()")],
            "A logarithm of a probability is never above 0; the surprise is its opposite.",
        ),
        Mistake(
            "the softmax were taken twice",
            [(".float().log_softmax", ".float().softmax(dim=-1).log_softmax")],
            "Both log_softmax and F.cross_entropy want logits; probabilities lie so close that all tokens look alike.",
        ),
        Mistake(
            "the logarithm were left out",
            [(".log_softmax(", ".softmax(")],
            "Cross-entropy averages logarithms of probabilities, not the probabilities.",
        ),
        Mistake(
            "the softmax were followed by a separate log",
            [("log_softmax(dim=-1)", "softmax(dim=-1).log()")],
            "A probability of e⁻²⁰⁰ is 0 in fp32, and log(0) is -inf; log_softmax never forms it.",
        ),
        Mistake(
            "the softmax ran over the positions",
            [("log_softmax(dim=-1)", "log_softmax(dim=1)")],
            "The probabilities of one position sum to 1 over the vocabulary: the last dimension.",
        ),
        Mistake(
            "the result were a Python number, made by item()",
            [("chosen.mean()", "chosen.mean().item()")],
            "A number has no gradient: return the tensor.",
        ),
        Mistake(
            "the logits stayed in bf16",
            [(".float()", "")],
            "A bf16 number keeps 8 bits: too few for a mean of many surprises.",
        ),
    ],
    hints=(
        "Shift first: which positions are asked for something, and which token is each asked for?",
        "logits[:, :-1] go with input_ids[:, 1:]. log_softmax over the vocabulary gives logarithms of "
        "probabilities; pick that of each target.",
        "log_probabilities.gather(-1, targets.unsqueeze(-1)), then minus its mean; or F.cross_entropy on the "
        "logits in fp32, flattened to (B * (T - 1), V).",
    ),
)
