"""Complete architectures, one per file."""

from ttrnn.models.alexnet import build_alexnet
from ttrnn.models.conv3d import build_conv3d
from ttrnn.models.crnn import build_crnn
from ttrnn.models.efficientnet_lite import build_efficientnet_lite
from ttrnn.models.feature_rnn import build_feature_rnn
from ttrnn.models.mobilenet_v2 import build_mobilenet_v2
from ttrnn.models.resnet import build_resnet
from ttrnn.models.resnet_crnn import build_resnet_crnn
from ttrnn.models.timesformer import build_timesformer
from ttrnn.models.video_rnn import build_video_rnn

__all__ = [
    "build_alexnet",
    "build_conv3d",
    "build_crnn",
    "build_efficientnet_lite",
    "build_feature_rnn",
    "build_mobilenet_v2",
    "build_resnet",
    "build_resnet_crnn",
    "build_timesformer",
    "build_video_rnn",
]
