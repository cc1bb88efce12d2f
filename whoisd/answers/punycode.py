"""Punycode, as labels are written in ASCII (RFC 3492). Knows nothing of which labels are valid.

Python has a codec for it, written in Python, which takes a tenth of what a whole answer does.
"""

from typing import Final

# The parameters (RFC 3492, 5).
_BASE: Final = 36
_T_MIN: Final = 1
_T_MAX: Final = 26
_SKEW: Final = 38
_DAMP: Final = 700
_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


def punycode(label: str) -> str:
    """Return a label in Punycode (RFC 3492, 6.3), without the prefix of an A-label."""
    text = "".join([letter for letter in label if letter.isascii()])
    handled = basic = len(text)
    if basic:
        text += "-"
    delta, bias, below = 0, 72, 128
    codes = [ord(letter) for letter in label]
    while handled < len(codes):
        code = min([code for code in codes if code >= below])
        delta += (code - below) * (handled + 1)
        for other in codes:
            if other < code:
                delta += 1
            elif other == code:
                text += _integer(delta, bias)
                handled += 1
                bias = _adapted(delta, handled, first=handled == basic + 1)
                delta = 0
        delta += 1
        below = code + 1
    return text


def _integer(value: int, bias: int) -> str:
    """Return a generalized variable-length integer (RFC 3492, 3.3)."""
    digits = ""
    k = _BASE
    while True:
        threshold = min(max(k - bias, _T_MIN), _T_MAX)
        if value < threshold:
            return digits + _DIGITS[value]
        value, digit = divmod(value - threshold, _BASE - threshold)
        digits += _DIGITS[threshold + digit]
        k += _BASE


def _adapted(delta: int, handled: int, *, first: bool) -> int:
    """Return the bias for the next delta (RFC 3492, 6.1)."""
    delta = delta // _DAMP if first else delta // 2
    delta += delta // handled
    k = 0
    while delta > (_BASE - _T_MIN) * _T_MAX // 2:
        delta //= _BASE - _T_MIN
        k += _BASE
    return k + (_BASE - _T_MIN + 1) * delta // (delta + _SKEW)
