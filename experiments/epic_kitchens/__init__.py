"""TimeSformer on a small data set: fine-tuned, exported, drawn into videos.

    python -m experiments.epic_kitchens train --videos data/epic_kitchens --weights TimeSformer.pyth
    python -m experiments.epic_kitchens predict VIDEO --run runs/NAME
    python -m experiments.epic_kitchens export runs/NAME model.onnx

The model is that of facebookresearch/TimeSformer; the data set and the recipe `original` are those
of fran6co/epic_kitchens. Any list of time ranges (docs/data.md) or folder of videos can take the
place of that data set. Without videos the built-in demo set runs through the same path.
"""
