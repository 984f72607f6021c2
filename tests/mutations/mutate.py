"""Seeded damage to a file: what disks, networks, scripts and people do to backups."""

import random
from collections.abc import Callable

Act = Callable[[random.Random, bytes], bytes]


def flip_a_bit(dice, whole):
    place = dice.randrange(len(whole))
    return whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(8)]) + whole[place + 1 :]


def flip_a_bit_near_an_end(dice, whole):
    near = dice.randrange(min(600, len(whole)))
    place = dice.choice([near, len(whole) - 1 - near])
    return whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(8)]) + whole[place + 1 :]


def overwrite(dice, whole):
    start, length = dice.randrange(len(whole)), dice.randint(1, 4096)
    end = min(start + length, len(whole))
    return whole[:start] + dice.randbytes(end - start) + whole[end:]


def zero(dice, whole):
    start, length = dice.randrange(len(whole)), dice.randint(1, 65536)
    end = min(start + length, len(whole))
    return whole[:start] + bytes(end - start) + whole[end:]


def truncate(dice, whole):
    return whole[: dice.randrange(len(whole))]


def truncate_a_little(dice, whole):
    return whole[: -dice.randint(1, min(2048, len(whole) - 1))]


def leave_out(dice, whole):
    start = dice.randrange(len(whole))
    return whole[:start] + whole[start + dice.randint(1, 4096) :]


def put_in(dice, whole):
    start = dice.randrange(len(whole))
    return whole[:start] + dice.randbytes(dice.randint(1, 512)) + whole[start:]


def exchange_blocks(dice, whole):
    size = min(4096, len(whole) // 3)
    first, second = sorted(dice.sample(range(len(whole) // size), 2))
    blocks = [whole[n : n + size] for n in range(0, len(whole), size)]
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return b"".join(blocks)


def append(dice, whole):
    return whole + dice.randbytes(dice.randint(1, 2048))


def empty(dice, whole):
    return b""


ACTS = (
    *(flip_a_bit, flip_a_bit_near_an_end, overwrite, zero, truncate, truncate_a_little),
    *(leave_out, put_in, exchange_blocks, append, empty),
)


def mutations(seed, whole, count):
    """(what was done, the damaged bytes), none of them equal to the whole; each act by turns.

    >>> len(mutations("a", bytes(range(256)) * 40, 22))
    22
    """
    dice, made = random.Random(seed), []
    while len(made) < count:
        act = ACTS[len(made) % len(ACTS)]
        damaged = act(dice, whole)
        if damaged != whole:
            made.append((f"{act.__name__} {len(made)}", damaged))
    return made
