"""Make ucf101_original.npz: what HHTseng/video-classification itself says of pictures in files.

    pip install numpy torch pillow tqdm tyro
    git clone https://github.com/HHTseng/video-classification CLONE
    PYTHONPATH=. python tests/golden/make_ucf101_original.py CLONE

The original's own `functions.py` of CLONE reads the pictures and runs the networks: its data sets,
encoders and decoders, at smaller sizes and with 5 classes. Its four transforms of torchvision are
here in a few lines, for torchvision scales an image by the image's own `resize`; its ResNet-152 is
make_resnet.py's. Weights are made by the rule of weight_rule.py, and those of the last norm of
each block are a fifth of it, `GAIN`, or 50 blocks would saturate what comes after them.

The pictures are JPEGs of 96 x 72, end to end in `jpegs`, of `jpeg_sizes` bytes each: 50 of a clip
and 15 of another. Of the first 15 of each, frames 1 to 15:

- `conv3d_logits` (2, 5): made grey, 64 x 80.
- `crnn_logits` (2, 5): 64 x 80.

As every second frame of clips of 99 and 29 frames, 64 x 64:

- `resnet152_features` (2, 2048): of the first picture of each clip.
- `varlen_logits` (2, 5): each clip alone, and as long as the frames that are there of it.
- `varlen_published_logits` (2, 5): both in one batch, as long as the original says: it counts all
  frames of the video, not every second one, and reads the state after the batch's longest clip.
"""

import importlib.util
import io
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from make_resnet import ResNet
from make_ucf101_models import NOW, published
from PIL import Image
from weight_rule import value

NUM_CLASSES = 5
GAIN = 0.2
LENGTHS = (50, 15)


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, image):
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        return image.resize(self.size[::-1], Image.Resampling.BILINEAR)


class ToTensor:
    def __call__(self, image):
        pixels = torch.from_numpy(np.array(image))
        return pixels.reshape(image.height, image.width, -1).permute(2, 0, 1) / 255


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, pixels):
        mean, std = (torch.tensor(x, dtype=torch.float32) for x in (self.mean, self.std))
        return (pixels - mean[:, None, None]) / std[:, None, None]


class Children(ResNet):
    """ResNet with torchvision's order of children, of which the original takes all but the last."""

    def children(self):
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        pool = torch.nn.AdaptiveAvgPool2d(1)
        return iter([self.conv1, self.bn1, torch.nn.ReLU(), self.maxpool, *stages, pool, self.fc])


def stand_in():
    """Put a stand-in for torchvision where the original imports it."""
    vision, models, transforms = (types.ModuleType(name) for name in ("vision", "models", "tf"))
    models.resnet152 = lambda pretrained: Children(152)
    for one in (Compose, Resize, ToTensor, Normalize):
        setattr(transforms, one.__name__, one)
    vision.models, vision.transforms = models, transforms
    sys.modules |= {
        "torchvision": vision,
        "torchvision.models": models,
        "torchvision.transforms": transforms,
    }


def original(repository, path, *, commit="HEAD", name=None):
    """Load a file of a repository as a module."""
    show = ["git", "-C", repository, "show", f"{commit}:{path}"]
    text = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    name = name or path.removesuffix(".py").replace("/", ".")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "module.py")
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(name, file)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def functions_of(folder):
    return original(sys.argv[1], f"{folder}/functions.py", commit=NOW)


def transform(script, size):
    mean, std = published(script).tolist()
    return Compose([Resize(size), ToTensor(), Normalize(mean, std)])


def jpegs(number):
    """Make the JPEGs of a clip: colours that change over space and time, and some noise."""
    rng = np.random.default_rng([16, number])
    corners = rng.integers(0, 256, (2, 7, 9, 3))
    found = []
    for share in np.linspace(0, 1, LENGTHS[number]):
        coarse = ((1 - share) * corners[0] + share * corners[1]).astype(np.uint8)
        pixels = np.array(Image.fromarray(coarse).resize((96, 72), Image.Resampling.NEAREST))
        noise = rng.integers(0, 6, pixels.shape)
        file = io.BytesIO()
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
        image.save(file, "jpeg", quality=60)
        found.append(file.getvalue())
    return found


def write(folder, images, step):
    """Write frames 1, 1 + step, ..., and between them copies of the first that must not be read."""
    folder.mkdir()
    for number in range(1, step * (len(images) - 1) + 2):
        place, rest = divmod(number - 1, step)
        content = images[0] if rest else images[place]
        (folder / f"frame{number:06d}.jpg").write_bytes(content)


