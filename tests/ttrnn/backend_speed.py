"""Time a training step of TTGRU and TTLSTM beside keras.layers.GRU and LSTM on any backend.

    KERAS_BACKEND=jax python tests/ttrnn/backend_speed.py

A step is `train_on_batch` with Adam on 16 sequences of 60 steps. The layers take turns; medians of
the rounds count. A ratio above 1 means that the tensor train is slower.
"""

import argparse
import time
from statistics import median

import keras
import numpy as np

import ttrnn

BATCH, STEPS, UNITS = 16, 60, 256
MODES = {
    1024: ((4, 8, 8, 4), (4, 4, 4, 4), 4),
    57600: ((8, 20, 20, 18), (4, 4, 4, 4), 4),
}
PAIRS = {"GRU": ttrnn.TTGRU, "LSTM": ttrnn.TTLSTM}


def make_step(layer, x, y):
    """Build a training step of a model around `layer`, and run it twice."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-4), "mse")

    def step():
        started = time.perf_counter()
        float(model.train_on_batch(x, y))  # `float` waits for the result
        return time.perf_counter() - started

    first = step()
    step()
    return step, first


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--features", type=int, nargs="+", default=list(MODES), choices=MODES)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{keras.backend.backend()}, Keras {keras.__version__}, batch {BATCH}, {STEPS} steps")
    for features in arguments.features:
        x = rng.standard_normal((BATCH, STEPS, features), np.float32)
        x, y = map(keras.ops.convert_to_tensor, (x, rng.standard_normal((BATCH, 1), np.float32)))
        for name, ours in PAIRS.items():
            layers = {name: getattr(keras.layers, name)(UNITS)}
            layers[f"TT{name}"] = ours(*MODES[features])
            steps, times = {}, {each: [] for each in layers}
            for each, layer in layers.items():
                steps[each], first = make_step(layer, x, y)
                print(f"  {each} {features:,} -> {UNITS}: first step {first:.2f} s")
            for _ in range(arguments.rounds):
                for each, step in steps.items():
                    times[each].append(1e3 * step())
            dense, mine = (median(times[each]) for each in layers)
            print(
                f"{features:,} -> {UNITS}: {name} {dense:.1f} ms, TT{name} {mine:.1f} ms, "
                f"ratio {mine / dense:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
