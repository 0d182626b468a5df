"""How a gate's logits become kept or dropped, by name; recipes check it without PyTorch."""

GATE_KINDS = {
    "straight_through": "kept where the logit is not negative",
    "open": "kept always: the dense network, to compare with",
    "gumbel": "the same with logistic noise in training, so that what is dropped is tried again",
}
