"""Networks: plain modules that know no rule."""

from rfmodel.models.mlp import MLP
from rfmodel.models.resnet import ResNet
from rfmodel.models.retina_vvs import RetinaVVS
from rfmodel.models.vgg import VGG
from rfmodel.models.vit import ViT

NETWORKS = {"retina_vvs": RetinaVVS}

__all__ = ["MLP", "NETWORKS", "VGG", "ResNet", "RetinaVVS", "ViT"]
