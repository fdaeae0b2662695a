"""UCF101 with a 3D CNN, a CRNN, and a frozen ResNet-152 under an LSTM.

    python -m experiments.ucf101 --model conv3d|crnn|resnet-crnn [--varlen]
    python -m experiments.ucf101 predict VIDEO --run runs/NAME

The models are those of HHTseng/video-classification. Its published accuracies are .508, .546, .857,
and .915 with clips of their own lengths, on a random split, in which nearly every test clip has a
sibling of its scene in training. Here scenes are kept together, or the official lists are used;
`--recipe original --split random` repeats the published way. Without videos the built-in demo set
runs through the same path.
"""
