"""How many numbers a model of a given shape trains."""

from typing import Any

from ..task import Mistake, Property, Task


def count_parameters(config: dict[str, Any]) -> int:
    """Count the numbers that a decoder of this shape trains; a matrix used twice counts once.

    The feed-forward layer is SwiGLU, there are no biases, and a last norm stands before the output layer.

    Args:
        config: hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim,
            intermediate_size, vocab_size: whole numbers, as in a Hugging Face config. tie_word_embeddings: the
            output layer is the embedding again. qk_norm: every layer has an RMSNorm of head_dim weights for
            the queries of all its heads, and one for their keys.

    Returns:
        The number of parameters.
    """
    width, head_dim = config["hidden_size"], config["head_dim"]
    query_width = config["num_attention_heads"] * head_dim
    key_width = config["num_key_value_heads"] * head_dim
    attention = 2 * width * query_width + 2 * width * key_width  # q and o, k and v
    qk_norms = 2 * head_dim if config["qk_norm"] else 0
    feed_forward = 3 * width * config["intermediate_size"]
    norms = 2 * width
    layers = config["num_hidden_layers"] * (attention + qk_norms + feed_forward + norms)
    embedding = config["vocab_size"] * width
    output = 0 if config["tie_word_embeddings"] else embedding
    return embedding + layers + width + output  # width once more: the last norm


def _config(
    hidden_size: int,
    num_hidden_layers: int,
    heads: tuple[int, int, int],
    intermediate_size: int,
    vocab_size: int,
    tied: bool = True,
    qk_norm: bool = False,
) -> dict[str, dict[str, Any]]:
    config = {
        "hidden_size": hidden_size,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": heads[2],
        "intermediate_size": intermediate_size,
        "vocab_size": vocab_size,
        "tie_word_embeddings": tied,
        "qk_norm": qk_norm,
    }
    return {"config": config}


TASK = Task(
    name="count_parameters",
    module="feed_forward",
    minutes=15,
    solution=count_parameters,
    properties=[
        Property(
            "One layer with one head: embedding, four matrices of attention, three of the feed-forward layer, norms",
            [_config(10, 1, (1, 1, 10), 100, 1000)],
        ),
        Property("Every layer has as many as the first", [_config(10, 3, (1, 1, 10), 100, 1000)]),
        Property(
            "An output layer of its own adds a matrix", [_config(10, 1, (1, 1, 10), 100, 1000, tied=False)]
        ),
        Property("Key and value heads may be fewer", [_config(8, 1, (4, 1, 2), 10, 20)]),
        Property("head_dim may differ from hidden_size / heads", [_config(8, 2, (2, 1, 6), 10, 20)]),
        Property(
            "QK-norm adds two vectors of head_dim a layer", [_config(8, 2, (4, 2, 2), 10, 20, qk_norm=True)]
        ),
        Property(
            "All at once, up to the size of this course's small model",
            [
                _config(8, 3, (4, 2, 6), 20, 50, tied=False, qk_norm=True),
                _config(512, 8, (8, 2, 64), 1408, 6400, qk_norm=True),
            ],
        ),
    ],
    mistakes=[
        Mistake(
            "the feed-forward layer had two matrices",
            [("3 * width", "2 * width")],
            "SwiGLU has gate, up and down: three.",
        ),
        Mistake(
            "the embedding were counted twice although it is tied",
            [('0 if config["tie_word_embeddings"] else embedding', "embedding")],
            "A tied output layer is the embedding's own matrix: one set of numbers, trained once.",
        ),
        Mistake(
            "an output layer of its own were forgotten",
            [('0 if config["tie_word_embeddings"] else embedding', "0")],
            "With tie_word_embeddings False there are two matrices of vocab_size * hidden_size.",
        ),
        Mistake(
            "the embedding were forgotten",
            [("return embedding + layers", "return layers")],
            "Every token id has its own row of hidden_size numbers, and they are trained.",
        ),
        Mistake(
            "the two norms of each layer were forgotten",
            [("norms = 2 * width", "norms = 0")],
            "A norm has one weight for each number of the vector.",
        ),
        Mistake(
            "each layer had one norm",
            [("norms = 2 * width", "norms = width")],
            "One stands before attention and one before the feed-forward layer.",
        ),
        Mistake(
            "the last norm were forgotten",
            [("layers + width + output", "layers + output")],
            "After the last layer the stream is normed once more, before the output layer.",
        ),
        Mistake(
            "keys and values had as many heads as queries",
            [('key_width = config["num_key_value_heads"]', 'key_width = config["num_attention_heads"]')],
            "Fewer key heads mean smaller key and value matrices, beside the smaller cache.",
        ),
        Mistake(
            "head_dim were taken to be hidden_size / num_attention_heads",
            [
                (
                    'config["hidden_size"], config["head_dim"]',
                    'config["hidden_size"], config["hidden_size"] // config["num_attention_heads"]',
                )
            ],
            "It often is, but Qwen3's small models have wider heads: read head_dim.",
        ),
        Mistake(
            "the output projection of attention were forgotten",
            [("2 * width * query_width", "width * query_width")],
            "Attention has four matrices: queries, keys, values and the one that mixes the heads.",
        ),
        Mistake(
            "the norms of queries and keys were forgotten",
            [('2 * head_dim if config["qk_norm"] else 0', "0")],
            "With qk_norm each layer has two more vectors of head_dim numbers.",
        ),
        Mistake(
            "every head had QK-norm weights of its own",
            [('2 * head_dim if config["qk_norm"]', 'query_width + key_width if config["qk_norm"]')],
            "All query heads share one vector of head_dim weights, and all key heads another.",
        ),
    ],
    hints=(
        "Count one layer first: attention, feed-forward, norms. Then times the layers, plus what stands around them.",
        "Attention: q and o are hidden_size by heads * head_dim; k and v have num_key_value_heads instead. The "
        "feed-forward layer has three matrices. Around the layers: embedding, last norm, output layer if not tied.",
        "A layer: 2 * D * H * d + 2 * D * K * d + 3 * D * F + 2 * D, and 2 * d with qk_norm. Around: V * D + D, "
        "and V * D again if not tied.",
    ),
)
