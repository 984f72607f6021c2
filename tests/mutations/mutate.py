"""Seeded damage to a file: what disks, networks, scripts and people do to backups."""

import random


def damages(dice, whole):
    """Return what is done -> the damaged bytes."""
    size = len(whole)
    start, near = dice.randrange(size), dice.randrange(min(600, size))
    few, many = (min(dice.randint(1, most), size - start) for most in (4096, 65536))

    def put(start, length, new):
        return whole[:start] + new + whole[start + length :]

    def flip_a_bit(at):
        return put(at, 1, bytes([whole[at] ^ 1 << dice.randrange(8)]))

    return {
        "flip a bit": flip_a_bit(start),
        "flip a bit near an end": flip_a_bit(dice.choice([near, size - 1 - near])),
        "overwrite": put(start, few, dice.randbytes(few)),
        "zero": put(start, many, bytes(many)),
        "truncate": whole[:start],
        "truncate a little": whole[: -dice.randint(1, min(2048, size - 1))],
        "leave out": put(start, few, b""),
        "put in": put(start, 0, dice.randbytes(dice.randint(1, 512))),
        "exchange blocks": exchange_blocks(dice, whole),
        "append": whole + dice.randbytes(dice.randint(1, 2048)),
        "empty": b"",
    }


def exchange_blocks(dice, whole):
    size = min(4096, len(whole) // 3)
    first, second = sorted(dice.sample(range(len(whole) // size), 2))
    blocks = [whole[n : n + size] for n in range(0, len(whole), size)]
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return b"".join(blocks)


def mutations(seed, whole, count):
    """(what was done, the damaged bytes), none of them equal to the whole; each act by turns."""
    dice, made = random.Random(seed), []
    while len(made) < count:
        made += [(act, data) for act, data in damages(dice, whole).items() if data != whole]
    return [(f"{act} {number}", data) for number, (act, data) in enumerate(made[:count])]