def filled(model, prefix):
    state = {}
    for key, tensor in model.state_dict().items():
        array = value(prefix + key, tuple(tensor.shape))
        state[key] = torch.from_numpy(GAIN * array if "bn3.weight" in key else array)
    model.load_state_dict(
        {key: tensor.to(model.state_dict()[key]) for key, tensor in state.items()}
    )
    return model.eval()


def fixed_length(root):
    """Logits of conv3d and crnn for the first 15 frames."""
    frames = list(range(1, LENGTHS[1] + 1))
    functions = functions_of("Conv3D")
    data = functions.Dataset_3DCNN(
        root, ["0", "1"], [0, 0], frames, transform("Conv3D/UCF101_3DCNN.py", [64, 80])
    )
    options = {"t_dim": len(frames), "img_x": 64, "img_y": 80, "drop_p": 0.0}
    hidden = {"fc_hidden1": 256, "fc_hidden2": 256, "num_classes": NUM_CLASSES}
    model = filled(functions.CNN3D(**options, **hidden), "conv3d.")
    arrays = {"conv3d_logits": torch.cat([model(data[i][0][None]) for i in (0, 1)])}
    functions = functions_of("CRNN")
    data = functions.Dataset_CRNN(
        root, ["0", "1"], [0, 0], frames, transform("CRNN/UCF101_CRNN.py", [64, 80])
    )
    sizes = {"fc_hidden1": 1024, "fc_hidden2": 768, "drop_p": 0.0, "CNN_embed_dim": 512}
    encoder = filled(functions.EncoderCNN(img_x=64, img_y=80, **sizes), "crnn.")
    decoder = filled(functions.DecoderRNN(**decoder_sizes()), "decoder.")
    clips = torch.stack([data[i][0] for i in (0, 1)])
    return arrays | {"crnn_logits": decoder(encoder(clips))}


def decoder_sizes():
    sizes = {"CNN_embed_dim": 512, "h_RNN_layers": 3, "h_RNN": 512, "h_FC_dim": 256}
    return {**sizes, "drop_p": 0.0, "num_classes": NUM_CLASSES}


def varying_length(root):
    folder = "ResNetCRNN_varylength"
    functions = functions_of(folder)
    counts = [2 * length - 1 for length in LENGTHS]
    data = functions.Dataset_CRNN_varlen(
        root,
        list(zip(["0", "1"], counts, strict=True)),
        [0, 0],
        {"begin": 1, "end": 100, "skip": 2},
        transform(f"{folder}/UCF101_ResNetCRNN_varlen.py", [64, 64]),
    )
    sizes = {"fc_hidden1": 1024, "fc_hidden2": 768, "drop_p": 0.0, "CNN_embed_dim": 512}
    encoder = filled(functions.ResCNNEncoder(**sizes), "resnet_crnn.")
    decoder = filled(functions.DecoderRNN_varlen(**decoder_sizes()), "decoder.")
    clips, lengths = zip(*[data[i][:2] for i in (0, 1)], strict=True)
    assert [int(length) for length in lengths] == counts
    alone = [
        decoder(encoder(x[None, :length]), torch.tensor([length]))
        for x, length in zip(clips, LENGTHS, strict=True)
    ]
    together = decoder(encoder(torch.stack(clips)), torch.cat(lengths))
    first = torch.stack([x[0] for x in clips])
    return {
        "resnet152_features": encoder.resnet(first).flatten(1),
        "varlen_logits": torch.cat(alone),
        "varlen_published_logits": together,
    }


def main():
    stand_in()
    images = [jpegs(number) for number in (0, 1)]
    arrays = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, step, make in (("fixed", 1, fixed_length), ("varying", 2, varying_length)):
            root = Path(folder, name)
            root.mkdir()
            for number in (0, 1):
                write(root / str(number), images[number], step)
            arrays |= {key: tensor.numpy() for key, tensor in make(str(root)).items()}
    both = [image for clip in images for image in clip]
    arrays["jpegs"] = np.frombuffer(b"".join(both), np.uint8)
    arrays["jpeg_sizes"] = np.array([len(image) for image in both])
    np.savez_compressed(Path(__file__).with_name("ucf101_original.npz"), **arrays)


if __name__ == "__main__":
    main()
