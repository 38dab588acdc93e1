"""What ONNX's node test suite has and our ops do not do, and why; and what we have and ONNX has not.

tests/runtime/autograd/oracle/test_onnx.py holds every line to the truth: a case that would pass, an op type or a
pattern without a case, or an op type that is in neither list nor adapter fails there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from helpers.onnx_nodes import BOOKKEEPING, NODES

SHAPES = "only shapes, constants, dtypes and remainders, which the adapter leaves to numpy: nothing of ours would run"

OP_TYPES: dict[str, str] = {
    "no such op: images of another size or warped": "AffineGrid DeformConv GridSample Resize RoiAlign Upsample",
    "no such op: images put together from windows": "Col2Im MaxUnpool",
    "no such op: axes into channels and back": "DepthToSpace SpaceToDepth",
    "no such op: normalisation along neighbouring channels": "LRN",
    "no such op: signals": "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    "no such op: products along an axis": "CumProd",
    "no such op: matrices": "Det EyeLike",
    "no such op: sorting, searching and counting": "Hardmax NonMaxSuppression NonZero OneHot TopK Unique",
    "no such op: sequences of several lengths turned round, or cut and padded": "CenterCropPad ReverseSequence",
    "no such op: attention with a program as its mask, or linear, or with a state": (
        "CausalConvWithState FlexAttention LinearAttention TensorScatter"
    ),
    "optimisers are classes of their own, held to PyTorch by test_optim.py": "Adagrad Adam Momentum",
    "random numbers, of which ONNX says how they are distributed and the suite which they were": (
        "Bernoulli RandomUniformLike"
    ),
    "quantised numbers": (
        "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear"
    ),
    "bits of numbers moved or taken for another dtype": "BitCast BitShift",
    "control flow, with graphs inside of nodes: that is Python's here": "If Loop Scan SequenceMap",
    "sequences and optional values: not tensors": (
        "OptionalGetElement OptionalHasElement SequenceEmpty SequenceInsert SequenceLength SplitToSequence"
    ),
    "strings": "RegexFullMatch StringConcat StringNormalizer StringSplit",
    "files of pictures": "ImageDecoder",
    "learning without gradients (ai.onnx.ml)": (
        "ArrayFeatureExtractor Binarizer LabelEncoder TfIdfVectorizer TreeEnsemble"
    ),
}

# patterns of whole names, without "test_"; every case that matches must fail
CASES: dict[str, str] = {
    r"(averagepool|convtranspose|lppool|maxpool)_3d.*": "windows along three axes: ours are along one and two",
    r"maxpool_with_argmax.*": "max_pool does not give the places of the maxima",
    r"attention.*_qk_matmul(?!.*expanded).*|attention_local_window_gqa_rank4_mask": (
        "attention never holds the scores as a whole, so they are no output"
    ),
    r"attention_[34]d(_\w+)?_softcap(?!.*expanded).*": "attention has no cap on the scores",
    r"attention_4d_(causal_|gqa_with_past_and_present_)?fp16": (
        "float16 all the way: the suite and we are a few units of the last place off, each in its own way"
    ),
    r"gru_(bidirectional|reverse|seq_length)": (
        "the reset gate before the product with the state; ours is behind it, as in PyTorch and cuDNN"
    ),
    r"lstm_with_peepholes": "an LSTM whose gates see the cell: ours is PyTorch's",
    r"reduce_(max|min)_empty_set(_bool)?": "an extremum of no elements is refused, as in PyTorch",
    r"scatter(nd|_elements)_.*(add|mul|multiply|max|min|max_.*|min_.*|duplicate_indices)": (
        "setitem replaces; it does not add, multiply or take the larger"
    ),
    r"equal_string.*": "strings",
    r"identity_(sequence|opt)": "sequences and optional values: not tensors",
}

# ops of ours -> why no case of the suite runs them
OURS_ALONE: dict[str, str] = {
    "binary_cross_entropy_with_logits": "ONNX has the losses of classes only",
    "mse_loss": "ONNX has the losses of classes only",
    "l1_loss": "ONNX has the losses of classes only",
    "huber_loss": "ONNX has the losses of classes only",
    "checkpoint": "runs other ops, and them again for the gradient; no function of its own",
    "expm1": "in ONNX written as exp(x) - 1",
    "log1p": "in ONNX written as log(1 + x)",
    "log2": "in ONNX written with log",
    "scaled_tanh": "ONNX has ScaledTanh in its experiments only",
}

REASONS = {op_type: reason for reason, op_types in OP_TYPES.items() for op_type in op_types.split()}


def why_no_op(op_types: Iterable[str]) -> str | None:
    """Why a graph of these op types cannot be run at all."""
    missing = sorted(set(op_types) - set(NODES))
    if missing:
        return REASONS.get(missing[0], f"{missing[0]} is neither in the adapter nor on the list")
    return SHAPES if set(op_types) <= BOOKKEEPING else None


def why_it_fails(name: str) -> str | None:
    return next((reason for pattern, reason in CASES.items() if re.fullmatch(pattern, name)), None)


def op_types(case: Any) -> set[str]:
    return {node.op_type for node in case.model.graph.node}
