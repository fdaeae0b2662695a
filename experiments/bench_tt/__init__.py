"""How fast the Tensor-Train engine trains, beside what it replaces.

    python -m experiments.bench_tt

One training step (forward, backward, Adam) of a TT-GRU with UCF11's modes, 11 classes, on uint8
frames of 160x120, by each of these, in turn, in one run:

- stepwise: the published code's order of work, `keras.layers.RNN` over the plain cell with its
  cores contracted one by one inside the time loop, every clip padded to the maximum length;
- dense: `keras.layers.GRU(256)` on the same 57,600-wide input, padded likewise;
- engine float32, engine bfloat16: `FrameRNN` over `TTGRU` under each policy.

Each runs in a process of its own, waiting while the others work. Writes a table, results.json and
speed.png.
"""
