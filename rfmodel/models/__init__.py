"""Networks: plain modules that know no rule."""

from rfmodel.models.lenet import LeNet
from rfmodel.models.mlp import MLP
from rfmodel.models.mobilenet import MobileNet
from rfmodel.models.resnet import ResNet
from rfmodel.models.retina_vvs import RetinaVVS
from rfmodel.models.small_conv import SmallConv
from rfmodel.models.vgg import VGG
from rfmodel.models.vgg13 import VGG13
from rfmodel.models.vit import ViT
from rfmodel.models.weights import load_weights

NETWORKS = {
    "retina_vvs": RetinaVVS,
    "mlp": MLP,
    "vgg": VGG,
    "small_conv": SmallConv,
    "vgg13": VGG13,
    "lenet": LeNet,
    "resnet": ResNet,
    "mobilenet": MobileNet,
    "vit": ViT,
}

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG",
    "VGG13",
    "LeNet",
    "MobileNet",
    "ResNet",
    "RetinaVVS",
    "SmallConv",
    "ViT",
    "load_weights",
]
