"""Answers of a model: many questions at a time, and each as it would be alone."""

import pytest
import torch

from minimind import MiniMind, ModelConfig
from minimind.errors import UserError
from minimind.metrics import answer, answers
from minimind.tokenizer import Tokenizer, render_chat, train_tokenizer

TEXT = "The old cat sees a red house. Who sees the blue river? The dog runs and hears a tree. user assistant"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXT], 280)


@pytest.fixture
def model(tokenizer) -> MiniMind:
    torch.manual_seed(0)
    model = MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=2, vocab_size=tokenizer.vocab_size))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(6)  # A fresh model says the same to everybody; this one does not.
    model.generation_config = tokenizer.special_ids
    return model.eval()


def asked(*texts: str) -> list[dict[str, str]]:
    """A conversation: user and assistant in turn, from the user on."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


CONVERSATIONS = [
    asked("Who sees the cat?"),
    asked("A tree."),
    asked("The dog runs.", "The cat sees.", "And the old red house, who sees it?"),
    asked(""),
    asked("Who hears the dog and the river and the tree and the blue house and the old red cat?"),
    asked("A red tree."),
    asked("Old?"),
]


def alone(model: MiniMind, tokenizer: Tokenizer, messages: list[dict[str, str]], steps: int) -> list[int]:
    """The new ids, each by a forward of the whole text."""
    ids, _ = render_chat(tokenizer, messages, add_generation_prompt=True)
    new: list[int] = []
    for _ in range(steps):
        new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    return new


@pytest.mark.parametrize("rows", [1, 3, 128])
def test_batched_answers_are_those_of_each_alone(model, tokenizer, monkeypatch, rows):
    monkeypatch.setattr(answers, "ROWS_A_BATCH", rows)
    model.generation_config = {**tokenizer.special_ids, "eos_token_id": []}  # nothing ends
    replies = answer(model, tokenizer, CONVERSATIONS, max_new_tokens=7)
    expected = [
        tokenizer.decode(alone(model, tokenizer, each, 7), skip_special_tokens=True) for each in CONVERSATIONS
    ]
    assert [reply.text for reply in replies] == expected
    assert len(set(expected)) > 3  # else the order could not be wrong
    assert not any(reply.ended for reply in replies)


def test_an_answer_ends_at_each_of_the_models_end_tokens(model, tokenizer):
    said = [alone(model, tokenizer, each, 7) for each in CONVERSATIONS]
    ends = [said[0][3], said[4][1]]  # so at least two answers end, at two tokens
    assert ends[0] != ends[1]
    model.generation_config = {"eos_token_id": ends}
    replies = answer(model, tokenizer, CONVERSATIONS, max_new_tokens=7)
    for ids, reply in zip(said, replies, strict=True):
        until = next((n for n, id in enumerate(ids) if id in ends), None)
        assert reply.ended == (until is not None)
        assert reply.text == tokenizer.decode(ids[:until], skip_special_tokens=True)
    assert sum(reply.ended for reply in replies) >= 2
    model.generation_config = {"eos_token_id": ends[0]}
    [first] = answer(model, tokenizer, CONVERSATIONS[:1], max_new_tokens=7)
    assert first == replies[0]


def test_an_end_at_the_last_token_is_an_end(model, tokenizer):
    ids = alone(model, tokenizer, CONVERSATIONS[0], 4)
    assert ids[3] not in ids[:3]
    model.generation_config = {"eos_token_id": ids[3]}
    assert answer(model, tokenizer, CONVERSATIONS[:1], max_new_tokens=4)[0].ended
    assert not answer(model, tokenizer, CONVERSATIONS[:1], max_new_tokens=3)[0].ended


def always_says(model: MiniMind, id: int) -> None:
    """Let the model find one id the likeliest, whatever it reads."""
    model.lm_head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size)
    torch.nn.init.zeros_(model.lm_head.weight)
    with torch.no_grad():
        model.lm_head.bias.zero_()[id] = 1


def test_a_model_that_names_no_end_ends_at_the_tokenizers(model, tokenizer):
    always_says(model, tokenizer.eos_token_id)
    model.generation_config = {}
    assert answer(model, tokenizer, [asked("Who?")]) == [("", True)]


def test_special_tokens_are_not_in_the_text(model, tokenizer):
    always_says(model, tokenizer.bos_token_id)
    assert answer(model, tokenizer, [asked("Who?")], max_new_tokens=3) == [("", False)]


def test_nobody_asked_nothing_answered(model, tokenizer):
    assert answer(model, tokenizer, []) == []


def test_the_assistant_does_not_answer_itself(model, tokenizer):
    with pytest.raises(UserError, match="last word"):
        answer(model, tokenizer, [asked("Who?", "I.")])
