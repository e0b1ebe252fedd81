"""Networks: plain modules that know no rule."""

from rfmodel.models.retina_vvs import RetinaVVS

NETWORKS = {"retina_vvs": RetinaVVS}

__all__ = ["NETWORKS", "RetinaVVS"]
