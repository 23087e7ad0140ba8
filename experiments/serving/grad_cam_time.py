"""Time of Grad-CAM of one triplet: ResNet-152 at 384 pixels, late fusion, on two cores.

Command: python experiments/serving/grad_cam_time.py
Expect: the second line below 15 s on two free cores; the first also pays for what torch sets up once. The weights are
new ones, which takes as long as trained ones.
"""

import resource
import time

import torch

from fusion_ln.explain.attribution import grad_cam
from fusion_ln.explain.network import Case, Explained
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.triplet import LateFusion, TripletModel
from fusion_ln.settings.training import PRESETS
from fusion_ln.terms import KNOWN_MODALITIES

MODALITIES = tuple(KNOWN_MODALITIES)


def main() -> None:
    torch.set_num_threads(2)
    fit = PRESETS["paper"]
    side = fit.image_size
    members = {modality: build_classifier(fit, 3) for modality in MODALITIES}
    model = TripletModel(members, LateFusion("late-mean", None), dict.fromkeys(MODALITIES, side))
    explained = Explained(model)
    pictures = tuple(torch.rand(1, 1, 3, side, side) for _ in MODALITIES)
    case = Case(pictures, torch.ones(1, len(MODALITIES), 1, dtype=torch.bool), target=0)
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        grad_cam(explained, [case])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{time.perf_counter() - start:.1f} s, {time.process_time() - cpu:.1f} s of CPU, "
            f"at most {memory:.2f} GiB in all"
        )


if __name__ == "__main__":
    main()
