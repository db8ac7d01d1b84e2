"""The laws of a generator: what it reads and writes, whatever the model behind it.

Knows `ragkit.protocols.Generator` (section 2.3); no model, no tokenizer, no prior. The laws
of its readings and decodings, and of what it may declare besides, stand in
`ragkit.testing.reading`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ragkit.errors import RagkitError
from ragkit.protocols import Passage, Retrieved, SupportsQuoting, SupportsSave, Targets
from ragkit.testing import files, samples
from ragkit.testing.asserting import attempt, difference, must, same, unchanged
from ragkit.testing.learning import check_gradient
from ragkit.testing.reading import ReadingConformance, distinct, scored


class GeneratorConformance(ReadingConformance):
    """The laws of a `Generator`; ``make()`` returns one, always with the same weights.

    learns: whether scores carry a gradient; by default, whether it has parameters that
        require one.
    target_texts: what it is asked to write. Tokens back to text must give them again.
    """

    role = "generator"
    learns: ClassVar[bool | None] = None

    # ------------------------------------------------------------------------- tokens

    def test_generation_config(self) -> None:
        """generation_config is transformers' and names the start token and EOS."""
        config = self.made().generation_config
        for name in ("decoder_start_token_id", "eos_token_id"):
            value = getattr(config, name, None)
            first = value[0] if isinstance(value, list) and value else value
            must(
                isinstance(first, int),
                f"generation_config.{name} is {value!r}; set it to a token id, for every search "
                "begins and ends by it (a model without a start token may take BOS or EOS)",
            )

    def test_targets(self) -> None:
        """Targets are tokens (N,T) int64, padded on the right, each ending in EOS."""
        generator = self.made()
        found = self._targets(generator)
        tokens, mask = found.tokens, found.mask
        shape = (len(self.target_texts), tokens.shape[-1])
        for name, table, dtype in (("tokens", tokens, torch.int64), ("mask", mask, torch.bool)):
            must(
                tuple(table.shape) == shape and table.dtype == dtype,
                f"{name} of targets are {tuple(table.shape)} {table.dtype}; they must be (N,T) "
                f"{dtype}",
            )
        eos = generator.generation_config.eos_token_id
        ends = eos if isinstance(eos, list) else [eos]
        for row, counted in zip(tokens.tolist(), mask.tolist(), strict=True):
            last = max((i for i, one in enumerate(counted) if one), default=None)
            must(last is not None, "a target has no token that counts; mask is False everywhere")
            must(
                last is not None and row[last] in ends,
                f"a target ends in token {row[last or 0]} and not in EOS ({ends}); without it "
                "p(y|x) is that of a beginning, and training teaches no end",
            )
        longest = mask.sum(dim=1).max()
        must(
            mask[:, -1].any() and longest >= 2,
            "targets are padded beyond the longest, or hold nothing but EOS",
        )

    def test_text(self) -> None:
        """Tokens of targets give their texts again, special tokens left out."""
        generator = self.made()
        found = self._targets(generator)
        rows = [
            row[: int(m.sum())] for row, m in zip(found.tokens.tolist(), found.mask, strict=True)
        ]
        whole = [row.tolist() for row in found.tokens]
        for what, tokens in (("without padding", rows), ("with padding", whole)):
            with attempt("text(tokens)", "it takes lists of token ids"):
                texts = generator.text(tokens)
            must(
                [one.strip() for one in texts] == [one.strip() for one in self.target_texts],
                f"text of targets {what} is {texts!r} instead of {list(self.target_texts)!r}; "
                "leave special tokens out and nothing else (or set target_texts to what the "
                "tokenizer can write)",
            )

    def test_long_targets_are_not_cut(self) -> None:
        """A target longer than the model allows is refused, never cut in silence."""
        generator = self.made()
        text = " ".join(self.target_texts)
        lengths = []
        for times in (1, 2, 900):
            try:
                found = generator.targets([" ".join([text] * times)])
            except RagkitError as error:
                must(len(str(error)) > 15, f"the refusal {str(error)!r} says too little")
                return
            lengths.append(int(found.mask.sum()))
        must(
            lengths[2] > 400 * (lengths[1] - lengths[0]),
            f"a target 900 times as long has {lengths[2]} tokens where {lengths[0]} stand for one; "
            "do not cut targets: raise ragkit.errors.DataError where one is too long",
        )

    # ------------------------------------------------------------------------ reading

    def test_read(self) -> None:
        """read gives rows (B,M) int64: each present pair has its own number, absent ones -1."""
        found = samples.retrieved(3, 3)
        reading = self._read(self.made(), found)
        rows = reading.rows.cpu()
        must(
            rows.dtype == torch.int64 and rows.dim() == 2 and rows.shape[0] == 3,
            f"rows are {tuple(rows.shape)} {rows.dtype}; they must be (B,M) int64",
        )
        must(rows.shape[1] in (1, 3), f"rows have M = {rows.shape[1]}; M is K, or 1 where fused")
        if rows.shape[1] == 3:
            must(
                torch.equal(rows >= 0, found.mask),
                "rows are -1 elsewhere than where a passage is absent; follow retrieved.mask",
            )
        held = rows[rows >= 0]
        must(
            distinct(held) and held.numel() > 0,
            f"pairs have the numbers {held.tolist()}; number them 0…P-1, each once",
        )

    def test_fusion_is_declared(self) -> None:
        """SupportsFusion: rows are (B,1) if, and only if, the generator says that it fuses."""
        generator = self.made()
        width = self._read(generator, samples.retrieved(3, 3)).rows.shape[1]
        fuses = bool(getattr(generator, "fuses", False))
        must(
            (width == 1) == fuses,
            f"rows have M = {width} for K = 3 passages, and fuses is {fuses}; a generator to which "
            "all passages are one pair has rows (B,1) and fuses = True, any other M = K",
        )

    def test_score_depends_on_passage_and_question(self) -> None:
        """Another passage, and another question, give another p(y|x,z)."""
        generator = self.made()
        ids, scores = torch.tensor([[0], [1], [0]]), torch.zeros(3, 1)
        found = samples.with_passages(ids, scores)
        questions = [self.questions[0], self.questions[0], self.questions[1]]
        reading = self._read(generator, found, questions)
        targets = self._repeated(generator, self.target_texts[-1], 3)
        value = scored(reading, targets)
        must(
            difference(value[1], value[0], self.tolerance),
            "two passages give one p(y|x,z); is the passage read?",
        )
        must(
            difference(value[2], value[0], self.tolerance),
            "two questions give one p(y|x,z); is the question read?",
        )

    def test_long_passage_leaves_the_question(self) -> None:
        """A passage longer than the window is cut, never the question."""
        generator = self.made()
        long = Passage("long", "Long", "the words of a passage that never ends " * 600)
        found = Retrieved(
            [[long], [long]],
            torch.zeros(2, 1, dtype=torch.int64),
            torch.zeros(2, 1),
            torch.ones(2, 1, dtype=torch.bool),
        )
        with attempt("read with a very long passage", "cut the passage to what the model reads"):
            reading = generator.read(list(self.questions[:2]), found)
        value = scored(reading, self._repeated(generator, self.target_texts[-1], 2))
        must(
            difference(value[1], value[0], self.tolerance),
            "with a very long passage two questions give one p(y|x,z): the question was cut off; "
            "cut the passage instead",
        )

    def test_any_text(self) -> None:
        """Passages without title or text, and other scripts, are read."""
        odd = [
            Passage("0", "", "no title"),
            Passage("1", "no text", ""),
            Passage("2", "Łódź", "北京 🙂\nanother line {title} {question}"),
        ]
        found = Retrieved(
            [odd],
            torch.arange(3)[None],
            torch.zeros(1, 3),
            torch.ones(1, 3, dtype=torch.bool),
        )
        generator = self.made()
        with attempt("read of odd passages", "read whatever a file may hold"):
            reading = generator.read(["{text}?"], found)
        value = scored(reading, self._repeated(generator, self.target_texts[0], 1))
        must(value.isfinite().all(), "an odd passage gives a p(y|x,z) that is not finite")

    def test_batch_of_one_is_a_row_of_the_batch(self) -> None:
        """A question read alone gives what it gives among others: padding does not matter."""
        generator = self.made()
        found = samples.retrieved(3, 3)
        targets = self._targets(generator)
        batch = scored(self._read(generator, found), targets)
        for b in range(3):
            reading = self._read(generator, samples.take(found, [b]), [self.questions[b]])
            alone = scored(reading, Targets(targets.tokens[b : b + 1], targets.mask[b : b + 1]))
            same(
                alone[0],
                batch[b],
                self.tolerance,
                f"question {b} read alone gives other log-probabilities than in a batch; give the "
                "model the mask of what is padding",
            )

    def test_order_of_passages(self) -> None:
        """Passages in another order give the same, each in its place; absent ones add nothing."""
        generator = self.made()
        targets = self._targets(generator)
        found = samples.retrieved(3, 3, absent=False)
        batch = self._read(generator, found)
        value = scored(batch, targets)
        if batch.rows.shape[1] == 3:
            order = [2, 0, 1]
            turned = scored(self._read(generator, samples.take(found, [0, 1, 2], order)), targets)
            same(
                turned,
                value[:, order],
                self.tolerance,
                "passages in another order give other log-probabilities; read each pair by itself",
            )
        fewer = samples.take(found, [0, 1, 2], [0, 1])
        absent = samples.with_passages(
            torch.nn.functional.pad(fewer.ids, (0, 1), value=-1),
            torch.nn.functional.pad(fewer.scores, (0, 1), value=-torch.inf),
        )
        without = scored(self._read(generator, fewer), targets)
        width = without.shape[1]
        same(
            scored(self._read(generator, absent), targets)[:, :width],
            without,
            self.tolerance,
            "an absent passage changes what the others give; read only where retrieved.mask is "
            "True",
        )

    def test_inputs_are_not_changed(self) -> None:
        """Neither read nor score nor decoding changes what it is given."""
        generator = self.made()
        found, questions = samples.retrieved(3, 3), list(self.questions[:3])
        with unchanged(
            "read", ids=found.ids, scores=found.scores, mask=found.mask, questions=questions
        ):
            reading = self._read(generator, found, questions)
        targets, rows = self._targets(generator), reading.rows.clone()
        with unchanged(
            "score", tokens=targets.tokens, mask=targets.mask, rows=rows, of_reading=reading.rows
        ):
            scored(reading, targets, rows)
        tokens, parents = targets.tokens[:, 0].clone(), torch.arange(3)
        with unchanged("decoding", tokens=tokens, parents=parents, rows=rows), torch.no_grad():
            decoding = reading.start(rows)
            decoding.next()
            decoding.append(tokens.to(rows.device), parents.to(rows.device))
            decoding.next()

    # ---------------------------------------------------------------------- abilities

    def test_quote(self) -> None:
        """SupportsQuoting: what is quoted stands in a passage; None where none holds it."""
        generator = self.made()
        self.needs(generator, SupportsQuoting)
        passages = list(samples.PASSAGES)
        for text, held in (("the lighthouse", True), ("no zebra quilts", False)):
            tokens = generator.targets([text]).tokens[0].tolist()
            with self.declared(generator, SupportsQuoting):
                found = generator.quote(tokens, passages)
            must(
                found is None or any(found in one.text or found in one.title for one in passages),
                f"quote gave {found!r}, which stands in no passage; give its own characters",
            )
            must(
                held or found is None,
                f"quote gave {found!r} for {text!r}, which no passage holds; give None",
            )

    # ----------------------------------------------------------------------- learning

    def test_gradient_of_scores(self) -> None:
        """Scores carry a gradient if the generator learns, else none; none under no_grad."""
        generator = self.made()
        found, targets = samples.retrieved(3, 3), self._targets(generator)

        def compute() -> Tensor:
            reading = self._read(generator, found)
            value: Tensor = reading.score(targets, reading.rows)
            return value

        check_gradient(generator, compute, "scores of targets", self.learns)

    # ------------------------------------------------------------------------ on disk

    def test_saved_and_loaded(self) -> None:
        """SupportsSave: the loaded generator, also from a moved folder, scores the same."""
        generator = self.made()
        self.needs(generator, SupportsSave)
        found, targets = samples.retrieved(3, 3), self._targets(generator)
        before = scored(self._read(generator, found), targets)
        with self.declared(generator, SupportsSave):
            directory = files.saved(generator, self.folder())
        files.check_no_path(directory)
        files.check_no_pickle(directory)
        again = files.loaded(generator, files.moved(directory))
        mine = self._targets(again)
        same(
            mine.tokens,
            targets.tokens,
            0,
            "targets have other tokens after load; save the tokenizer",
        )
        same(
            scored(self._read(again, found), mine),
            before,
            self.tolerance,
            "the loaded generator gives other log-probabilities; save weights, form and limits",
        )

    # ------------------------------------------------------------------------ helpers

    def _repeated(self, generator: Any, text: str, times: int) -> Targets:
        one: Targets = generator.targets([text])
        return Targets(one.tokens.repeat(times, 1), one.mask.repeat(times, 1))
