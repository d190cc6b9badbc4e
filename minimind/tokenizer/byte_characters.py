"""Bytes as characters that can be printed, the way GPT-2's files show tokens: a space is `Ġ`, a line end `Ċ`."""

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]

# Printable bytes stand for themselves in Latin-1; the others take the characters from 256 on.
BYTE_CHARACTERS = {byte: chr(byte) for byte in PRINTABLE}
BYTE_CHARACTERS |= {byte: chr(256 + place) for place, byte in enumerate(OTHERS)}
"""The character of each byte; the bytes stand in the order of their characters."""

BYTES = [bytes([byte]) for byte in BYTE_CHARACTERS]
"""The 256 bytes in the order of their ids: that of their characters."""

BYTE_OF = {character: byte for byte, character in BYTE_CHARACTERS.items()}


def to_characters(token: bytes) -> str:
    """Show a token.

    Examples:
        >>> to_characters(" café".encode())
        'ĠcafÃ©'
    """
    return "".join(BYTE_CHARACTERS[byte] for byte in token)


def to_bytes(shown: str) -> bytes:
    """The token that is shown so.

    Raises:
        KeyError: if a character stands for no byte.

    Examples:
        >>> to_bytes("ĠcafÃ©").decode()
        ' café'
    """
    return bytes(BYTE_OF[character] for character in shown)
