"""Greedy, sampled and beam search over the hypotheses of a `Writer`.

The meanings of the options, and where a beam search may stop, are those of
transformers' generation, so the outputs are the same; but items that have finished
leave the batch. Knows nothing of what is mixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ragkit.marginalize.beams import Beams
from ragkit.marginalize.options import SearchOptions
from ragkit.marginalize.writer import Writer, Written


def search(writer: Writer, options: SearchOptions, wanted: int) -> list[list[Written]]:
    """The hypotheses of each item, best first.

    ``writer`` has one hypothesis for each item, or ``wanted`` of them where options say
    to sample without beams. Fewer than ``wanted`` come back where no more exist.
    """
    if options.num_beams > 1:
        return _beam(writer, options, wanted)
    return _single(writer, options, wanted if options.do_sample else 1)


def is_end(tokens: Tensor, options: SearchOptions) -> Tensor:
    """Where tokens end a hypothesis."""
    ends = torch.zeros_like(tokens, dtype=torch.bool)
    for eos in options.eos:
        ends |= tokens == eos
    return ends


def _single(writer: Writer, options: SearchOptions, each: int) -> list[list[Written]]:
    """Every hypothesis alone: the likeliest token, or a drawn one."""
    n_rows = len(writer.items)
    number = torch.arange(n_rows, device=writer.items.device)  # (N,) which are still written
    total = torch.zeros(n_rows, device=writer.items.device)  # (N,) Σ log p'
    done: list[Written | None] = [None] * n_rows
    for step in range(options.max_new):
        logp = writer.next()  # (N,V)
        scores = options.process(writer.sequences, logp)
        if options.do_sample:
            tokens = torch.multinomial(scores.softmax(-1), 1).squeeze(-1)  # (N,)
        else:
            tokens = scores.argmax(-1)
        total = total + logp.gather(-1, tokens[:, None]).squeeze(-1)
        rows = torch.arange(len(tokens), device=tokens.device)
        ends = is_end(tokens, options) | (step + 1 == options.max_new)
        chosen = writer.chosen(tokens, rows)  # (N,M)
        for row in ends.nonzero().squeeze(-1).tolist():
            done[int(number[row])] = writer.read_back(
                step, row, int(tokens[row]), chosen[row], float(total[row])
            )
        alive = (~ends).nonzero().squeeze(-1)
        if len(alive) == 0:
            break
        writer.append(tokens[alive], alive)
        number, total = number[alive], total[alive]
    found = [one for one in done if one is not None]
    groups = [found[i : i + each] for i in range(0, n_rows, each)]
    return [sorted(group, key=lambda one: -one.score) for group in groups]


def _beam(writer: Writer, options: SearchOptions, wanted: int) -> list[list[Written]]:
    n_items = len(writer.items)
    items = torch.arange(n_items, device=writer.items.device)  # those still searched
    beams = Beams.begin(n_items, options, writer.items.device)
    done: list[list[Written]] = [[] for _ in range(n_items)]
    ends: list[tuple[Tensor, Tensor, Tensor]] = []
    for step in range(options.max_new):
        logp = writer.next()  # (N,V)
        scores = options.process(writer.sequences, logp)
        grown = beams.grow(scores, step, is_last=step + 1 == options.max_new)
        ends.append((grown.parents, grown.tokens, writer.chosen(grown.tokens, grown.parents)))
        finished = beams.finished_items()
        for i in finished.nonzero().squeeze(-1).tolist():
            done[int(items[i])] = _results(writer, beams, i, ends, wanted)
        alive = (~finished).nonzero().squeeze(-1)
        if len(alive) == 0:
            break
        kept = beams.keep(alive)
        writer.append(kept.tokens, kept.parents)
        items = items[alive]
    return done


def _results(
    writer: Writer,
    beams: Beams,
    item: int,
    ends: list[tuple[Tensor, Tensor, Tensor]],
    wanted: int,
) -> list[Written]:
    found = []
    for score, step, candidate in beams.results(item)[:wanted]:
        parents, tokens, chosen = ends[step]
        found.append(
            writer.read_back(
                step, int(parents[candidate]), int(tokens[candidate]), chosen[candidate], score
            )
        )
    return found
